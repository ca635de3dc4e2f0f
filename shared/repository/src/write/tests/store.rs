//! A store that logs, can be held shut, and can fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};
use tokio::sync::watch;

use crate::{
    format::{crypto::MasterKey, index::IndexFile, sha256::sha256, unpacked},
    store::{Body, ByteRange, Listed, Store, StoreError, StoreErrorKind},
};

/// Which write fails.
#[derive(Debug)]
pub(super) struct Fault {
    kind: ObjectKind,
    left: AtomicUsize,
}

impl Fault {
    /// The `nth` write of a kind, from 1, and all after it.
    pub(super) fn at(kind: ObjectKind, nth: usize) -> Self {
        Self {
            kind,
            left: AtomicUsize::new(nth - 1),
        }
    }

    fn strikes(&self, object: ObjectName) -> bool {
        matches!(object, ObjectName::Hashed(kind, _) if kind == self.kind)
            && self
                .left
                .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
                .is_err()
    }
}

#[derive(Debug)]
pub(super) struct TestStore {
    objects: Mutex<BTreeMap<ObjectName, Vec<u8>>>,
    log: Mutex<Vec<ObjectName>>,
    fault: Option<Fault>,
    open: watch::Sender<bool>,
    in_flight: Mutex<InFlight>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct InFlight {
    count: usize,
    bytes: usize,
    most: usize,
}

impl Default for TestStore {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
            log: Mutex::default(),
            fault: None,
            open: watch::Sender::new(true),
            in_flight: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl TestStore {
    /// Holds every write until [`TestStore::open`].
    pub(super) fn closed() -> Self {
        Self {
            open: watch::Sender::new(false),
            ..Self::default()
        }
    }

    pub(super) fn failing(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(super) fn wait_until_waiting(&self, count: usize) {
        let mut in_flight = self.in_flight.lock();
        while in_flight.count < count {
            self.changed.wait(&mut in_flight);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.in_flight.lock().count
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.in_flight.lock().most
    }

    pub(super) fn puts(&self) -> usize {
        self.log.lock().len()
    }

    /// Names in the order in which they became durable.
    pub(super) fn log(&self) -> Vec<ObjectName> {
        self.log.lock().clone()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.objects
            .lock()
            .values()
            .map(|bytes| bytes.len() as u64)
            .sum()
    }

    pub(super) fn objects_of(&self, wanted: ObjectKind) -> Vec<Vec<u8>> {
        let objects = self.objects.lock();
        objects
            .iter()
            .filter(|(name, _)| matches!(name, ObjectName::Hashed(kind, _) if *kind == wanted))
            .map(|(_, bytes)| bytes.clone())
            .collect()
    }

    pub(super) fn pack(&self, id: ObjectId) -> Vec<u8> {
        let objects = self.objects.lock();
        [ObjectKind::DataPack, ObjectKind::TreePack]
            .iter()
            .find_map(|kind| objects.get(&ObjectName::Hashed(*kind, id)))
            .expect("a pack that an index lists")
            .clone()
    }

    pub(super) fn packs_in(&self, key: &MasterKey, index: ObjectId) -> BTreeSet<ObjectId> {
        let sealed = self.objects.lock()[&ObjectName::Hashed(ObjectKind::Index, index)].clone();
        let mut plain = Vec::new();
        key.open_into(&sealed, &mut plain).unwrap();
        let json = unpacked::decode("index", plain).unwrap();
        let index = IndexFile::decode(&json).unwrap();
        index.packs.iter().map(|pack| pack.id).collect()
    }

    async fn write(&self, object: ObjectName, body: Body) -> Result<(), StoreError> {
        let length = body.length as usize;
        {
            let mut in_flight = self.in_flight.lock();
            in_flight.count += 1;
            in_flight.bytes += length;
            in_flight.most = in_flight.most.max(in_flight.bytes);
            self.changed.notify_all();
        }
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the store lives");
        {
            let mut in_flight = self.in_flight.lock();
            in_flight.count -= 1;
            in_flight.bytes -= length;
        }
        if self
            .fault
            .as_ref()
            .is_some_and(|fault| fault.strikes(object))
        {
            return Err(StoreError {
                operation: "put",
                object: format!("{object:?}"),
                kind: StoreErrorKind::Denied("injected".into()),
            });
        }
        let bytes = body.parts.concat();
        assert_eq!(bytes.len(), length);
        assert_eq!(body.sha256, sha256(&bytes));
        assert!(matches!(object, ObjectName::Hashed(_, id) if id == body.sha256));
        self.objects.lock().insert(object, bytes);
        self.log.lock().push(object);
        Ok(())
    }
}

impl Store for TestStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(object, body))
    }

    fn get(&self, _: ObjectName, _: Option<ByteRange>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        unreachable!("a writer reads nothing")
    }

    fn list(&self, _: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        unreachable!("a writer lists nothing")
    }

    fn remove(&self, _: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("a writer removes nothing")
    }
}
