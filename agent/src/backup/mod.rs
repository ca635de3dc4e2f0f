//! A backup from source to prepared snapshot.
//!
//! [`run`] makes everything durable but the snapshot file itself. Whoever
//! called publishes that: a session through the coordinator, which checks that
//! the lease still holds; `offline` with a plain write.

mod error;
mod losses;
mod snapshot;
pub mod upload;

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strongroom_layout::{ObjectId, ObjectName};
use strongroom_repository::{
    Repository, RepositoryError,
    format::{blob::BlobId, snapshot::Snapshot},
    read::Trouble,
    store::Body,
    write::{
        JournalDirectory, Known, ParentTrees, WriteError, WriteOptions, Writer, Written,
        known::TreePlaces, plan::DEFAULT_MEMORY_BUDGET, writer::OnStored,
    },
};
use strongroom_runtime::clock::SharedClock;
use strongroom_spec::{BackupOutcome, ClusterPoint, FilesSource, WarningCode};
use tokio::runtime::Handle;

pub use error::BackupError;

use self::losses::Losses;
use self::upload::UploadSource;
use crate::{
    allowed::AllowedPaths,
    limits,
    monitor::Monitor,
    sources::{
        command::{self, Command},
        files::{self, Counts, FilesOptions, Probe, estimate},
        postgres::{
            logical::{self, LogicalOptions, LogicalSource},
            physical::{self, ClusterOptions, ClusterSource},
        },
        redis::{self, RedisOptions, RedisSource},
        throttle::Pace,
    },
};

/// The tag of a snapshot that lacks something that was asked for, so that its
/// file says so to whoever has nothing else.
pub const PARTIAL: &str = "partial";

/// What to back up.
#[derive(Debug, Clone)]
pub enum BackupSource {
    /// Files and directories.
    Files(FilesSource),
    /// A command of `agent.toml`.
    Command(Command),
    /// Databases of a PostgreSQL server.
    Logical(LogicalSource),
    /// A PostgreSQL cluster of this host.
    Cluster(ClusterSource),
    /// A Redis server.
    Redis(RedisSource),
    /// What an operator uploads.
    Upload(UploadSource),
}

/// What to back up, and how.
#[derive(Clone)]
pub struct BackupRequest {
    /// What.
    pub source: BackupSource,
    /// The snapshot that unchanged files are taken from.
    pub parent: Option<ObjectId>,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// The host's name.
    pub hostname: String,
    /// Threads; by default one per core. Fewer when the memory budget does not
    /// hold as many.
    pub threads: Option<usize>,
    /// What the pipeline may take, in bytes; see
    /// [`strongroom_repository::write::plan`] for the default.
    pub memory_budget: Option<usize>,
    /// How fast the source is read.
    pub pace: Pace,
    /// The agent's cache directory: what an interrupted run stored is noted
    /// there, and found again.
    pub cache: Option<PathBuf>,
    /// Gives the snapshot its time.
    pub clock: SharedClock,
    /// How the paths of a files source are reached; by default by their names.
    pub allowed: AllowedPaths,
    /// For tests.
    pub probe: Option<Probe>,
}

impl std::fmt::Debug for BackupRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupRequest")
            .field("source", &self.source)
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}

/// Everything is durable but the snapshot file.
#[derive(Debug)]
pub struct PreparedBackup {
    /// The snapshot file's name.
    pub object: ObjectName,
    /// Its bytes.
    pub body: Body,
    /// What it says.
    pub snapshot: Snapshot,
    /// Figures; they hold once the file is published.
    pub result: BackupOutcome,
}

/// The tree and what was met on the way.
struct Saved {
    root: BlobId,
    counts: Counts,
    /// Of a cluster: where in its log the copy stands.
    cluster: Option<ClusterPoint>,
    /// Something that was asked for is not in it.
    partial: bool,
}

impl Saved {
    fn new(root: BlobId, counts: Counts) -> Self {
        Self {
            root,
            counts,
            cluster: None,
            partial: false,
        }
    }
}

