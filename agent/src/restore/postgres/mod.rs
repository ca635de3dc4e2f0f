//! From a dump in a snapshot to a verified database on a server.
//!
//! 1. The manifest says what the dump holds, the server what is there; `plan`
//!    decides, or refuses. A dry run ends here. Nothing was written.
//! 2. Roles that are missing are made, if that was asked for.
//! 3. A database is made under a temporary name that says whose it is, and
//!    `pg_restore` fills it, one section of the dump after the other (`fill`):
//!    streamed from the repository, or, with several jobs, from a private copy
//!    in `scratch`. SQL that was uploaded is sent to the server statement by
//!    statement (`script`).
//!    Where roles are missing, owners and privileges come last (`belongings`).
//! 4. Tables and rows are compared with the manifest (`verify`), owner, settings,
//!    privileges and comment given to it, and statistics collected.
//!    Missing rows are a failure; anything else that could not be made is a
//!    warning that names it.
//! 5. Only then it takes its name. Where that is another's, both change in one
//!    transaction, and the old database stays under a dated name.
//!
//! Whatever fails before the last step leaves what there was untouched, and
//! what was made is dropped, or kept under its temporary name if rows are
//! missing and that was asked for. Of all databases of a snapshot (`all`) each
//! has its own outcome. Single tables into a database that is there come
//! in one transaction instead (`into`). Subscriptions are left out: a copy must not
//! begin to replicate by itself.
//!
//! **A dump is a program.** Functions, triggers and rules in it run with the
//! rights of the connection's role, and so does whatever a hostile dump put
//! there. Restore only what you would run; `allow_restore` is off by default.

mod all;
mod belongings;
mod contents;
mod error;
mod fill;
mod finish;
mod inspect;
mod into;
mod objects;
mod plan;
mod player;
mod policies;
mod program;
mod scratch;
mod script;
mod unmade;
mod verify;

use std::{
    borrow::Cow,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use strongroom_layout::AttemptRef;
use strongroom_postgres::{
    connection::{Connection, ServerError},
    logical::{
        create,
        manifest::{Content, DumpedDatabase, MAX_SIZE, Manifest, PATH},
    },
    name,
    programs::{Program, Programs},
};
use strongroom_repository::Repository;
use strongroom_runtime::clock::SharedClock;
use strongroom_spec::{PostgresTarget, RestoreOutcome, RestoreSpec};
use tokio::runtime::Handle;

pub use error::PostgresRestoreError;
pub use plan::Refusal;
pub use scratch::sweep;

use self::{
    contents::Contents,
    objects::Objects,
    plan::{Plan, Way},
    program::PgRestore,
};
use super::{block_on, stream::SnapshotFiles};
use crate::{
    config::{AbsolutePath, PostgresConnection},
    monitor::Monitor,
};

/// Differences that a failure names.
const NAMED: usize = 20;

/// Where a restore goes, and what it may use.
pub struct PostgresDestination<'a> {
    /// Of `agent.toml`.
    pub connection: &'a PostgresConnection,
    /// For dumps that several jobs read.
    pub state_dir: &'a Path,
    /// Names what is made.
    pub attempt: AttemptRef,
    /// Of the attempt.
    pub threads: usize,
    /// For dated names.
    pub clock: SharedClock,
}

