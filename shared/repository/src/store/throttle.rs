//! The throttle: a store that lets at most so many bytes per second through.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use strongroom_layout::{Directory, ObjectName};
use strongroom_runtime::rate_limiter::RateLimiter;

use super::{Body, ByteRange, Listed, SharedStore, Store, StoreError};

/// Throttles a store that cannot pace its own stream: each operation waits
/// for the bytes it moves. (The S3 store paces its bodies itself.)
#[derive(Debug)]
pub struct ThrottleStore {
    inner: SharedStore,
    upload: Option<Arc<RateLimiter>>,
    download: Option<Arc<RateLimiter>>,
}

impl ThrottleStore {
    /// `None` is unlimited.
    pub fn new(
        inner: SharedStore,
        upload: Option<Arc<RateLimiter>>,
        download: Option<Arc<RateLimiter>>,
    ) -> Self {
        Self {
            inner,
            upload,
            download,
        }
    }
}

impl Store for ThrottleStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if let Some(limiter) = &self.upload {
                limiter.take(body.length).await;
            }
            self.inner.put(object, body).await
        })
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let bytes = self.inner.get(object, range).await?;
            if let Some(limiter) = &self.download {
                limiter.take(bytes.len() as u64).await;
            }
            Ok(bytes)
        })
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        self.inner.list(directory)
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.remove(object)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, time::Duration};

    use tokio::time::Instant;

    use super::*;
    use crate::store::{conformance, memory::MemoryStore};

    const RATE: u64 = 1 << 20;

    fn limiter() -> Arc<RateLimiter> {
        RateLimiter::new(NonZeroU64::new(RATE).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn conforms() {
        let store = ThrottleStore::new(
            Arc::new(MemoryStore::new()),
            Some(limiter()),
            Some(limiter()),
        );
        conformance::run(Arc::new(store)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn both_directions_have_their_own_limit() {
        let inner = Arc::new(MemoryStore::new());
        let store = ThrottleStore::new(inner, Some(limiter()), None);
        let body = Body::new(vec![0; 5 * RATE as usize]);
        let object = ObjectName::data_pack(body.sha256);
        let started = Instant::now();
        store.put(object, body).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(4_890));
        let uploaded = started.elapsed();
        store.get(object, None).await.unwrap();
        assert_eq!(started.elapsed(), uploaded);
    }
}
