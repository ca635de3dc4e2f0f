//! Who takes what servers push: jobs, by the directory of the log.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// A file that a server wants to be rid of.
#[derive(Debug)]
pub(super) struct Pushed {
    /// Its name in the directory of the log.
    pub(super) file: String,
    /// Told once it is archived, or why it is not.
    pub(super) answer: oneshot::Sender<Result<(), String>>,
}

/// Files that may wait to be looked at: a server pushes one at a time.
const QUEUE: usize = 16;

/// The jobs that take what is pushed. Cheap to share.
#[derive(Clone, Debug, Default)]
pub struct Desks(Arc<Mutex<BTreeMap<PathBuf, Desk>>>);

#[derive(Clone, Debug)]
struct Desk {
    owner: u32,
    queue: mpsc::Sender<Pushed>,
}

/// A job's place in it; given up when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    desks: Desks,
    directory: PathBuf,
    queue: mpsc::Sender<Pushed>,
    pub(super) pushed: mpsc::Receiver<Pushed>,
}

impl Desks {
    /// Takes what is pushed from this directory by its owner. Who took it
    /// before is given nothing more.
    pub(super) fn open(&self, directory: PathBuf, owner: u32) -> Seat {
        let (queue, pushed) = mpsc::channel(QUEUE);
        let desk = Desk {
            owner,
            queue: queue.clone(),
        };
        self.0.lock().insert(directory.clone(), desk);
        Seat {
            desks: self.clone(),
            directory,
            queue,
            pushed,
        }
    }

    /// Whether a process of this user may push anything at all; why not, in
    /// words.
    pub(super) fn admit(&self, uid: u32) -> Result<(), String> {
        let own = rustix::process::geteuid().as_raw();
        if uid == 0 || uid == own || self.0.lock().values().any(|desk| desk.owner == uid) {
            return Ok(());
        }
        Err(format!(
            "nothing takes a log of user {uid} at the moment: the agent may be starting, or no \
             policy says wal = {{ method = \"push\" }} for one"
        ))
    }

    /// Hands a file over and waits until it is archived. `uid` is whose process
    /// it is that pushes.
    pub(super) async fn push(
        &self,
        directory: &Path,
        file: String,
        uid: u32,
    ) -> Result<(), String> {
        let desk = self.0.lock().get(directory).cloned();
        let desk = desk.ok_or_else(|| {
            format!(
                "nothing takes the log of {} at the moment: the agent may be starting, or no \
                 policy says wal = {{ method = \"push\" }} for it",
                directory.display()
            )
        })?;
        if uid != 0 && uid != desk.owner && uid != rustix::process::geteuid().as_raw() {
            return Err(format!(
                "user {uid} may not push: the log belongs to user {}",
                desk.owner
            ));
        }
        let (answer, archived) = oneshot::channel();
        let gone = || "the job that archives this log has ended: it will be tried again".to_owned();
        let pushed = Pushed { file, answer };
        desk.queue.send(pushed).await.map_err(|_| gone())?;
        archived.await.map_err(|_| gone())?
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut desks = self.desks.0.lock();
        let own = desks
            .get(&self.directory)
            .is_some_and(|desk| desk.queue.same_channel(&self.queue));
        if own {
            desks.remove(&self.directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: u32 = 12_345;

    #[tokio::test]
    async fn what_is_pushed_comes_to_the_last_who_took_the_place() {
        let desks = Desks::default();
        let place = PathBuf::from("/pg_wal");
        let first = desks.open(place.clone(), OWNER);
        let mut second = desks.open(place.clone(), OWNER);
        drop(first);
        let pushing = desks.push(&place, "a".into(), OWNER);
        let taking = async {
            let pushed = second.pushed.recv().await.unwrap();
            assert_eq!(pushed.file, "a");
            pushed.answer.send(Err("not today".into())).unwrap();
        };
        let (pushed, ()) = tokio::join!(pushing, taking);
        assert_eq!(pushed, Err("not today".into()));
        drop(second);
        let gone = desks.push(&place, "a".into(), OWNER).await.unwrap_err();
        assert!(gone.contains("/pg_wal"), "{gone}");
    }

    #[tokio::test]
    async fn only_the_owner_and_root_may_push() {
        let desks = Desks::default();
        let place = PathBuf::from("/pg_wal");
        let _seat = desks.open(place.clone(), OWNER);
        let refused = desks.push(&place, "a".into(), OWNER + 1).await.unwrap_err();
        assert!(refused.contains("may not push"), "{refused}");
    }

    #[test]
    fn strangers_are_not_heard() {
        let desks = Desks::default();
        assert!(desks.admit(0).is_ok());
        assert!(desks.admit(OWNER).unwrap_err().contains("user 12345"));
        let seat = desks.open(PathBuf::from("/pg_wal"), OWNER);
        assert!(desks.admit(OWNER).is_ok());
        assert!(desks.admit(OWNER + 1).is_err());
        drop(seat);
        assert!(desks.admit(OWNER).is_err());
    }

    #[tokio::test]
    async fn a_job_that_ends_tells_those_who_wait() {
        let desks = Desks::default();
        let place = PathBuf::from("/pg_wal");
        let seat = desks.open(place.clone(), OWNER);
        let pushing = desks.push(&place, "a".into(), 0);
        let ending = async { drop(seat) };
        let (pushed, ()) = tokio::join!(pushing, ending);
        assert!(pushed.unwrap_err().contains("has ended"));
    }
}
