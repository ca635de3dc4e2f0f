//! Locks: they keep foreign `restic` commands, such as prune, from working
//! against ours.
//!
//! As restic does: look for others, write our own, wait, look again; refresh
//! while held. Source: restic `internal/restic/lock.go` and `cmd/restic/lock.go`.

use std::time::Duration;

use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};
use strongroom_runtime::clock::SharedClock;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, Span};

use super::{Repository, RepositoryError};
use crate::{
    format::lock::{Lock, STALE_AFTER},
    store::{Listed, StoreErrorKind, Written},
};

/// For others to see our lock, and we theirs.
const SETTLE: Duration = Duration::from_millis(200);
/// How often a lock is written anew.
const REFRESH: Duration = Duration::from_mins(5);
/// How soon a failed refresh is tried again.
const REFRESH_AGAIN: Duration = Duration::from_secs(30);
/// A lock that could not be refreshed for so long is given up, well before
/// others take it for stale.
const GIVE_UP: Duration = Duration::from_mins(25);

/// Whether others may hold a lock, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Backups, restores: only adds objects or reads them.
    Shared,
    /// Whatever removes objects.
    Exclusive,
}

/// Who holds a lock, for the people whom it stops.
#[derive(Clone, Debug)]
pub struct LockOwner {
    /// Host.
    pub hostname: String,
    /// User.
    pub username: String,
    /// Process.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A held lock. Dropping it removes the lock file in the background, on the
/// tracker that it was acquired with; [`RepositoryLock::release`] waits.
#[derive(Debug)]
pub struct RepositoryLock {
    /// Dropping it tells the keeper to release.
    release: oneshot::Sender<()>,
    released: oneshot::Receiver<Result<(), RepositoryError>>,
    lost: CancellationToken,
}

impl RepositoryLock {
    /// Locks the repository, or says who holds a lock that excludes ours.
    pub async fn acquire(
        repository: &Repository,
        mode: LockMode,
        owner: LockOwner,
        clock: SharedClock,
        tracker: &TaskTracker,
    ) -> Result<Self, RepositoryError> {
        let mut keeper = Keeper {
            repository: repository.clone(),
            mode,
            owner,
            clock,
            files: Vec::new(),
        };
        keeper.check_others().await?;
        let lost = CancellationToken::new();
        let (release, to_release) = oneshot::channel();
        let (report, released) = oneshot::channel();
        let (settled, has_settled) = oneshot::channel();
        let seen = lost.clone();
        // A task, so that the file is removed even when our caller is dropped
        // while we wait.
        let keep = async move {
            let others = keeper.establish().await;
            let held = others.is_ok();
            if settled.send(others).is_ok() && held {
                keeper.hold(to_release, &seen).await;
            }
            // Nobody waits when the lock was dropped; then the error has
            // been logged.
            let _ = report.send(keeper.remove().await);
        };
        tracker.spawn(keep.instrument(Span::current()));
        let others = has_settled
            .await
            .unwrap_or(Err(RepositoryError::Interrupted));
        let lock = Self {
            release,
            released,
            lost,
        };
        match others {
            Ok(()) => Ok(lock),
            Err(error) => {
                lock.release().await?;
                Err(error)
            }
        }
    }

    /// Ends when the lock could not be refreshed and others may take it for
    /// stale: then stop what it protects.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Removes the lock file.
    pub async fn release(self) -> Result<(), RepositoryError> {
        drop(self.release);
        self.released
            .await
            .unwrap_or(Err(RepositoryError::Interrupted))
    }
}

/// What writes, refreshes and removes the lock file.
struct Keeper {
    repository: Repository,
    mode: LockMode,
    owner: LockOwner,
    clock: SharedClock,
    /// The lock files that are ours. The last is in force; one before it is
    /// there only while it could not be removed.
    files: Vec<ObjectId>,
}

impl Keeper {
    async fn establish(&mut self) -> Result<(), RepositoryError> {
        self.write().await?;
        sleep(SETTLE).await;
        self.check_others().await
    }

