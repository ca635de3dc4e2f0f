//! Tries again what may do better another time.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use strongroom_layout::{Directory, ObjectName};
use strongroom_runtime::backoff::Backoff;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Body, ByteRange, Listed, SharedStore, Store, StoreError, StoreErrorKind};

tokio::task_local! {
    static ATTEMPT: u32;
}

/// Which try of an operation this is, from 1, for traces.
pub fn current_attempt() -> u32 {
    ATTEMPT.try_with(|attempt| *attempt).unwrap_or(1)
}

/// How often and how soon to try again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Tries altogether, at least one.
    pub attempts: u32,
    /// The longest first wait; it doubles with each try.
    pub initial: Duration,
    /// The longest wait of all.
    pub max: Duration,
}

impl Default for RetryPolicy {
    /// Ten tries, with waits of two minutes altogether at most, one on average.
    fn default() -> Self {
        Self {
            attempts: 10,
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
        }
    }
}

/// Tries operations again whose error [`is_retryable`](StoreError::is_retryable),
/// with jittered exponential backoff, until the job is cancelled.
#[derive(Debug)]
pub struct RetryStore {
    inner: SharedStore,
    policy: RetryPolicy,
    cancelled: CancellationToken,
}

impl RetryStore {
    /// Gives up at once, with [`StoreErrorKind::Cancelled`], when `cancelled`
    /// ends.
    pub fn new(inner: SharedStore, policy: RetryPolicy, cancelled: CancellationToken) -> Self {
        Self {
            inner,
            policy,
            cancelled,
        }
    }

    async fn retried<'a, T>(
        &'a self,
        operation: &'static str,
        object: String,
        start: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.cancelled
            .run_until_cancelled(self.tries(&start))
            .await
            .unwrap_or_else(|| {
                let kind = StoreErrorKind::Cancelled;
                Err(StoreError::new(operation, object, kind))
            })
    }

    async fn tries<'a, T>(
        &self,
        start: &impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut backoff = Backoff::new(self.policy.initial, self.policy.max);
        let mut attempt = 1;
        loop {
            let error = match ATTEMPT.scope(attempt, start()).await {
                Err(error) if error.is_retryable() => error,
                result => return result,
            };
            if attempt >= self.policy.attempts {
                return Err(given_up(error, attempt));
            }
            let wait = backoff.next_random();
            tracing::debug!(%error, attempt, ?wait, "trying again");
            sleep(wait).await;
            attempt += 1;
        }
    }
}

fn given_up(mut error: StoreError, attempts: u32) -> StoreError {
    if let StoreErrorKind::Transient(cause) = &mut error.kind {
        use std::fmt::Write;
        let _ = write!(cause, " (given up after {attempts} attempts)");
    }
    error
}

impl Store for RetryStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        let start = move || self.inner.put(object, body.clone());
        Box::pin(self.retried("put", object.path(), start))
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let start = move || self.inner.get(object, range);
        Box::pin(self.retried("get", object.path(), start))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        let start = move || self.inner.list(directory);
        Box::pin(self.retried("list", directory.to_string(), start))
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        let start = move || self.inner.remove(object);
        Box::pin(self.retried("remove", object.path(), start))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use futures::future::ready;
    use strongroom_layout::ObjectId;
    use tokio::time::Instant;

    use super::*;
    use crate::store::{conformance, memory::MemoryStore};

    /// Fails the first `failures` reads, and remembers the tries.
    #[derive(Debug, Default)]
    struct Flaky {
        failures: u32,
        denied: bool,
        tries: AtomicU32,
    }

    impl Flaky {
        fn new(failures: u32) -> Arc<Self> {
            Arc::new(Self {
                failures,
                ..Self::default()
            })
        }

        fn attempt<T: Default + Send + 'static>(&self) -> BoxFuture<'_, Result<T, StoreError>> {
            Box::pin(async {
                let tries = self.tries.fetch_add(1, Ordering::SeqCst) + 1;
                assert_eq!(current_attempt(), tries);
                let kind = if tries > self.failures {
                    return Ok(T::default());
                } else if self.denied {
                    StoreErrorKind::Denied("no".into())
                } else {
                    StoreErrorKind::Transient("503".into())
                };
                Err(StoreError::new("get", "index/x", kind))
            })
        }
    }

    impl Store for Flaky {
        fn put(&self, _: ObjectName, _: Body) -> BoxFuture<'_, Result<(), StoreError>> {
            self.attempt()
        }

        fn get(
            &self,
            _: ObjectName,
            _: Option<ByteRange>,
        ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
            self.attempt()
        }

        fn list(&self, _: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
            self.attempt()
        }

        fn remove(&self, _: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(ready(Ok(())))
        }
    }

    const OBJECT: ObjectName =
        ObjectName::Hashed(strongroom_layout::ObjectKind::Index, ObjectId([0; 32]));

    fn retry(inner: Arc<Flaky>) -> RetryStore {
        RetryStore::new(inner, RetryPolicy::default(), CancellationToken::new())
    }

    #[tokio::test]
    async fn conforms() {
        let inner = Arc::new(MemoryStore::new());
        let store = RetryStore::new(inner, RetryPolicy::default(), CancellationToken::new());
        conformance::run(Arc::new(store)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn transient_errors_are_tried_again() {
        let put = Body::new(&b"x"[..]);
        retry(Flaky::new(3)).put(OBJECT, put).await.unwrap();
        retry(Flaky::new(9)).get(OBJECT, None).await.unwrap();
        retry(Flaky::new(1)).list(Directory::Index).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn not_for_ever() {
        let flaky = Flaky::new(u32::MAX);
        let started = Instant::now();
        let error = retry(flaky.clone()).get(OBJECT, None).await.unwrap_err();
        assert!(error.to_string().contains("after 10 attempts"), "{error}");
        assert_eq!(flaky.tries.load(Ordering::SeqCst), 10);
        assert!(started.elapsed() <= Duration::from_mins(5));
    }

    #[tokio::test]
    async fn what_will_not_change_is_not_tried_again() {
        let flaky = Arc::new(Flaky {
            failures: 1,
            denied: true,
            ..Flaky::default()
        });
        retry(flaky.clone()).get(OBJECT, None).await.unwrap_err();
        assert_eq!(flaky.tries.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_the_wait_at_once() {
        let cancelled = CancellationToken::new();
        let policy = RetryPolicy {
            attempts: u32::MAX,
            ..RetryPolicy::default()
        };
        let store = RetryStore::new(Flaky::new(u32::MAX), policy, cancelled.clone());
        let (result, ()) = tokio::join!(store.get(OBJECT, None), async {
            sleep(Duration::from_mins(10)).await;
            cancelled.cancel();
        });
        let error = result.unwrap_err();
        assert!(matches!(error.kind, StoreErrorKind::Cancelled));
        assert!(!error.is_retryable());
    }
}
