//! A source, a repository on disk, and the means to look at it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Barrier},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use strongroom_layout::{Directory, ObjectKind, ObjectName};
use strongroom_repository::{
    Repository,
    format::{blob::BlobId, key_file::KeyOwner, node::NodeKind},
    store::{Body, ByteRange, Listed, Store, StoreError, StoreErrorKind, fs::FsStore},
    write::{Known, ParentTrees},
};
use strongroom_runtime::clock::{Clock, SystemClock};
use strongroom_spec::FilesSource;
use strongroom_tests::{restic::Restic, scratch::Scratch};
use tokio::{runtime::Runtime, sync::watch};
use tokio_util::sync::CancellationToken;

use super::super::{BackupError, BackupRequest, BackupSource, PreparedBackup, run};
use crate::{allowed::AllowedPaths, monitor::Monitor, sources::throttle::Pace};

/// As if every file had lain untouched for a while: what was written just before a
/// backup is read again by the next.
#[derive(Debug)]
struct LaterOn;

impl Clock for LaterOn {
    fn now(&self) -> jiff::Timestamp {
        SystemClock.now() + jiff::SignedDuration::from_secs(10)
    }
}

const PASSWORD: &str = "correct horse";
/// Threads that write, at most.
const BLOCKING: usize = 4;

pub(super) struct Bench {
    pub(super) scratch: Scratch,
    pub(super) source: PathBuf,
    // All there from the start: they must not change the directory above the
    // source.
    pub(super) cache: PathBuf,
    password: PathBuf,
    pub(super) store: Arc<GatedStore>,
    pub(super) repository: Arc<Repository>,
    pub(super) runtime: Runtime,
    pub(super) monitor: Arc<Monitor>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let scratch = Scratch::new("backup");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(BLOCKING)
            .thread_keep_alive(Duration::MAX)
            .enable_all()
            .build()
            .unwrap();
        let store = Arc::new(GatedStore {
            inner: FsStore::new(scratch.path().join("repository")),
            gate: Mutex::new(Gate::Open),
            got: Mutex::default(),
            writing: watch::Sender::new(0),
        });
        let owner = KeyOwner {
            created: jiff::Timestamp::UNIX_EPOCH,
            username: "tester".into(),
            hostname: "bench".into(),
        };
        let create = Repository::create(Arc::clone(&store) as _, PASSWORD, owner);
        let repository = runtime.block_on(create).unwrap();
        Self {
            source: scratch.dir("source"),
            cache: scratch.dir("cache"),
            password: scratch.file("password", PASSWORD),
            repository: Arc::new(repository),
            monitor: Arc::new(Monitor::new(CancellationToken::new())),
            store,
            runtime,
            scratch,
        }
    }

    /// Starts all threads that will ever write.
    pub(super) fn start_writers(&self) {
        let all = Arc::new(Barrier::new(BLOCKING));
        let writers: Vec<_> = (0..BLOCKING)
            .map(|_| {
                let all = Arc::clone(&all);
                self.runtime.spawn_blocking(move || all.wait())
            })
            .collect();
        for writer in writers {
            self.runtime.block_on(writer).unwrap();
        }
    }

    /// Writes a file of the source, and the directories above it.
    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// All of the source.
    pub(super) fn request(&self) -> BackupRequest {
        self.request_for(|_| ())
    }

    /// With a files source changed by `change`.
    pub(super) fn request_for(&self, change: impl FnOnce(&mut FilesSource)) -> BackupRequest {
        let mut source = FilesSource {
            paths: vec![text(&self.source)],
            include: Vec::new(),
            exclude: Vec::new(),
            one_file_system: false,
            exclude_caches: false,
        };
        change(&mut source);
        BackupRequest {
            source: BackupSource::Files(source),
            parent: None,
            tags: vec!["test".into()],
            hostname: "bench".into(),
            threads: Some(3),
            memory_budget: Some(48 << 20),
            pace: Pace::unlimited(),
            cache: Some(self.cache.clone()),
            clock: Arc::new(LaterOn),
            allowed: AllowedPaths::default(),
            probe: None,
        }
    }

    /// All of the source, with a parent.
    pub(super) fn request_after(&self, parent: &PreparedBackup) -> BackupRequest {
        BackupRequest {
            parent: Some(parent.result.snapshot),
            ..self.request()
        }
    }

    pub(super) fn try_backup(
        &self,
        request: &BackupRequest,
    ) -> Result<PreparedBackup, BackupError> {
        run(
            Arc::clone(&self.repository),
            self.runtime.handle().clone(),
            request.clone(),
            Arc::clone(&self.monitor),
        )
    }

    /// A backup that must succeed, published.
    pub(super) fn backup(&self, request: &BackupRequest) -> PreparedBackup {
        let prepared = self.try_backup(request).unwrap();
        let put = self.store.put(prepared.object, prepared.body.clone());
        self.runtime.block_on(put).unwrap();
        prepared
    }

    /// `path: cause`, below the source where they lie in it.
    pub(super) fn warnings(&self) -> Vec<String> {
        let (warnings, count) = self.monitor.warnings();
        assert_eq!(warnings.len() as u64, count);
        let source = format!("{}/", text(&self.source));
        let mut lines: Vec<_> = warnings
            .iter()
            .map(|warning| {
                let path = String::from_utf8_lossy(&warning.path).replace(&source, "");
                format!("{path}: {}", warning.cause)
            })
            .collect();
        lines.sort();
        lines
    }

    /// The paths of a snapshot below the source, directories with a slash.
    pub(super) fn list(&self, backup: &PreparedBackup) -> Vec<String> {
        let below = format!("{}/", &text(&self.source)[1..]);
        let all = self.list_all(backup);
        all.iter()
            .filter_map(|path| path.strip_prefix(&below))
            .filter(|path| !path.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    }

    /// All paths of a snapshot, without the slash at their beginning.
    pub(super) fn list_all(&self, backup: &PreparedBackup) -> Vec<String> {
        let known = self
            .runtime
            .block_on(Known::load(&self.repository))
            .unwrap();
        let root = backup.snapshot.tree;
        let trees = ParentTrees::new(
            Arc::clone(&self.repository),
            self.runtime.handle().clone(),
            known.trees,
            &backup.snapshot,
        )
        .unwrap();
        let mut paths = Vec::new();
        walk(&trees, root, "", &mut paths);
        paths.sort();
        paths
    }

    pub(super) fn restic(&self) -> Restic {
        let repository = text(&self.scratch.path().join("repository"));
        Restic::new(repository, &self.password)
    }
}

