//! A restore from snapshot to verified directory.
//!
//! [`run`] goes through these stages, each in its module:
//!
//! 1. `survey` walks the snapshot and the target side by side and makes the
//!    plan; `decide` says what to do with each entry; `select` which entries
//!    are wanted. Nothing is written before this has succeeded.
//! 2. `verify` compares existing files with what they should hold and takes
//!    from the plan what need not be written.
//! 3. `space` looks whether it will fit; `marker` marks the target as
//!    unfinished; directories are made.
//! 4. `fetches` groups the chunks into ranged requests; `content` fetches,
//!    verifies and writes them; `files` makes the files, with holes where there may
//!    have been some.
//! 5. `finish` makes what has no content, sets metadata, makes hard links and
//!    finishes directories, the deepest first. Then the marker goes.
//!
//! Restores into servers read single files in order: [`stream`].
//!
//! A restore that was interrupted is run again with the same snapshot, target
//! and paths: the marker says that what is found is its own work, which is
//! compared and completed. Damage in the repository costs the files concerned,
//! each named with the object at fault; all others are restored.

pub mod cluster;
mod content;
mod decide;
mod entries;
mod error;
mod fetches;
mod files;
mod finish;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod inode;
mod list;
mod marker;
mod metadata;
mod owners;
mod plan;
pub mod postgres;
mod problems;
pub mod redis;
mod select;
mod space;
pub mod stream;
mod survey;
mod target;
mod verify;

#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

pub use error::RestoreError;
pub use list::{list, list_with, read_snapshot};
pub use problems::Problem;
use strongroom_layout::ObjectId;
use strongroom_repository::{
    Repository,
    format::snapshot::Snapshot,
    read::{OnTrouble, Reader, Trouble},
};
use strongroom_spec::{
    DirectoryTarget, MAX_WARNINGS, PlannedAction, RestoreOutcome, RestoreSpec, Sparse, WarningCode,
};
use tokio::runtime::Handle;

use self::{
    decide::Mode,
    entries::Entries,
    files::Files,
    finish::Finish,
    marker::Marker,
    owners::Ownership,
    plan::{DirAction, FileAction, Plan, Use},
    problems::Problems,
    select::Selection,
    target::Target,
};
use crate::{allowed::AllowedDirectory, monitor::Monitor, sources::redis::DUMP};

/// How a restore may use the machine.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Bytes of packs in memory at most; the rest of the restore takes some
    /// 50 MiB and 100 bytes per file.
    pub memory: u64,
    /// Threads that open and write chunks; at least one.
    pub threads: usize,
    /// Requests at once.
    pub requests: usize,
    /// Called when all content is written.
    #[cfg(test)]
    pub(crate) before_finish: tests::Hook,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            requests: 16,
            #[cfg(test)]
            before_finish: tests::Hook::default(),
        }
    }
}

impl RestoreOptions {
    /// The memory in KiB, as the semaphore counts it.
    fn memory_units(&self) -> u32 {
        let units = (self.memory / 1024).clamp(1024, 1 << 28);
        units as u32
    }

    /// Bytes of one request at most: several must fit into memory.
    fn max_range(&self) -> u32 {
        (self.memory_units() / 16).min(fetches::MAX_RANGE / 1024) * 1024
    }
}

/// What all stages need.
struct Context<'a> {
    reader: &'a Arc<Reader>,
    runtime: &'a Handle,
    options: &'a RestoreOptions,
    monitor: &'a Monitor,
    problems: &'a Problems,
    target: &'a AllowedDirectory,
    /// Whom entries belong to.
    owners: Ownership,
    snapshot: ObjectId,
    entries: Entries,
    /// Whether files may get holes.
    sparse: Sparse,
}

impl Context<'_> {
    fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RestoreError> {
        block_on(self.runtime, self.monitor, future)
    }

    fn check_cancelled(&self) -> Result<(), RestoreError> {
        if self.monitor.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        Ok(())
    }

    fn warn(&self, code: WarningCode, path: PathBuf, cause: String) {
        use std::os::unix::ffi::OsStringExt;
        let path = path.into_os_string().into_vec();
        self.monitor.warn(code, path, cause);
    }

    /// Bytes still to be written.
    fn remaining(&self) -> u64 {
        let total = self.monitor.total_bytes.load(Relaxed);
        total.saturating_sub(self.monitor.bytes.load(Relaxed))
    }
}

