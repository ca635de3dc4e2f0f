//! A store that refuses to replace the config, and whose first answer was
//! lost.

use bytes::Bytes;
use futures::future::BoxFuture;

use super::*;
use crate::store::{ByteRange, Listed, Store, StoreError, StoreErrorKind};

/// Refuses every PUT of a config, before or after it was written.
#[derive(Debug)]
struct Refuses {
    inner: SharedStore,
    written: bool,
}

impl Store for Refuses {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if object != ObjectName::Config {
                return self.inner.put(object, body).await;
            }
            if self.written {
                self.inner.put(object, body).await?;
            }
            let denied = StoreErrorKind::Denied("412: PreconditionFailed".into());
            Err(StoreError::new("put", object, denied))
        })
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        self.inner.get(object, range)
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        self.inner.list(directory)
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.remove(object)
    }
}

#[tokio::test]
async fn a_refused_config_counts_when_it_stands_there_as_we_wrote_it() {
    for written in [true, false] {
        let inner = memory();
        let store = Arc::new(Refuses {
            inner: inner.clone(),
            written,
        });
        let created = Repository::create(store, PASSWORD, owner()).await;
        assert_eq!(created.is_ok(), written);
        assert_eq!(Repository::open(inner, PASSWORD).await.is_ok(), written);
    }
}