/// Runs a backup. Blocks: call it from a thread that is none of `runtime`'s
/// (`spawn_blocking` is fine). Ends early when the monitor's token is
/// cancelled.
#[expect(
    clippy::needless_pass_by_value,
    reason = "called from tasks that own what they hand over"
)]
pub fn run(
    repository: Arc<Repository>,
    runtime: Handle,
    request: BackupRequest,
    monitor: Arc<Monitor>,
) -> Result<PreparedBackup, BackupError> {
    let span = tracing::info_span!("backup", hostname = request.hostname);
    let _entered = span.enter();
    monitor.enter("opening");
    raise_descriptor_limit();
    let started = request.clock.now();
    repository.require_writable()?;
    let cache = request.cache.as_deref();
    let journal = cache.map(|cache| JournalDirectory::new(cache, repository.config().id));
    let known = until_cancelled(&runtime, &monitor, known(&repository, journal.as_ref()))??;
    for Trouble { object, cause } in known.trouble {
        tracing::warn!(object, cause, "the repository is damaged");
        monitor.warn(WarningCode::RepositoryDamaged, object, cause);
    }
    let parents = parents(&repository, &runtime, &request, &monitor, known.trees)?;
    let writer = Writer::new(
        Arc::clone(repository.key()),
        Arc::clone(repository.store()),
        known.membership,
        runtime.clone(),
        WriteOptions {
            journal,
            ..options(&request, &monitor)
        },
        &monitor.cancel,
    )?;
    let pace = request.pace.clone().until(writer.halted());
    monitor.enter("backing up");
    let saved = {
        let _entered = tracing::info_span!("walk").entered();
        match &request.source {
            BackupSource::Files(source) => {
                save_files(&writer, source, parents, started, pace, &request, &monitor)
            }
            BackupSource::Command(command) => {
                command::save(&writer, &runtime, command, started, &pace, &monitor)
                    .map(|(root, size)| Saved::new(root, Counts::of_one_file(size)))
                    .map_err(BackupError::from)
            }
            BackupSource::Logical(source) => {
                let options = LogicalOptions {
                    source,
                    monitor: &monitor,
                    pace: &pace,
                    clock: &request.clock,
                };
                logical::save(&writer, &runtime, &options)
                    .map(|(root, made)| Saved {
                        partial: made.partial,
                        ..Saved::new(root, Counts::of_made(made.files, 1, made.bytes))
                    })
                    .map_err(BackupError::from)
            }
            BackupSource::Redis(source) => {
                let options = RedisOptions {
                    source,
                    monitor: &monitor,
                    pace: &pace,
                    clock: &request.clock,
                };
                redis::save(&writer, &runtime, &options)
                    .map(|(root, bytes)| Saved::new(root, Counts::of_made(2, 0, bytes)))
                    .map_err(BackupError::from)
            }
            BackupSource::Upload(source) => {
                upload::save(&writer, &runtime, source, started, &pace, &monitor)
                    .map(|(root, made)| {
                        let counts = Counts::of_made(made.files, made.directories, made.bytes);
                        Saved::new(root, counts)
                    })
                    .map_err(BackupError::from)
            }
            BackupSource::Cluster(cluster) => {
                let options = ClusterOptions {
                    source: cluster,
                    parents,
                    monitor: &monitor,
                    pace: &pace,
                    clock: &request.clock,
                };
                physical::save(&writer, &runtime, &options)
                    .map(|(root, counts, point)| Saved {
                        cluster: Some(point),
                        ..Saved::new(root, counts)
                    })
                    .map_err(BackupError::from)
            }
        }
    };
    let losses = Losses::behind(&writer, known.lost, known.put_back);
    let (saved, written) = finish(writer, saved, &monitor)?;
    losses.tell(&monitor);
    let mut snapshot = snapshot::describe(&request, started, saved.root);
    if saved.partial {
        snapshot.tags.push(PARTIAL.into());
    }
    let (object, body) = snapshot::seal(&repository, &snapshot)?;
    tracing::info!(
        snapshot = %body.sha256.short(),
        packs = written.packs, blobs = written.blobs, stored = written.stored_bytes,
        "everything is durable but the snapshot"
    );
    Ok(PreparedBackup {
        result: BackupOutcome {
            cluster: saved.cluster,
            partial: saved.partial,
            ..figures(body.sha256, &saved.counts, written)
        },
        object,
        body,
        snapshot,
    })
}

async fn known(
    repository: &Repository,
    journal: Option<&JournalDirectory>,
) -> Result<Known, RepositoryError> {
    match journal {
        Some(journal) => Known::resume(repository, journal).await,
        None => Known::load(repository).await,
    }
}