/// Waits for `future`, but not beyond a cancel, which comes before any answer.
fn block_on<F: Future>(
    runtime: &Handle,
    monitor: &Monitor,
    future: F,
) -> Result<F::Output, RestoreError> {
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = monitor.cancel.cancelled() => Err(RestoreError::Cancelled),
            output = future => Ok(output),
        }
    })
}

/// Restores a snapshot into a directory, or plans to. Blocks: call it from a
/// thread that may, outside of async code.
#[expect(
    clippy::needless_pass_by_value,
    reason = "handles, as they come from whoever starts the thread"
)]
pub fn run(
    repository: Arc<Repository>,
    runtime: Handle,
    work: &RestoreSpec<DirectoryTarget>,
    target: &AllowedDirectory,
    options: &RestoreOptions,
    monitor: Arc<Monitor>,
) -> Result<RestoreOutcome, RestoreError> {
    let selection = Selection::new(&work.target.paths)?;
    let (snapshot, reader) = open(repository, &runtime, work.snapshot, &monitor)?;
    let problems = Problems::default();
    let context = Context {
        reader: &reader,
        runtime: &runtime,
        options,
        monitor: &monitor,
        problems: &problems,
        target,
        owners: Ownership::new(work.target.numeric_ids),
        snapshot: work.snapshot,
        entries: Entries::All,
        sparse: work.target.sparse,
    };
    let result = restore(&context, work, &selection, &snapshot)?;
    problems.into_result(work.snapshot)?;
    Ok(result)
}

/// What is wrong with a repository and can be done without becomes a warning
/// of the job.
fn warn_of_trouble(monitor: &Arc<Monitor>) -> OnTrouble {
    let monitor = Arc::clone(monitor);
    OnTrouble(Arc::new(move |Trouble { object, cause }| {
        tracing::warn!(object, cause, "the repository is damaged");
        monitor.warn(WarningCode::RepositoryDamaged, object, cause);
    }))
}

/// Loads a snapshot and the index.
fn open(
    repository: Arc<Repository>,
    runtime: &Handle,
    id: ObjectId,
    monitor: &Arc<Monitor>,
) -> Result<(Snapshot, Arc<Reader>), RestoreError> {
    monitor.enter("opening");
    let snapshot = block_on(runtime, monitor, repository.snapshot(id))?
        .map_err(|error| RestoreError::from_snapshot(id, error))?;
    monitor.enter("indexing");
    let opening = Reader::open(repository, warn_of_trouble(monitor));
    let reader = block_on(runtime, monitor, opening)??;
    Ok((snapshot, reader))
}

fn restore(
    context: &Context<'_>,
    work: &RestoreSpec<DirectoryTarget>,
    selection: &Selection,
    snapshot: &Snapshot,
) -> Result<RestoreOutcome, RestoreError> {
    context.monitor.enter("planning");
    let existing = Target::open(context.target)?;
    let found = match &existing {
        Some(target) => Marker::find(target, work.snapshot, &work.target.paths)?,
        None => None,
    };
    let mode = match found {
        Some(marker) if marker.resumes() => Mode::Resume,
        _ => Mode::Fresh(work.target.overwrite),
    };
    let target = existing.as_ref();
    let mut plan = survey::survey(context, target, selection, mode, snapshot.tree)?;
    verify::verify(context, target, &mut plan)?;
    let length = |used: &Use| u64::from(context.reader.index().plaintext_length(used.blob));
    let bytes: u64 = plan.uses.iter().map(length).sum();
    let entries = plan.files.len() + plan.dirs.len() - 1;
    context.monitor.total_files.store(entries as u64, Relaxed);
    context.monitor.total_bytes.store(bytes, Relaxed);
    let result = planned(&plan);
    if work.dry_run {
        return Ok(result);
    }
    space::check(context.target, space::needed(&plan, length))?;
    let result = carry_out(context, work, selection, plan, result)?;
    Ok(RestoreOutcome {
        notes: hints(work, snapshot),
        ..result
    })
}

/// What is to be done with files that are no end in themselves.
fn hints(work: &RestoreSpec<DirectoryTarget>, snapshot: &Snapshot) -> Vec<String> {
    let wanted = work.target.paths.is_empty() || work.target.paths.iter().any(|path| path == DUMP);
    if snapshot.paths != [DUMP] || !wanted {
        return Vec::new();
    }
    vec![format!(
        "Stop the Redis server, put {}{DUMP} into its `dir` under its `dbfilename`, owned by its \
         user, with `appendonly no` for the first start (an append-only file would win over it), \
         and start it.",
        work.target.directory.trim_end_matches('/')
    )]
}

