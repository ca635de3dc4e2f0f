//! From a physical snapshot to a data directory that a server can be started
//! on, and if wanted, to a server that runs.
//!
//! 1. The manifest says what cluster it is; `tablespaces` where its directories
//!    go, those included that replaying the log makes (`replayed`). Nothing is
//!    written before it is known that all of them are empty, that everything
//!    fits, and that what is to be started can be.
//! 2. Each directory is restored as any other restore does it, verified.
//! 3. The links of moved tablespaces, what is missing of the configuration
//!    (`config`), and the owner (`owner`): the user that will run the server.
//! 4. `server` starts it, if that was asked for, and `databases` finds those in it
//!    that cannot be used.
//!
//! With archived log to replay, [`recovery`] goes along: it decides before
//! anything is written, tells the server where to stop, and brings the log.
//! Without, no signal file is needed: the server finds `backup_label`, replays the
//! segments in `pg_wal` from there to their end, and is the primary of a
//! cluster of its own. What it would do to the world around it is switched off
//! (`quiet`). Still it does what its databases say: to start a cluster is to trust
//! whoever could write its snapshot, as far as the user that runs it goes.

mod auto_conf;
mod base;
mod config;
mod databases;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod located;
mod notes;
mod owner;
mod postmaster;
mod programs;
mod quiet;
pub mod recovery;
mod relink;
mod replayed;
mod served;
mod server;
mod server_directory;
mod single;
mod snapshot;
mod tablespaces;
#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::Ordering::Relaxed};

use strongroom_postgres::physical::manifest::Manifest;
use strongroom_repository::Repository;
use strongroom_spec::{ClusterTarget, RestoreOutcome, RestoreSpec};
use tokio::runtime::Handle;

pub use error::ClusterRestoreError;

use self::{
    notes::{describe, figures},
    owner::Owner,
    programs::{Programs, Version},
    quiet::Quiet,
    recovery::{Forwarding, Inputs, LogSource, RollForward},
    replayed::{Replay, Terms, held::HeldLog},
    server::Running,
    snapshot::Source,
    tablespaces::Destination,
};
use super::{
    Context, RestoreOptions, Unended, open, owners::Ownership, problems::Problems,
    select::Selection, stream::SnapshotFiles,
};
use crate::{allowed::AllowedDirectory, monitor::Monitor};

/// Gives a directory that may be written, or says why it may not.
pub type Consent<'a> = &'a dyn Fn(&str) -> Result<AllowedDirectory, String>;

