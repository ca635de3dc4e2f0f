//! At most so many operations at once.

use bytes::Bytes;
use futures::future::BoxFuture;
use strongroom_layout::{Directory, ObjectName};
use tokio::sync::Semaphore;

use super::{Body, ByteRange, Listed, SharedStore, Store, StoreError};

/// Lets a limited number of operations through; the others wait their turn.
#[derive(Debug)]
pub struct LimitStore {
    inner: SharedStore,
    permits: Semaphore,
}

impl LimitStore {
    /// At most `at_once` operations, of whatever kind.
    pub fn new(inner: SharedStore, at_once: usize) -> Self {
        Self {
            inner,
            permits: Semaphore::new(at_once.max(1)),
        }
    }

    async fn limited<T>(
        &self,
        operation: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        // The semaphore is never closed, so this is always a permit.
        let _permit = self.permits.acquire().await.ok();
        operation.await
    }
}

impl Store for LimitStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.limited(self.inner.put(object, body)))
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        Box::pin(self.limited(self.inner.get(object, range)))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        Box::pin(self.limited(self.inner.list(directory)))
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.limited(self.inner.remove(object)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use strongroom_layout::ObjectId;

    use super::*;
    use crate::store::{conformance, memory::MemoryStore};

    #[tokio::test]
    async fn conforms() {
        let store = LimitStore::new(Arc::new(MemoryStore::new()), 2);
        conformance::run(Arc::new(store)).await;
    }

    /// Remembers how many operations ran at once.
    #[derive(Debug, Default)]
    struct Crowded {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Crowded {
        fn enter<T: Default + Send>(&self) -> BoxFuture<'_, Result<T, StoreError>> {
            Box::pin(async {
                let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.now.fetch_sub(1, Ordering::SeqCst);
                Ok(T::default())
            })
        }
    }

    impl Store for Crowded {
        fn put(&self, _: ObjectName, _: Body) -> BoxFuture<'_, Result<(), StoreError>> {
            self.enter()
        }

        fn get(
            &self,
            _: ObjectName,
            _: Option<ByteRange>,
        ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
            self.enter()
        }

        fn list(&self, _: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
            self.enter()
        }

        fn remove(&self, _: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
            self.enter()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_run_at_once() {
        let crowded = Arc::new(Crowded::default());
        let store = LimitStore::new(crowded.clone(), 3);
        let object = ObjectName::index(ObjectId([0; 32]));
        let gets = (0..10).map(|_| store.get(object, None));
        let lists = (0..10).map(|_| store.list(Directory::Index));
        tokio::try_join!(
            futures::future::try_join_all(gets),
            futures::future::try_join_all(lists),
        )
        .unwrap();
        assert_eq!(crowded.most.load(Ordering::SeqCst), 3);
    }
}
