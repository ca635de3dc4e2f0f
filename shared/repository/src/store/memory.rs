//! A store in memory, for tests.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use strongroom_layout::{Directory, ObjectName};

use super::{Body, ByteRange, Listed, Store, StoreError, StoreErrorKind, Written};

/// Objects in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<HashMap<String, (ObjectName, Bytes)>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut bytes = BytesMut::with_capacity(body.length as usize);
        for part in &body.parts {
            bytes.extend_from_slice(part);
        }
        self.objects
            .lock()
            .insert(object.path(), (object, bytes.freeze()));
        Box::pin(ready(Ok(())))
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let found = self.objects.lock().get(&object.path()).cloned();
        let result = match (found, range) {
            (None, _) => Err(StoreErrorKind::NotFound),
            (Some((_, bytes)), None) => Ok(bytes),
            (Some((_, bytes)), Some(range)) => cut(&bytes, range),
        };
        Box::pin(ready(
            result.map_err(|kind| StoreError::new("get", object, kind)),
        ))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        let listed = self
            .objects
            .lock()
            .values()
            .filter(|(object, _)| object.kind().directory() == Some(directory))
            .filter_map(|(object, bytes)| {
                Some(Listed {
                    id: object.id()?,
                    size: bytes.len() as u64,
                    written: Written::Unknown,
                })
            })
            .collect();
        Box::pin(ready(Ok(listed)))
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.objects.lock().remove(&object.path());
        Box::pin(ready(Ok(())))
    }
}

fn cut(bytes: &Bytes, range: ByteRange) -> Result<Bytes, StoreErrorKind> {
    let length = bytes.len() as u64;
    if range.first <= range.last && range.last < length {
        Ok(bytes.slice(range.first as usize..=range.last as usize))
    } else {
        Err(StoreErrorKind::Truncated {
            got: length.saturating_sub(range.first),
            expected: range.length(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn conforms() {
        conformance::run(Arc::new(MemoryStore::new())).await;
    }
}
