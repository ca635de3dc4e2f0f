use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures::future::BoxFuture;
use strongroom_layout::{Directory, ObjectId, ObjectName};
use strongroom_repository::{
    Repository,
    store::{Body, ByteRange, Listed, SharedStore, Store, StoreError, StoreErrorKind},
};
use strongroom_transfer::{MAX_PLAIN, SecretKey};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{TransferError, read::PieceReader, write::PieceWriter};
use crate::{monitor::Monitor, restore::stream::SnapshotFiles};

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

/// Counts requests for data packs.
#[derive(Debug)]
struct Counting(strongroom_repository::store::fs::FsStore, AtomicUsize);

impl Store for Counting {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.put(object, body)
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        self.1.fetch_add(1, Relaxed);
        self.0.get(object, range)
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        self.0.list(directory)
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.remove(object)
    }
}

fn restic(repository: &Path, arguments: &[&OsStr]) {
    let status = std::process::Command::new("restic")
        .args(["--quiet", "--no-cache", "--repo"])
        .arg(repository)
        .args(arguments)
        .env("RESTIC_PASSWORD", "password")
        .status()
        .expect("restic runs; `tests/run` installs it");
    assert!(status.success());
}

/// As many round trips as the data has pieces, not as there are files.
#[test]
fn small_files_of_a_directory_are_fetched_together() {
    const FILES: usize = 700;
    let scratch = tempfile::tempdir().unwrap();
    let (source, repository) = (
        scratch.path().join("source"),
        scratch.path().join("repository"),
    );
    let content = |file: usize| strongroom_tests::noise(file as u64 + 1, 1000 + 7 * file);
    for directory in ["a", "b/c"] {
        fs::create_dir_all(source.join(directory)).unwrap();
    }
    for file in 0..FILES {
        let directory = if file % 2 == 0 { "a" } else { "b/c" };
        fs::write(source.join(directory).join(file.to_string()), content(file)).unwrap();
    }
    fs::write(source.join("empty"), b"").unwrap();
    fs::write(source.join("large"), strongroom_tests::noise(9, 30 << 20)).unwrap();
    restic(&repository, &["init".as_ref()]);
    restic(&repository, &["backup".as_ref(), source.as_os_str()]);

    let runtime = Runtime::new().unwrap();
    let files = strongroom_repository::store::fs::FsStore::new(repository);
    let store = Arc::new(Counting(files, AtomicUsize::new(0)));
    let opened = Repository::open(Arc::clone(&store) as SharedStore, "password");
    let opened = Arc::new(runtime.block_on(opened).unwrap());
    let (id, _) = runtime.block_on(opened.find_snapshot("latest")).unwrap();
    let monitor = Arc::new(Monitor::new(CancellationToken::new()));
    let handle = runtime.handle().clone();
    let files = SnapshotFiles::open(opened, handle, id, Arc::clone(&monitor)).unwrap();
    store.1.store(0, Relaxed);
    let mut tar = Vec::new();
    let count = super::archive::write(&files, None, &mut tar, &monitor).unwrap();
    let requests = store.1.load(Relaxed);
    assert!(
        requests < FILES / 4,
        "{requests} requests for {count} entries"
    );

    let mut found = 0;
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let expected = match (name.parse(), name.as_str()) {
            (Ok(file), _) => content(file),
            (_, "large") => strongroom_tests::noise(9, 30 << 20),
            _ => Vec::new(),
        };
        assert!(bytes == expected, "{name}: {} bytes", bytes.len());
        found += 1;
    }
    assert_eq!(found, count);
}

/// All regular files below a directory.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// The first are fetched one by one, the others together.
#[test]
fn a_damaged_blob_is_told_of_its_file_when_all_before_it_is_written() {
    const FILES: u64 = 60;
    const DAMAGED: u64 = 40;
    let scratch = tempfile::tempdir().unwrap();
    let (source, repository) = (
        scratch.path().join("source"),
        scratch.path().join("repository"),
    );
    fs::create_dir(&source).unwrap();
    let name = |number: u64| format!("f{number:02}");
    let content = |number: u64| strongroom_tests::noise(number + 1, 10_000);
    // The damaged one has a pack of its own.
    fs::write(source.join(name(DAMAGED)), content(DAMAGED)).unwrap();
    restic(&repository, &["init".as_ref()]);
    restic(&repository, &["backup".as_ref(), source.as_os_str()]);
    let packs = files_below(&repository.join("data"));
    for number in 0..FILES {
        fs::write(source.join(name(number)), content(number)).unwrap();
    }
    restic(&repository, &["backup".as_ref(), source.as_os_str()]);
    // That of trees is smaller.
    let pack = packs
        .iter()
        .max_by_key(|pack| pack.metadata().unwrap().len());
    let mut bytes = fs::read(pack.unwrap()).unwrap();
    bytes[1_000] ^= 4;
    fs::remove_file(pack.unwrap()).unwrap();
    fs::write(pack.unwrap(), bytes).unwrap();

    let runtime = Runtime::new().unwrap();
    let store = Arc::new(strongroom_repository::store::fs::FsStore::new(repository));
    let opened = Repository::open(store as SharedStore, "password");
    let opened = Arc::new(runtime.block_on(opened).unwrap());
    let (id, _) = runtime.block_on(opened.find_snapshot("latest")).unwrap();
    let monitor = Arc::new(Monitor::new(CancellationToken::new()));
    let handle = runtime.handle().clone();
    let files = SnapshotFiles::open(opened, handle, id, Arc::clone(&monitor)).unwrap();
    let mut tar = Vec::new();
    let error = super::archive::write(&files, None, &mut tar, &monitor).unwrap_err();
    let said = error.to_string();
    let file = format!("source/{} of the snapshot", name(DAMAGED));
    assert!(said.contains(&file), "{said}");
    assert_eq!(error.code(), strongroom_spec::FailureCode::Corrupt);
    let mut whole = Vec::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let Ok(mut entry) = entry else { break };
        let mut bytes = Vec::new();
        if entry.read_to_end(&mut bytes).is_ok() && !bytes.is_empty() {
            whole.push(bytes);
        }
    }
    // Behind them there is what the damaged one should have been, cut off.
    let before: Vec<_> = (0..DAMAGED).map(content).collect();
    assert!(whole.starts_with(&before), "{} files", whole.len());
    assert!(!whole.contains(&content(DAMAGED + 1)));
}