/// Does what is planned.
fn carry_out(
    context: &Context<'_>,
    work: &RestoreSpec<DirectoryTarget>,
    selection: &Selection,
    plan: Plan,
    result: RestoreOutcome,
) -> Result<RestoreOutcome, RestoreError> {
    let (result, unended) = write(context, work, selection, plan, result)?;
    if !context.problems.any() {
        unended.end()?;
    }
    Ok(result)
}

/// All is written, but the marker stands: until it goes, the same restore can be
/// run again, and no other meets it.
struct Unended {
    target: Target,
    marker: Marker,
}

impl Unended {
    /// Nothing is left to be done.
    fn end(self) -> Result<(), RestoreError> {
        self.marker.remove(&self.target)
    }
}

/// Does what is planned, and leaves the marker.
fn write(
    context: &Context<'_>,
    work: &RestoreSpec<DirectoryTarget>,
    selection: &Selection,
    mut plan: Plan,
    mut result: RestoreOutcome,
) -> Result<(RestoreOutcome, Unended), RestoreError> {
    let target = Target::create(context.target)?;
    let marker = Marker::place(&target, work.snapshot, &work.target.paths)?;
    context.monitor.enter("restoring");
    let index = context.reader.index();
    let place = |blob| fetches::place(index, blob);
    let fetches = fetches::plan(&mut plan.uses, place, context.options.max_range());
    make_dirs(context, &target, &plan)?;
    let files = Files::new(&target, &plan);
    let moved = content::write(context, &target, &plan, &files, &fetches)?;
    #[cfg(test)]
    context.options.before_finish.call();
    context.monitor.enter("finishing");
    let finished = AtomicU64::new(0);
    Finish {
        context,
        target: &target,
        plan: &plan,
        files: &files,
        selection,
        finished: &finished,
    }
    .run()?;
    result.files = finished.into_inner();
    result.bytes_written = moved.written.into_inner();
    result.bytes_fetched = moved.fetched.into_inner();
    result.plan = Vec::new();
    result.plan_count = 0;
    Ok((result, Unended { target, marker }))
}

fn make_dirs(context: &Context<'_>, target: &Target, plan: &Plan) -> Result<(), RestoreError> {
    for dir in plan.dir_refs() {
        context.check_cancelled()?;
        target
            .prepare_dir(plan, dir)
            .map_err(|source| RestoreError::Target {
                operation: "create",
                path: target.path_of_dir(plan, dir),
                source,
            })?;
    }
    Ok(())
}

/// The figures of a plan, and its first actions by path.
fn planned(plan: &Plan) -> RestoreOutcome {
    let dirs = plan.dir_refs().skip(1).map(|dir| {
        let action = match plan.dir(dir).action {
            DirAction::Create => "create",
            DirAction::Replace => "replace",
            DirAction::Keep => "keep",
        };
        (plan.dir_path(dir), action, 0)
    });
    let files = plan.file_refs().map(|file| {
        let action = match plan.file(file).action {
            FileAction::Create | FileAction::Link => "create",
            FileAction::Keep => "keep",
            FileAction::Replace | FileAction::Update | FileAction::Verify | FileAction::Match => {
                "replace"
            }
        };
        (plan.file_path(file), action, plan.file(file).size)
    });
    let mut first: Vec<PlannedAction> = dirs
        .chain(files)
        .take(MAX_WARNINGS)
        .map(|(path, action, bytes)| PlannedAction {
            path: path.into(),
            action: action.into(),
            bytes,
        })
        .collect();
    first.sort_by(|left, right| left.path.cmp(&right.path));
    let kept = |file: &&plan::File| file.action == FileAction::Keep;
    let kept = plan.files.iter().filter(kept).count() as u64;
    RestoreOutcome {
        server: None,
        files: plan.files.len() as u64 - kept,
        directories: plan.dirs.len() as u64 - 1,
        bytes_written: 0,
        files_kept: kept,
        bytes_fetched: 0,
        plan: first,
        plan_count: (plan.files.len() + plan.dirs.len() - 1) as u64,
        notes: Vec::new(),
    }
}