/// Restores a cluster, or plans to. Blocks, as [`super::run`] does.
#[expect(
    clippy::needless_pass_by_value,
    reason = "handles, as they come from whoever starts the thread"
)]
pub fn run(
    repository: Arc<Repository>,
    runtime: Handle,
    work: &RestoreSpec<ClusterTarget>,
    options: &RestoreOptions,
    consent: Consent<'_>,
    log: &LogSource,
    monitor: Arc<Monitor>,
) -> Result<RestoreOutcome, ClusterRestoreError> {
    let target = consent(&work.target.directory).map_err(ClusterRestoreError::Refused)?;
    let (snapshot, reader) = open(Arc::clone(&repository), &runtime, work.snapshot, &monitor)?;
    let source = Source {
        reader: &reader,
        runtime: &runtime,
        monitor: &monitor,
        snapshot: work.snapshot,
    };
    let root = source.tree(&snapshot.tree)?;
    let manifest = source.manifest(&root)?;
    let owner = Owner::of_host(&manifest.owner, &target);
    let programs = if work.target.start {
        Some(ready_to_start(&manifest, owner.as_ref())?)
    } else {
        None
    };
    let (id, watched) = ((work.snapshot, snapshot.clone()), Arc::clone(&monitor));
    let files = SnapshotFiles::of(Arc::clone(&reader), runtime.clone(), id, watched);
    let held = HeldLog::open(files, &manifest)?;
    let inputs = Inputs {
        repository: &repository,
        runtime: &runtime,
        monitor: &monitor,
        options,
        log,
        work,
        target: &target,
        manifest: &manifest,
        owner: owner.as_ref(),
        held: &held,
    };
    let forward = work.recovery.as_ref();
    let forward = forward.map(|recovery| RollForward::plan(inputs, recovery));
    let mut forward = forward.transpose()?;
    let resumes = forward.as_ref().is_some_and(RollForward::resumes);
    let has_files = forward.as_ref().is_some_and(RollForward::has_files);
    let decided = decide(inputs, forward.as_mut(), programs.as_ref(), consent)?;
    if let (true, Some(owner)) = (work.target.start, owner.as_ref()) {
        served::check(&target, owner)?;
        for directory in decided.replay.directories() {
            server::check_steady(directory, owner)?;
        }
    }
    let mut places = source.places(&root, work, &target, &decided.replay.bases)?;
    if has_files {
        // A server may have worked on them since.
        places.clear();
    }
    let problems = Problems::default();
    let contexts: Vec<_> = places
        .iter()
        .map(|place| Context {
            entries: place.entries,
            reader: &reader,
            runtime: &runtime,
            options,
            monitor: &monitor,
            problems: &problems,
            target: &place.target,
            // All of it becomes the server's.
            owners: Ownership::new(place.work.target.numeric_ids),
            snapshot: work.snapshot,
            sparse: place.work.target.sparse,
        })
        .collect();
    let selection = Selection::new(&[])?;
    let plans = base::plan_all(&contexts, &places, &selection, resumes)?;
    let mut result = figures(&plans, &places);
    result.notes = describe(&manifest, work, &decided.replay, owner.as_ref());
    let (log_segments, log_bytes) = forward.as_ref().map_or((0, 0), RollForward::missing);
    result
        .notes
        .extend(forward.iter().flat_map(RollForward::describe));
    monitor
        .total_files
        .store(result.files + result.directories + log_segments, Relaxed);
    if work.dry_run {
        return Ok(result);
    }
    base::check_space(&reader, &plans, &places, (&target, log_bytes))?;
    base::make_directory(&target)?;
    let forwarding = forward.map(RollForward::begin).transpose()?;
    let unended = base::restore_all(&contexts, &places, &selection, plans, &mut result)?;
    drop(contexts);
    problems
        .into_result(work.snapshot)
        .map_err(ClusterRestoreError::from)?;
    complete(inputs, &decided, has_files, &mut result)?;
    forwarding.as_ref().map_or(Ok(()), Forwarding::tell)?;
    base::hand_over(&places, owner.as_ref())?;
    unended.into_iter().try_for_each(Unended::end)?;
    let forwarding = match forwarding {
        Some(mut forwarding) => {
            forwarding.files_are_there(places.iter().map(|place| &place.target))?;
            Some(forwarding)
        }
        None => None,
    };
    let running = finish(forwarding, programs.as_ref(), inputs, &mut result)?;
    if let Some((mut running, owner)) = running {
        let checked = decided.replay.verify(&target);
        if checked.is_err()
            && let Err(error) = server::stop(&target, owner)
        {
            tracing::error!(%error, "the server with a stray link still runs");
        }
        checked?;
        let gone = decided.replay.settle(&target);
        databases::check(inputs, &running, owner, &mut result);
        running.directory.keep();
        result.server = Some(running.to_started());
        result.notes.push(notes::started(inputs, &running, owner));
        result.notes.extend(running.served.note());
        result.notes.extend(notes::not_there(&gone));
        let quiet = decided.quiet.iter();
        result
            .notes
            .extend(quiet.flat_map(|it| it.notes(&work.target.directory)));
    }
    Ok(result)
}

/// What the log and the original's settings mean for the restored cluster.
struct Decided {
    replay: Replay,
    /// `None`: what is started does what the original does.
    quiet: Option<Quiet>,
}