/// Restores a database, or plans to. Blocks: call it from a thread that may,
/// outside of async code.
#[expect(
    clippy::needless_pass_by_value,
    reason = "handles, as they come from whoever starts the thread"
)]
pub fn run(
    repository: Arc<Repository>,
    runtime: Handle,
    work: &RestoreSpec<PostgresTarget>,
    target: &PostgresDestination<'_>,
    monitor: Arc<Monitor>,
) -> Result<RestoreOutcome, PostgresRestoreError> {
    let files = SnapshotFiles::open(repository, runtime.clone(), work.snapshot, monitor.clone())?;
    monitor.enter("planning");
    let manifest = manifest(&files, work)?;
    let connection =
        target
            .connection
            .resolve()
            .map_err(|source| PostgresRestoreError::Connection {
                connection: work.target.connection.clone(),
                source: Box::new(source),
            })?;
    let bin_dir = target
        .connection
        .bin_dir
        .as_ref()
        .map(AbsolutePath::as_path);
    let found = if manifest.is_script() {
        None
    } else {
        let programs = Programs::new(bin_dir);
        Some(programs.find(Program::Restore, manifest.pg_dump_major, "a dump")?)
    };
    let with = |work: &RestoreSpec<PostgresTarget>, then: &mut Then<'_>| {
        then(&Restore {
            files: &files,
            work,
            target,
            manifest: &manifest,
            database: dumped(&manifest, work)?,
            connection: &connection,
            program: found.as_ref().map(|program| PgRestore {
                program,
                connection: &connection,
                runtime: &runtime,
                monitor: &monitor,
            }),
            runtime: &runtime,
            monitor: &monitor,
            job: short(target.attempt),
        })
    };
    let one = |work: &RestoreSpec<PostgresTarget>| {
        let mut result = RestoreOutcome::default();
        with(work, &mut |restore| {
            result = restore.run()?;
            Ok(())
        })?;
        Ok(result)
    };
    if !work.target.all_databases {
        return one(work).map(for_people);
    }
    let entries = |work: &RestoreSpec<PostgresTarget>| {
        let mut entries = None;
        with(work, &mut |restore| {
            entries = restore.contents()?.map(|it| it.entries);
            Ok(())
        })?;
        Ok(entries)
    };
    all::each(work, &manifest, one, entries).map(for_people)
}

/// What is done with a restore of one database.
type Then<'t> = dyn FnMut(&Restore<'_>) -> Result<(), PostgresRestoreError> + 't;

/// Names in its notes as they are shown.
fn for_people(mut result: RestoreOutcome) -> RestoreOutcome {
    for note in &mut result.notes {
        if let Cow::Owned(shown) = name::shown(note) {
            *note = shown;
        }
    }
    result
}

/// The random end of a job's id: it begins with the time, as that of every
/// other job of the same minute does.
fn short(attempt: AttemptRef) -> String {
    attempt.job.0.simple().to_string()[20..].to_owned()
}

fn manifest(
    files: &SnapshotFiles,
    work: &RestoreSpec<PostgresTarget>,
) -> Result<Manifest, PostgresRestoreError> {
    let bytes = files.small_file(PATH, MAX_SIZE)?;
    Manifest::decode(&bytes).map_err(|source| PostgresRestoreError::Manifest {
        snapshot: work.snapshot.short(),
        source,
    })
}

fn dumped<'a>(
    manifest: &'a Manifest,
    work: &RestoreSpec<PostgresTarget>,
) -> Result<&'a DumpedDatabase, PostgresRestoreError> {
    let known = manifest.databases.iter().map(|it| it.name.as_str());
    let meant = name::meant(&work.target.database, known);
    meant.and_then(|it| manifest.database(it)).ok_or_else(|| {
        if let Some(missing) = manifest.missing(&work.target.database) {
            return PostgresRestoreError::MissingDatabase {
                snapshot: work.snapshot.short(),
                database: work.target.database.clone(),
                cause: missing.cause.clone(),
            };
        }
        let names = manifest.databases.iter().take(NAMED);
        let names: Vec<_> = names.map(|it| format!("{:?}", it.name)).collect();
        PostgresRestoreError::NoDatabase {
            snapshot: work.snapshot.short(),
            database: work.target.database.clone(),
            known: names.join(", "),
        }
    })
}

struct Restore<'a> {
    files: &'a SnapshotFiles,
    work: &'a RestoreSpec<PostgresTarget>,
    target: &'a PostgresDestination<'a>,
    manifest: &'a Manifest,
    database: &'a DumpedDatabase,
    connection: &'a Connection,
    /// `None`: the dump is SQL.
    program: Option<PgRestore<'a>>,
    runtime: &'a Handle,
    monitor: &'a Monitor,
    /// Short, for names.
    job: String,
}

