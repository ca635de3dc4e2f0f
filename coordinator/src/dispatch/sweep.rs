//! Settles in the stores what ended attempts left open: locks that were not
//! released (foreign `restic` commands would wait for them), snapshots whose
//! agent died before it could say whether they are written, pieces of
//! transfers that nobody will fetch, and parts of logs that lie in others. In the
//! catalog it forgets idempotency keys and events whose time is over.
//!
//! A task of its own: a store that does not answer must not keep jobs waiting.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::{Directory, ObjectId, ObjectName};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{Catalog, CatalogError},
    grants::LOCK_STALE_AFTER,
    model::{ObjectRow, Repository, Snapshot},
    stores::{Store, StoreError, Stores},
};

/// What failed is tried again so often.
const AGAIN: Duration = Duration::from_mins(1);
/// What was granted may still arrive while its grant holds. Stores allow for clocks
/// that differ by a quarter of an hour, of which agents get a third; the rest is for
/// a store whose own clock is slow.
const MAY_ARRIVE: SignedDuration = SignedDuration::from_mins(25);

/// Parts of a log that nobody needs stay so long: whoever lists them may be
/// about to fetch them, and one that was not entered after an hour less than
/// that never is.
const LOG_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Pieces of a transfer wait so long for their reader.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The task that settles.
#[derive(Debug)]
pub(super) struct Sweeper {
    catalog: Catalog,
    stores: Stores,
    /// Since when snapshots are known to be missing, by repository and id.
    missing: HashMap<(String, ObjectId), Timestamp>,
    /// Locks and pieces that were deleted once. While their grant holds, they may arrive
    /// again: then they are deleted again.
    deleted: HashSet<(String, ObjectName)>,
}

/// Deleted before they are forgotten together.
const LOG_AT_ONCE: usize = 100;

/// A part of a sweep failed; the rest goes on.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sweeper {
    pub(super) fn new(catalog: Catalog, stores: Stores) -> Self {
        Self {
            catalog,
            stores,
            missing: HashMap::new(),
            deleted: HashSet::new(),
        }
    }

    /// Sweeps whenever the catalog changes, and now and then.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut changes = self.catalog.changes();
        loop {
            let sweep = async {
                if let Err(error) = self.sweep().await {
                    tracing::warn!(%error, "cannot settle what ended attempts left open");
                    tokio::time::sleep(AGAIN).await;
                    return;
                }
                tokio::select! {
                    () = changes.changed() => {}
                    () = tokio::time::sleep(AGAIN) => {}
                }
            };
            tokio::select! {
                () = sweep => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// One sweep. A store that fails does not keep others from being swept.
    pub(super) async fn sweep(&mut self) -> Result<(), CatalogError> {
        let snapshots = self.catalog.unconfirmed_snapshots().await?;
        let now = self.catalog.clock().now();
        let locks = self.catalog.abandoned_locks(now - LOCK_STALE_AFTER).await?;
        let pieces = self.catalog.useless_pieces(now - KEPT).await?;
        let log = self.catalog.useless_wal(now - LOG_KEPT).await?;
        self.catalog.forget_request_keys().await?;
        self.catalog.forget_events().await?;
        let wanted: HashSet<&str> = locks
            .iter()
            .map(|lock| lock.repository.as_str())
            .chain(snapshots.iter().map(|it| it.repository.as_str()))
            .chain(pieces.iter().map(|it| it.repository.as_str()))
            .chain(log.iter().map(|it| it.repository.as_str()))
            .collect();
        if wanted.is_empty() {
            self.missing.clear();
            self.deleted.clear();
            return Ok(());
        }
        let stores = self.stores.clone();
        for repository in self.catalog.repositories().await? {
            let Some(store) = stores.get(&repository.store) else {
                continue;
            };
            if !wanted.contains(repository.name.as_str()) {
                continue;
            }
            let in_repository = |name: &str| name == repository.name;
            let locks: Vec<_> = locks
                .iter()
                .filter(|lock| in_repository(&lock.repository))
                .collect();
            let snapshots: Vec<_> = snapshots
                .iter()
                .filter(|it| in_repository(&it.repository))
                .collect();
            let pieces: Vec<_> = pieces
                .iter()
                .filter(|it| in_repository(&it.repository))
                .collect();
            let log: Vec<_> = log
                .iter()
                .filter(|it| in_repository(&it.repository))
                .cloned()
                .collect();
            let swept = async {
                self.delete_log(store, &repository, &log).await?;
                self.delete_for_good(store, &repository, &locks).await?;
                self.delete_for_good(store, &repository, &pieces).await?;
                self.settle_snapshots(store, &repository, &snapshots).await
            };
            match swept.await {
                Ok(()) => {}
                Err(SweepError::Catalog(error)) => return Err(error),
                Err(SweepError::Store(error)) => {
                    let repository = &repository.name;
                    tracing::warn!(%error, repository, "cannot settle a repository; trying again");
                }
            }
        }
        Ok(())
    }

    /// Locks and pieces of transfers: at once, and again when none can arrive any
    /// more. Only then they are forgotten: a lock that arrived later would be
    /// taken for a foreign one.
    async fn delete_for_good(
        &mut self,
        store: &Store,
        repository: &Repository,
        objects: &[&ObjectRow],
    ) -> Result<(), SweepError> {
        let now = self.catalog.clock().now();
        for object in objects {
            let key = (repository.name.clone(), object.name);
            let over = now.duration_since(object.granted_at) > MAY_ARRIVE;
            if over || !self.deleted.contains(&key) {
                store
                    .client
                    .delete_transient(&repository.prefix, object.name)
                    .await?;
            }
            if over {
                self.catalog
                    .forget_objects(&repository.name, &[object.name])
                    .await?;
                self.deleted.remove(&key);
            } else {
                self.deleted.insert(key);
            }
        }
        Ok(())
    }

    /// Parts of the log that lie in others, or that nobody entered.
    async fn delete_log(
        &self,
        store: &Store,
        repository: &Repository,
        parts: &[ObjectRow],
    ) -> Result<(), SweepError> {
        for batch in parts.chunks(LOG_AT_ONCE) {
            for part in batch {
                store
                    .client
                    .delete_transient(&repository.prefix, part.name)
                    .await?;
            }
            self.catalog.forget_wal(batch).await?;
        }
        Ok(())
    }

    async fn settle_snapshots(
        &mut self,
        store: &Store,
        repository: &Repository,
        snapshots: &[&Snapshot],
    ) -> Result<(), SweepError> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let there: HashSet<ObjectId> = store
            .client
            .list(&repository.prefix, Directory::Snapshots)
            .await?
            .into_iter()
            .map(|object| object.id)
            .collect();
        let now = self.catalog.clock().now();
        for snapshot in snapshots {
            let key = (repository.name.clone(), snapshot.id);
            if there.contains(&snapshot.id) {
                self.missing.remove(&key);
                self.catalog
                    .confirm_snapshot(&repository.name, snapshot.id)
                    .await?;
                continue;
            }
            let since = *self.missing.entry(key.clone()).or_insert(now);
            if now.duration_since(since) > MAY_ARRIVE {
                self.missing.remove(&key);
                self.catalog
                    .forget_unconfirmed(&repository.name, snapshot.id)
                    .await?;
            }
        }
        Ok(())
    }
}