fn options(request: &BackupRequest, monitor: &Arc<Monitor>) -> WriteOptions {
    let defaults = WriteOptions::default();
    let monitor = Arc::clone(monitor);
    WriteOptions {
        workers: limits::threads(request.threads, request.memory_budget),
        memory_budget: request.memory_budget.unwrap_or(DEFAULT_MEMORY_BUDGET),
        on_stored: OnStored(Arc::new(move |bytes| {
            monitor.bytes_stored.fetch_add(bytes, Relaxed);
        })),
        ..defaults
    }
}

/// Trees to take unchanged files from. Without them everything is read.
fn parents(
    repository: &Arc<Repository>,
    runtime: &Handle,
    request: &BackupRequest,
    monitor: &Monitor,
    places: TreePlaces,
) -> Result<ParentTrees, BackupError> {
    let (Some(id), BackupSource::Files(_) | BackupSource::Cluster(_)) =
        (request.parent, &request.source)
    else {
        return Ok(ParentTrees::none());
    };
    match until_cancelled(runtime, monitor, repository.snapshot(id))? {
        Ok(snapshot) => {
            ParentTrees::new(Arc::clone(repository), runtime.clone(), places, &snapshot).map_err(
                |source| {
                    let what = "a tree";
                    WriteError::Format { what, source }.into()
                },
            )
        }
        Err(error) => {
            tracing::warn!(parent = %id.short(), %error, "the parent snapshot cannot be read: all files are read");
            Ok(ParentTrees::none())
        }
    }
}

fn save_files(
    writer: &Writer,
    source: &FilesSource,
    parents: ParentTrees,
    began: Timestamp,
    pace: Pace,
    request: &BackupRequest,
    monitor: &Arc<Monitor>,
) -> Result<Saved, BackupError> {
    let options = FilesOptions {
        source: source.clone(),
        allowed: request.allowed.clone(),
        pace,
        probe: request.probe.clone(),
        monitor: Arc::clone(monitor),
        parents,
        began,
    };
    // With a parent most files are only looked at, which is no more work than to
    // count them.
    let count = options.parents.root().is_none();
    let done = AtomicBool::new(false);
    let (root, counts) = std::thread::scope(|scope| {
        if count {
            let stop = || done.load(Relaxed) || monitor.cancel.is_cancelled();
            let estimate = move || estimate::count(source, &request.allowed, monitor, &stop);
            // Without a total there is no harm.
            let _ = std::thread::Builder::new()
                .name("estimate".into())
                .spawn_scoped(scope, estimate);
        }
        let saved = files::save(writer, options);
        done.store(true, Relaxed);
        saved
    })?;
    Ok(Saved::new(root, counts))
}

/// Waits until everything is durable, or finds out why it is not.
fn finish(
    writer: Writer,
    saved: Result<Saved, BackupError>,
    monitor: &Monitor,
) -> Result<(Saved, Written), BackupError> {
    match saved {
        Ok(saved) => {
            monitor.enter("finishing");
            Ok((saved, writer.finish()?))
        }
        Err(BackupError::Halted) => match writer.finish() {
            Err(cause) => Err(cause.into()),
            Ok(_) => Err(BackupError::Halted),
        },
        Err(error) => {
            writer.abandon();
            Err(error)
        }
    }
}

fn figures(snapshot: ObjectId, counts: &Counts, written: Written) -> BackupOutcome {
    BackupOutcome {
        snapshot,
        files: counts.files.load(Relaxed),
        directories: counts.directories.load(Relaxed),
        files_unmodified: counts.files_unmodified.load(Relaxed),
        bytes_read: counts.bytes_read.load(Relaxed),
        bytes_total: counts.bytes_total.load(Relaxed),
        bytes_new: written.plain_bytes,
        bytes_stored: written.stored_bytes,
        blobs_new: written.blobs,
        packs_new: written.packs,
        cluster: None,
        partial: false,
    }
}

fn until_cancelled<T>(
    runtime: &Handle,
    monitor: &Monitor,
    future: impl Future<Output = T>,
) -> Result<T, BackupError> {
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = monitor.cancel.cancelled() => Err(WriteError::Cancelled.into()),
            result = future => Ok(result),
        }
    })
}

/// A walk keeps a directory open per level it has not finished; deep trees
/// need more than the usual 1024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

#[cfg(test)]
mod tests;
