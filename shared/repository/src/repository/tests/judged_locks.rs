//! A store that says when a lock was written, and a coordinator that no longer
//! knows a lock as ours.

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use parking_lot::Mutex;
use strongroom_runtime::clock::ManualClock;
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    format::lock::Lock,
    store::{ByteRange, Listed, Store, StoreError, StoreErrorKind, Written},
};

/// Says of every object that it was written so, and refuses to remove any.
#[derive(Debug)]
struct Judge {
    inner: SharedStore,
    written: Mutex<Written>,
}

impl Store for Judge {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.put(object, body)
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        self.inner.get(object, range)
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        Box::pin(async move {
            let mut listed = self.inner.list(directory).await?;
            for object in &mut listed {
                object.written = *self.written.lock();
            }
            Ok(listed)
        })
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        let refused = StoreErrorKind::Refused {
            reason: "delete-forbidden".into(),
            message: "it is not yours".into(),
        };
        Box::pin(async move { Err(StoreError::new("remove", object, refused)) })
    }
}

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

async fn judge() -> (Repository, Arc<Judge>) {
    let judge = Arc::new(Judge {
        inner: memory(),
        written: Mutex::new(Written::Unknown),
    });
    let repository = Repository::create(judge.clone(), PASSWORD, owner()).await;
    (repository.unwrap(), judge)
}

async fn acquire(repository: &Repository) -> Result<RepositoryLock, RepositoryError> {
    let owner = LockOwner {
        hostname: "web-1".into(),
        username: "root".into(),
        pid: 1,
        uid: 0,
        gid: 0,
    };
    let clock = ManualClock::new(NOW);
    let tracker = TaskTracker::new();
    RepositoryLock::acquire(repository, LockMode::Shared, owner, clock, &tracker).await
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_as_old_as_its_store_says_whatever_it_says_itself() {
    let minutes = |minutes| SignedDuration::from_mins(minutes);
    let in_2099: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
    for (says, written, holds) in [
        (in_2099, Written::Unknown, false),
        (in_2099, Written::At(NOW - minutes(31)), false),
        (in_2099, Written::At(NOW - minutes(5)), true),
        (in_2099, Written::Lately, true),
        (NOW - minutes(600), Written::At(NOW - minutes(5)), true),
        (NOW - minutes(600), Written::Unknown, false),
        (NOW, Written::At(NOW - minutes(31)), false),
        (NOW, Written::Unknown, true),
    ] {
        let (repository, judge) = judge().await;
        let lock = Lock {
            time: says,
            exclusive: true,
            hostname: "elsewhere".into(),
            username: "root".into(),
            pid: 7,
            uid: 0,
            gid: 0,
        };
        let json = lock.encode().unwrap();
        let saved = repository.save_unpacked(ObjectKind::Lock, &json).await;
        saved.unwrap();
        *judge.written.lock() = written;
        let acquired = acquire(&repository).await;
        assert_eq!(acquired.is_err(), holds, "says {says}, {written:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_not_ours_any_more_is_released() {
    let (repository, _judge) = judge().await;
    let lock = acquire(&repository).await.unwrap();
    lock.release().await.unwrap();
}