fn walk(trees: &ParentTrees, id: BlobId, above: &str, paths: &mut Vec<String>) {
    for node in &trees.tree(id).expect("the tree is there").tree.nodes {
        let path = format!("{above}{}", String::from_utf8_lossy(&node.name));
        if let NodeKind::Dir { subtree } = &node.kind {
            let path = format!("{path}/");
            walk(
                trees,
                subtree.expect("a directory has a tree"),
                &path,
                paths,
            );
            paths.push(path);
        } else {
            paths.push(path);
        }
    }
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What a [`GatedStore`] refuses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gate {
    Open,
    DenyGet(ObjectKind),
    /// Lets so many writes of a kind pass; the next is refused when those
    /// that passed are through.
    DenyPut(ObjectKind, usize),
}

/// Refuses on demand, and remembers what was read.
#[derive(Debug)]
pub(super) struct GatedStore {
    inner: FsStore,
    gate: Mutex<Gate>,
    got: Mutex<Vec<ObjectKind>>,
    /// Writes that passed and are not through.
    writing: watch::Sender<usize>,
}

impl GatedStore {
    pub(super) fn set(&self, gate: Gate) {
        *self.gate.lock() = gate;
    }

    pub(super) fn forget(&self) {
        self.got.lock().clear();
    }

    /// Reads of a kind.
    pub(super) fn got(&self, kind: ObjectKind) -> usize {
        self.got.lock().iter().filter(|got| **got == kind).count()
    }

    fn pass_put(&self, object: ObjectName) -> Result<(), StoreError> {
        if let Gate::DenyPut(kind, left) = &mut *self.gate.lock()
            && *kind == object.kind()
        {
            *left = left.checked_sub(1).ok_or_else(|| denied("put", object))?;
        }
        Ok(())
    }
}

fn denied(operation: &'static str, object: ObjectName) -> StoreError {
    StoreError {
        operation,
        object: object.path(),
        kind: StoreErrorKind::Refused {
            reason: "test".into(),
            message: "the gate is shut".into(),
        },
    }
}

impl Store for GatedStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        let passed = self.pass_put(object);
        if passed.is_ok() {
            self.writing.send_modify(|writing| *writing += 1);
        }
        Box::pin(async move {
            if let Err(error) = passed {
                let mut writing = self.writing.subscribe();
                // The sender is ours: waiting cannot fail.
                let _ = writing.wait_for(|writing| *writing == 0).await;
                return Err(error);
            }
            let stored = self.inner.put(object, body).await;
            self.writing.send_modify(|writing| *writing -= 1);
            stored
        })
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        self.got.lock().push(object.kind());
        if matches!(*self.gate.lock(), Gate::DenyGet(kind) if kind == object.kind()) {
            return Box::pin(async move { Err(denied("get", object)) });
        }
        self.inner.get(object, range)
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        self.inner.list(directory)
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.remove(object)
    }
}