/// Reads the log that will be replayed, and decides what may come of it.
fn decide(
    inputs: Inputs<'_>,
    mut forward: Option<&mut RollForward<'_>>,
    programs: Option<&Programs>,
    consent: Consent<'_>,
) -> Result<Decided, ClusterRestoreError> {
    let Inputs {
        work,
        target,
        manifest,
        held,
        ..
    } = inputs;
    let facts = match &mut forward {
        Some(forward) => forward.read()?.clone(),
        None => held.facts(manifest.stop_lsn)?,
    };
    let rolls = forward.as_deref();
    let taken = |place: &Destination| rolls.is_some_and(|it| it.has_taken(place.oid, &place.to));
    let installed = || Programs::find(manifest.major).ok().map(|it| it.version);
    let version = programs.map(|it| it.version).or_else(installed);
    let terms = Terms {
        work,
        target,
        manifest,
        layout: held.layout(),
        version: version.or_else(|| Version::parse(&manifest.server_version)),
        consent,
        taken: &taken,
    };
    let replay = Replay::decide(&facts, &terms)?;
    if let Some(forward) = forward {
        forward.take(replay.choices(), replay.taken(), replay.edits.clone())?;
    }
    let quiet = programs.filter(|_| !work.target.keep_settings);
    let quiet =
        quiet.map(|programs| Quiet::decide(manifest, facts.managers.iter().copied(), programs));
    Ok(Decided {
        replay,
        quiet: quiet.transpose()?,
    })
}

/// Who could start it, and with what; an error when nobody or nothing can.
fn ready_to_start(
    manifest: &Manifest,
    owner: Option<&Owner>,
) -> Result<Programs, ClusterRestoreError> {
    let programs = Programs::find(manifest.major)?;
    if owner.is_none() {
        return Err(ClusterRestoreError::NoUser {
            name: manifest.owner.clone(),
            major: manifest.major,
        });
    }
    Ok(programs)
}

/// Makes of restored files a cluster that a server can be started on.
fn complete(
    inputs: Inputs<'_>,
    Decided { replay, quiet }: &Decided,
    has_files: bool,
    result: &mut RestoreOutcome,
) -> Result<(), ClusterRestoreError> {
    let target = inputs.target;
    if !has_files {
        let moves: Vec<_> = replay.bases.iter().map(|it| it.to.clone()).collect();
        relink::relink(target, &moves)?;
        replay.edit(target, &inputs.held.layout())?;
        complete_config(target, inputs.manifest, result)?;
        result.notes.extend(located::settle(target, inputs.owner)?);
    }
    replay.make(target, inputs.owner)?;
    if inputs.work.target.start {
        quiet::switch_off(target, inputs.owner, quiet.as_ref())?;
    }
    replay.verify(target)
}

/// Writes what is missing of the configuration, and says so.
fn complete_config(
    target: &AllowedDirectory,
    manifest: &Manifest,
    result: &mut RestoreOutcome,
) -> Result<(), ClusterRestoreError> {
    let written = config::complete(target, manifest)?;
    if !written.is_empty() {
        let what = written.join(", ");
        result.notes.push(format!(
            "{what} of the original lay outside of its data directory: minimal ones were written, \
             the original ones are below /config in the snapshot"
        ));
    }
    Ok(())
}

/// Brings the log, and the server up.
fn finish<'a>(
    forwarding: Option<Forwarding<'_>>,
    programs: Option<&Programs>,
    inputs: Inputs<'a>,
    result: &mut RestoreOutcome,
) -> Result<Option<(Running, &'a Owner)>, ClusterRestoreError> {
    let Inputs {
        runtime,
        monitor,
        target,
        ..
    } = inputs;
    let running = match (programs.zip(inputs.owner), forwarding) {
        (Some((programs, owner)), Some(forwarding)) => {
            let (running, forwarded) = forwarding.replay(programs, owner)?;
            forwarded.add_to(result);
            Some((running, owner))
        }
        (Some((programs, owner)), None) => {
            monitor.enter("starting the server");
            let running = programs.start(target, owner, runtime, monitor, &[])?;
            Some((running, owner))
        }
        (None, Some(forwarding)) => {
            forwarding.prepare()?.add_to(result);
            None
        }
        (None, None) => None,
    };
    Ok(running)
}