impl Restore<'_> {
    fn run(&self) -> Result<RestoreOutcome, PostgresRestoreError> {
        let new_roles = self.new_roles()?;
        let facts = self.wait(self.facts(&new_roles))?;
        let plan = plan::plan(
            self.work,
            self.manifest,
            self.database,
            &facts,
            &self.job,
            self.target.threads as u32,
            self.target.clock.now(),
        )?;
        let contents = self.contents()?;
        let objects = self.objects(&plan, contents.as_ref())?;
        let mut result = self.planned(&plan, &facts, &objects);
        if self.work.dry_run {
            return Ok(result);
        }
        if plan.jobs > 1 && facts.scratch < self.database.bytes {
            return Err(PostgresRestoreError::NoSpace {
                jobs: plan.jobs,
                path: self.target.state_dir.into(),
                needed: self.database.bytes,
                available: facts.scratch,
            });
        }
        self.name_cut_keys(&objects);
        result.plan = Vec::new();
        result.plan_count = 0;
        let total = &self.monitor.total_bytes;
        // Of all databases those before this one are done.
        let done = self.monitor.bytes.load(Relaxed);
        total.store(done + self.database.bytes, Relaxed);
        self.make_roles(&new_roles, &mut result.notes)?;
        let contents = contents.as_ref();
        if let Err(cause) = self.carry_out(&plan, &objects, contents, &mut result) {
            return Err(self.undo(&plan, cause));
        }
        result.bytes_fetched = self.files.bytes_fetched();
        result.bytes_written = self.monitor.bytes.load(Relaxed) - done;
        Ok(result)
    }

    /// Whether rows come into tables that are there.
    fn adds_rows(&self) -> bool {
        self.manifest.selection.content == Content::Data
    }

    /// Everything up to the names' change, and that.
    fn carry_out(
        &self,
        plan: &Plan,
        objects: &Objects,
        contents: Option<&Contents>,
        result: &mut RestoreOutcome,
    ) -> Result<(), PostgresRestoreError> {
        if plan.way != Way::Into {
            self.monitor.enter("creating");
            self.wait(self.create(plan))?;
        }
        self.monitor.enter("restoring");
        let unmade = self.fill(plan, objects, contents, result)?;
        if plan.way != Way::Into {
            self.monitor.enter("verifying");
            self.verify(plan, objects, &unmade, result)?;
        }
        for it in &unmade {
            self.name_missing(it);
        }
        if plan.way != Way::Into {
            self.monitor.enter("finishing");
            self.wait(self.dress(plan))?;
        }
        if contents.is_some_and(|it| it.entries.iter().any(|it| it.kind == "USER MAPPING")) {
            self.wait(self.name_bare_mappings(plan))?;
        }
        self.monitor.enter("analyzing");
        let analyzed = self.wait(create::analyze(self.connection, &plan.fill))?;
        if let Err(error) = analyzed {
            result.notes.push(format!(
                "statistics for the planner could not be collected of all tables ({error}): run \
                 ANALYZE"
            ));
        }
        if plan.way == Way::Into {
            return Ok(());
        }
        // From here on there is no way back: a cancel comes too late.
        self.runtime
            .block_on(self.take_name(plan, &mut result.notes))
            .map_err(|source| self.server(source))
    }

    /// Waits for the server, but not beyond a cancel.
    fn wait<T>(
        &self,
        future: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<T, PostgresRestoreError> {
        block_on(self.runtime, self.monitor, future)
            .map_err(PostgresRestoreError::from)?
            .map_err(|source| self.server(source))
    }

    fn server(&self, source: ServerError) -> PostgresRestoreError {
        PostgresRestoreError::Server {
            connection: self.work.target.connection.clone(),
            source: Box::new(source),
        }
    }
}
