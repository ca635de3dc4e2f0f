use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use strongroom_layout::{Directory, ObjectId, ObjectName};
use strongroom_repository::store::{
    Body, ByteRange, Listed, SharedStore, Store, StoreError, StoreErrorKind,
};
use strongroom_transfer::{MAX_PLAIN, SecretKey};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{TransferError, read::PieceReader, write::PieceWriter};
use crate::monitor::Monitor;

/// Keeps objects in memory, where tests may change them.
#[derive(Debug, Default)]
struct Shelf(Mutex<HashMap<ObjectId, Vec<u8>>>);

impl Store for Shelf {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        let id = object.id().unwrap();
        self.0.lock().unwrap().insert(id, body.parts.concat());
        Box::pin(async { Ok(()) })
    }

    fn get(
        &self,
        object: ObjectName,
        _: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let found = self.0.lock().unwrap().get(&object.id().unwrap()).cloned();
        let found = found.map(Bytes::from);
        let missing = move || StoreError::new("get", object, StoreErrorKind::NotFound);
        Box::pin(async move { found.ok_or_else(missing) })
    }

    fn list(&self, _: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn remove(&self, _: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

struct Bench {
    runtime: Runtime,
    shelf: Arc<Shelf>,
    monitor: Arc<Monitor>,
    key: SecretKey,
}

impl Bench {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            shelf: Arc::default(),
            monitor: Arc::new(Monitor::new(CancellationToken::new())),
            key: SecretKey::generate().unwrap(),
        }
    }

    fn store(&self) -> SharedStore {
        Arc::clone(&self.shelf) as SharedStore
    }

    fn writer(&self) -> PieceWriter {
        let runtime = self.runtime.handle().clone();
        PieceWriter::new(
            self.store(),
            runtime,
            self.monitor.clone(),
            &self.key.public(),
        )
        .unwrap()
    }

    fn write(&self, bytes: &[u8]) -> ObjectId {
        let mut writer = self.writer();
        writer.write_all(bytes).unwrap();
        let (manifest, written) = writer.finish().unwrap();
        assert_eq!(written, bytes.len() as u64);
        manifest
    }

    fn read(&self, manifest: ObjectId) -> Result<Vec<u8>, TransferError> {
        let runtime = self.runtime.handle().clone();
        let mut reader = PieceReader::open(
            self.store(),
            runtime,
            self.monitor.clone(),
            &self.key,
            manifest,
        )?;
        let mut all = Vec::new();
        reader
            .read_to_end(&mut all)
            .map_err(|error| TransferError::from_io(b"it", error))?;
        Ok(all)
    }
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * n / 251) as u8).collect()
}

#[test]
fn what_is_written_is_read_whatever_its_size() {
    let bench = Bench::new();
    for (length, pieces) in [
        (0, 0),
        (1, 1),
        (MAX_PLAIN, 1),
        (MAX_PLAIN + 1, 2),
        (3 * MAX_PLAIN, 3),
    ] {
        bench.shelf.0.lock().unwrap().clear();
        let bytes = noise(length);
        let manifest = bench.write(&bytes);
        // And the manifest.
        assert_eq!(bench.shelf.0.lock().unwrap().len(), pieces + 1, "{length}");
        assert!(bench.read(manifest).unwrap() == bytes, "{length}");
    }
    assert!(bench.monitor.bytes_stored.load(Relaxed) > 5 * MAX_PLAIN as u64);
}

#[test]
fn damaged_and_missing_pieces_end_the_reading() {
    let bench = Bench::new();
    let manifest = bench.write(&noise(MAX_PLAIN + 1));
    let pieces: Vec<_> = bench.shelf.0.lock().unwrap().keys().copied().collect();
    for piece in pieces {
        let whole = bench.shelf.0.lock().unwrap().remove(&piece).unwrap();
        let missing = bench.read(manifest).unwrap_err();
        assert!(matches!(missing, TransferError::Store(_)), "{missing}");
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        bench.shelf.0.lock().unwrap().insert(piece, damaged);
        let error = bench.read(manifest).unwrap_err();
        assert!(matches!(error, TransferError::Open(_)), "{error}");
        assert!(error.to_string().contains(&piece.to_string()));
        bench.shelf.0.lock().unwrap().insert(piece, whole);
    }
    bench.read(manifest).unwrap();
}

#[test]
fn pieces_for_another_agent_are_of_no_use() {
    let mut bench = Bench::new();
    let manifest = bench.write(b"for the other one");
    bench.key = SecretKey::generate().unwrap();
    let error = bench.read(manifest).unwrap_err();
    assert!(matches!(error, TransferError::Open(_)), "{error}");
}

#[test]
fn a_cancel_ends_writing_and_reading() {
    let bench = Bench::new();
    let manifest = bench.write(b"some bytes");
    let mut writer = bench.writer();
    bench.monitor.cancel.cancel();
    let error = writer.write_all(b"more").unwrap_err();
    let error = TransferError::from_io(b"it", error);
    assert!(matches!(error, TransferError::Cancelled), "{error}");
    let error = bench.read(manifest).unwrap_err();
    assert!(matches!(error, TransferError::Cancelled), "{error}");
}
