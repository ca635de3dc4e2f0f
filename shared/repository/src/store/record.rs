//! Counts what a store is asked for: tests assert it, jobs report it.

use std::{collections::BTreeMap, iter::Sum, ops::Add};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use strongroom_layout::{Directory, ObjectName};

use super::{Body, ByteRange, Listed, SharedStore, Store, StoreError};

/// What a store can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Write an object.
    Put,
    /// Read an object or a part of it.
    Get,
    /// List a directory.
    List,
    /// Remove an object.
    Remove,
}

/// How often, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations that succeeded.
    pub calls: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Operations that failed.
    pub failures: u64,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            bytes: self.bytes + other.bytes,
            failures: self.failures + other.failures,
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), Self::add)
    }
}

/// Counts operations by directory.
#[derive(Debug)]
pub struct RecordStore {
    inner: SharedStore,
    tallies: Mutex<BTreeMap<(Operation, Option<Directory>), Tally>>,
}

impl RecordStore {
    /// Counts what `inner` is asked for from now on.
    pub fn new(inner: SharedStore) -> Self {
        Self {
            inner,
            tallies: Mutex::default(),
        }
    }

    /// Operations in one directory; `None` is the top, where `config` stands.
    pub fn tally(&self, operation: Operation, directory: Option<Directory>) -> Tally {
        let tallies = self.tallies.lock();
        tallies
            .get(&(operation, directory))
            .copied()
            .unwrap_or_default()
    }

    /// Operations anywhere.
    pub fn total(&self, operation: Operation) -> Tally {
        let tallies = self.tallies.lock();
        tallies
            .iter()
            .filter(|((done, _), _)| *done == operation)
            .map(|(_, tally)| *tally)
            .sum()
    }

    /// Counts from zero again.
    pub fn reset(&self) {
        self.tallies.lock().clear();
    }

    async fn recorded<T>(
        &self,
        operation: Operation,
        directory: Option<Directory>,
        future: BoxFuture<'_, Result<T, StoreError>>,
        bytes: impl Fn(&T) -> u64,
    ) -> Result<T, StoreError> {
        let result = future.await;
        let tally = match &result {
            Ok(value) => Tally {
                calls: 1,
                bytes: bytes(value),
                failures: 0,
            },
            Err(_) => Tally {
                failures: 1,
                ..Tally::default()
            },
        };
        let mut tallies = self.tallies.lock();
        let sum = tallies.entry((operation, directory)).or_default();
        *sum = *sum + tally;
        result
    }
}

impl Store for RecordStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        let length = body.length;
        let put = self.inner.put(object, body);
        let directory = object.kind().directory();
        Box::pin(self.recorded(Operation::Put, directory, put, move |()| length))
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let get = self.inner.get(object, range);
        let directory = object.kind().directory();
        Box::pin(self.recorded(Operation::Get, directory, get, |bytes| bytes.len() as u64))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        let list = self.inner.list(directory);
        Box::pin(self.recorded(Operation::List, Some(directory), list, |_| 0))
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        let remove = self.inner.remove(object);
        let directory = object.kind().directory();
        Box::pin(self.recorded(Operation::Remove, directory, remove, |()| 0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{conformance, memory::MemoryStore};

    #[tokio::test]
    async fn conforms() {
        let store = RecordStore::new(Arc::new(MemoryStore::new()));
        conformance::run(Arc::new(store)).await;
    }

    #[tokio::test]
    async fn counts_calls_bytes_and_failures_by_directory() {
        let store = RecordStore::new(Arc::new(MemoryStore::new()));
        let body = Body::new(&b"12345"[..]);
        let object = ObjectName::index(body.sha256);
        store.put(object, body.clone()).await.unwrap();
        store.put(ObjectName::Config, body).await.unwrap();
        store.get(object, ByteRange::new(1, 3)).await.unwrap();
        store.get(object, ByteRange::new(9, 9)).await.unwrap_err();
        store.list(Directory::Index).await.unwrap();

        let tally = |calls, bytes, failures| Tally {
            calls,
            bytes,
            failures,
        };
        let index = Some(Directory::Index);
        assert_eq!(store.tally(Operation::Put, index), tally(1, 5, 0));
        assert_eq!(store.tally(Operation::Put, None), tally(1, 5, 0));
        assert_eq!(store.total(Operation::Put), tally(2, 10, 0));
        assert_eq!(store.tally(Operation::Get, index), tally(1, 3, 1));
        assert_eq!(store.total(Operation::List), tally(1, 0, 0));
        assert_eq!(store.total(Operation::Remove), Tally::default());
        store.reset();
        assert_eq!(store.total(Operation::Put), Tally::default());
    }
}