    async fn write(&mut self) -> Result<(), RepositoryError> {
        let lock = Lock {
            time: self.clock.now(),
            exclusive: self.mode == LockMode::Exclusive,
            hostname: self.owner.hostname.clone(),
            username: self.owner.username.clone(),
            pid: self.owner.pid,
            uid: self.owner.uid,
            gid: self.owner.gid,
        };
        let json = lock.encode().map_err(|source| RepositoryError::Format {
            object: "new lock".into(),
            source,
        })?;
        let id = self
            .repository
            .save_unpacked(ObjectKind::Lock, &json)
            .await?;
        self.files.push(id);
        Ok(())
    }

    /// Fails when another lock excludes ours. Stale locks, and those that
    /// cannot be read, are nobody's, as restic has it.
    async fn check_others(&self) -> Result<(), RepositoryError> {
        for listed in self.repository.store().list(Directory::Locks).await? {
            if self.files.contains(&listed.id) {
                continue;
            }
            let object = ObjectName::lock(listed.id);
            match self.load(object).await {
                Ok(lock) if self.excludes(&lock, &listed) => return Err(locked_by(object, &lock)),
                Ok(_) => {}
                Err(RepositoryError::Store(error)) if error.is_not_found() => {}
                Err(error @ RepositoryError::Format { .. }) => {
                    tracing::warn!(%error, "ignoring a lock that cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn load(&self, object: ObjectName) -> Result<Lock, RepositoryError> {
        let json = self.repository.load_unpacked(object).await?;
        Lock::decode(&json).map_err(RepositoryError::in_object(object))
    }

    fn excludes(&self, other: &Lock, listed: &Listed) -> bool {
        (other.exclusive || self.mode == LockMode::Exclusive) && !self.is_stale(other, listed)
    }

    /// Whoever keeps a lock knows best when it was refreshed: what it says itself
    /// may be from a clock that is wrong, or a lie.
    fn is_stale(&self, lock: &Lock, listed: &Listed) -> bool {
        let now = self.clock.now();
        match listed.written {
            Written::Lately => false,
            Written::At(at) => now.duration_since(at) > STALE_AFTER,
            Written::Unknown => lock.is_stale(now),
        }
    }

    /// Refreshes until released or lost.
    async fn hold(&mut self, mut released: oneshot::Receiver<()>, lost: &CancellationToken) {
        let mut written = Instant::now();
        let mut next = written + REFRESH;
        while timeout_at(next, &mut released).await.is_err() {
            match self.refresh().await {
                Ok(()) => {
                    written = Instant::now();
                    next = written + REFRESH;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot refresh the repository's lock");
                    if written.elapsed() >= GIVE_UP {
                        lost.cancel();
                    }
                    next = Instant::now() + REFRESH_AGAIN;
                }
            }
        }
    }

    /// Writes the new file before the old one goes.
    async fn refresh(&mut self) -> Result<(), RepositoryError> {
        self.write().await?;
        self.remove_but(1).await
    }

    async fn remove(mut self) -> Result<(), RepositoryError> {
        self.remove_but(0).await.inspect_err(|error| {
            tracing::warn!(%error, "cannot remove the repository's lock");
        })
    }

    /// Removes our files but the newest `keep`.
    async fn remove_but(&mut self, keep: usize) -> Result<(), RepositoryError> {
        while self.files.len() > keep {
            let object = ObjectName::lock(self.files[0]);
            match self.repository.store().remove(object).await {
                Ok(()) => {}
                // The coordinator has removed and forgotten it: it was stale.
                Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => {
                    tracing::warn!(%error, "a lock of ours is not ours any more");
                }
                Err(error) => return Err(error.into()),
            }
            self.files.remove(0);
        }
        Ok(())
    }
}

fn locked_by(object: ObjectName, lock: &Lock) -> RepositoryError {
    RepositoryError::Locked {
        object: object.path(),
        exclusive: lock.exclusive,
        holder: format!("{}@{} (process {})", lock.username, lock.hostname, lock.pid),
        since: lock.time,
    }
}
