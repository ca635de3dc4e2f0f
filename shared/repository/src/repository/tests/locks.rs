//! With the clock of tokio paused, so that nothing waits in earnest.

use std::time::Duration;

use jiff::SignedDuration;
use strongroom_runtime::clock::ManualClock;
use tokio_util::task::TaskTracker;

use super::*;

struct Setting {
    repository: Repository,
    clock: Arc<ManualClock>,
    tracker: TaskTracker,
}

impl Setting {
    async fn new() -> Self {
        Self {
            repository: created().await,
            clock: ManualClock::new(Timestamp::UNIX_EPOCH),
            tracker: TaskTracker::new(),
        }
    }

    async fn acquire(&self, mode: LockMode, pid: u32) -> Result<RepositoryLock, RepositoryError> {
        let owner = LockOwner {
            hostname: "web-1".into(),
            username: "root".into(),
            pid,
            uid: 0,
            gid: 0,
        };
        let clock = self.clock.clone();
        RepositoryLock::acquire(&self.repository, mode, owner, clock, &self.tracker).await
    }

    async fn count(&self) -> usize {
        let store = self.repository.store();
        store.list(Directory::Locks).await.unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn shared_locks_stand_beside_each_other_but_not_beside_exclusive_ones() {
    let setting = Setting::new().await;
    let one = setting.acquire(LockMode::Shared, 1).await.unwrap();
    let two = setting.acquire(LockMode::Shared, 2).await.unwrap();
    assert_eq!(setting.count().await, 2);
    let error = setting.acquire(LockMode::Exclusive, 3).await.unwrap_err();
    assert!(
        error.to_string().contains("root@web-1 (process "),
        "{error}"
    );
    assert!(error.is_retryable());
    assert_eq!(setting.count().await, 2);
    one.release().await.unwrap();
    two.release().await.unwrap();
    assert_eq!(setting.count().await, 0);

    let alone = setting.acquire(LockMode::Exclusive, 4).await.unwrap();
    for mode in [LockMode::Shared, LockMode::Exclusive] {
        let error = setting.acquire(mode, 5).await.unwrap_err();
        assert!(error.to_string().contains("locked exclusively"), "{error}");
    }
    alone.release().await.unwrap();
    assert_eq!(setting.count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_come_at_once_at_most_one_gets_an_exclusive_lock() {
    let setting = Setting::new().await;
    let (one, two) = tokio::join!(
        setting.acquire(LockMode::Exclusive, 1),
        setting.acquire(LockMode::Exclusive, 2),
    );
    assert!(one.is_err() || two.is_err());
    drop((one, two));
    setting.tracker.close();
    setting.tracker.wait().await;
    assert_eq!(setting.count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn stale_and_unreadable_locks_are_nobodys() {
    let setting = Setting::new().await;
    let gone = setting.acquire(LockMode::Exclusive, 1).await.unwrap();
    setting.clock.advance(SignedDuration::from_mins(31));
    let sealed = Body::new(&b"not a lock"[..]);
    let store = setting.repository.store();
    store
        .put(ObjectName::lock(sealed.sha256), sealed)
        .await
        .unwrap();
    let lock = setting.acquire(LockMode::Exclusive, 2).await.unwrap();
    lock.release().await.unwrap();
    gone.release().await.unwrap();
    assert_eq!(setting.count().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_is_refreshed() {
    let setting = Setting::new().await;
    let lock = setting.acquire(LockMode::Shared, 1).await.unwrap();
    for _ in 0..10 {
        setting.clock.advance(SignedDuration::from_mins(10));
        tokio::time::sleep(Duration::from_mins(10)).await;
        setting.acquire(LockMode::Exclusive, 2).await.unwrap_err();
        assert_eq!(setting.count().await, 1);
    }
    assert!(!lock.lost().is_cancelled());
    lock.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_releases_through_the_tracker_even_while_it_is_acquired() {
    let setting = Setting::new().await;
    drop(setting.acquire(LockMode::Shared, 1).await.unwrap());
    let acquiring = setting.acquire(LockMode::Shared, 2);
    tokio::time::timeout(Duration::from_millis(100), acquiring)
        .await
        .unwrap_err();
    setting.tracker.close();
    setting.tracker.wait().await;
    assert_eq!(setting.count().await, 0);
}
