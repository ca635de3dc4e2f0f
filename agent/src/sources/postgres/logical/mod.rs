//! Dumps of databases: one file each, the roles, and a manifest.
//!
//! `pg_dump` writes its custom format, uncompressed, into a pipe that the
//! engine reads; nothing touches the local disk. Databases are dumped one
//! after the other: several at once would cost the server more than they would
//! save, and memory stays that of one stream. Rows are counted in the dump as it
//! passes, so the manifest's counts are exact whatever is written meanwhile.
//!
//! A database that cannot be dumped costs none of the others: the manifest says
//! which are missing and why, and the snapshot that it is partial, so that it
//! does not pass for a whole one.
//!
//! - `round`: all databases, each with its outcome,
//! - `dump`: one database, and the globals,
//! - `program`: a program whose output is saved,
//! - `trial`: whether the server understands what a newer `pg_dump` writes,
//! - `tree`: the snapshot's directories.

mod dump;
mod error;
mod program;
mod round;
mod tree;
mod trial;

use std::sync::atomic::Ordering::Relaxed;

use strongroom_postgres::{
    connection::{Connection, ServerError, Session},
    inventory::{self, Inventory},
    logical::{
        choose::{self, Choice, Missing},
        manifest::{Content, FORMAT, KIND, Manifest, MissingDatabase, Selection},
    },
    programs::{Program, Programs},
};
use strongroom_repository::{format::blob::BlobId, write::Writer};
use strongroom_runtime::clock::SharedClock;
use strongroom_spec::{DumpContent, PostgresLogical, WarningCode};
use tokio::runtime::Handle;

use self::{dump::Dumper, tree::Saved};
use crate::{
    config::{AbsolutePath, PostgresConnection},
    monitor::Monitor,
    sources::{throttle::Pace, virtual_files::until_halted},
};

pub use error::LogicalError;

/// What to dump, of which server.
#[derive(Debug, Clone)]
pub struct LogicalSource {
    /// Of `agent.toml`.
    pub connection: PostgresConnection,
    /// Of the policy.
    pub asked: PostgresLogical,
}

impl LogicalSource {
    /// What the snapshot's paths are.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = vec!["/databases".to_owned()];
        if self.asked.globals {
            paths.push(tree::GLOBALS.to_owned());
        }
        paths
    }

    /// Patterns as `pg_dump` has them.
    fn selection(&self) -> Selection {
        let asked = &self.asked;
        Selection {
            schemas: asked.schemas.clone(),
            exclude_schemas: asked.exclude_schemas.clone(),
            tables: asked.tables.clone(),
            exclude_tables: asked.exclude_tables.clone(),
            content: match asked.content {
                DumpContent::All => Content::All,
                DumpContent::Schema => Content::Schema,
                DumpContent::Data => Content::Data,
            },
        }
    }
}

/// What a dump needs besides its source.
pub struct LogicalOptions<'a> {
    /// What.
    pub source: &'a LogicalSource,
    /// Told what happens.
    pub monitor: &'a Monitor,
    /// How fast output is read.
    pub pace: &'a Pace,
    /// For the manifest's times.
    pub clock: &'a SharedClock,
}

/// Figures of what was saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogicalFigures {
    /// Dumps, globals and manifest.
    pub files: u64,
    /// In them.
    pub bytes: u64,
    /// A database that was asked for is not among them.
    pub partial: bool,
}

/// Dumps and saves; gives the root tree. Blocks: call it from a thread that is
/// none of `runtime`'s.
pub fn save(
    writer: &Writer,
    runtime: &Handle,
    options: &LogicalOptions<'_>,
) -> Result<(BlobId, LogicalFigures), LogicalError> {
    let source = options.source;
    let name = &source.asked.connection;
    options.monitor.enter("connecting");
    let connection = source
        .connection
        .resolve()
        .map_err(|source| LogicalError::Connection {
            connection: name.clone(),
            source: Box::new(source),
        })?;
    let inventory = until_halted(writer, runtime, look(&connection))?
        .map_err(|source| LogicalError::server(name, source))?;
    let major = inventory.version.major();
    let bin_dir = source
        .connection
        .bin_dir
        .as_ref()
        .map(AbsolutePath::as_path);
    let programs = Programs::new(bin_dir);
    let find = |program| programs.find(program, major, "a server");
    let pg_dump = find(Program::Dump)?;
    let pg_dumpall = if source.asked.globals {
        Some(find(Program::DumpAll))
    } else {
        None
    };
    let asked = &source.asked;
    let of_choice = |source| LogicalError::Choice {
        connection: name.clone(),
        source,
    };
    let (wanted, unwanted) = (&asked.databases, &asked.exclude_databases);
    let choice = choose::choose(&inventory, wanted, unwanted).map_err(of_choice)?;
    let template = choose::silent_template(&inventory, wanted, unwanted).map_err(of_choice)?;
    if let Some(template) = template {
        let holding = holds_objects(&connection, &template.name);
        // That it cannot be looked at is no reason to do nothing.
        if let Ok(true) = until_halted(writer, runtime, holding)? {
            let (code, cause) = (WarningCode::DatabaseLeftOut, TEMPLATE);
            options.monitor.warn(code, template.name.as_str(), cause);
        }
    }
    warn_of_choice(options.monitor, &choice);
    let mut missing: Vec<_> = choice.missing.into_iter().map(lacking).collect();
    let chosen = choice.taken;
    let dumper = Dumper {
        writer,
        runtime,
        options,
        connection: &connection,
        role: &inventory.role,
        standby: inventory.standby,
        major,
        selection: source.selection(),
        started: options.clock.now(),
    };
    options.monitor.enter("dumping");
    let total = chosen.len() as u64 + 1 + u64::from(asked.globals);
    options.monitor.total_files.store(total, Relaxed);
    let mut saved = Saved::new(dumper.started);
    let (databases, lost) = dumper.round(&pg_dump, &chosen, &mut saved)?;
    missing.extend(lost);
    for database in &missing {
        let code = database.code.parse().unwrap_or_default();
        let (name, cause) = (database.name.as_str(), database.cause.as_str());
        options.monitor.warn(code, name, cause);
    }
    let (globals, globals_missing) = match pg_dumpall {
        Some(program) => dumper.globals_or_why(program, &mut saved)?,
        None => (None, None),
    };
    let manifest = Manifest {
        format: FORMAT,
        kind: KIND.into(),
        connection: name.clone(),
        server_version: inventory.version.to_string(),
        server_major: major,
        system_identifier: inventory.system_identifier.map(|it| it.to_string()),
        standby: inventory.standby,
        pg_dump_version: pg_dump.version.text,
        pg_dump_major: pg_dump.version.major,
        started: dumper.started.to_string(),
        finished: options.clock.now().to_string(),
        selection: dumper.selection.clone(),
        globals,
        globals_missing,
        foreign: false,
        databases,
        missing,
    };
    if manifest.is_partial() {
        saved.lacks_something();
    }
    dumper.manifest(&manifest, &mut saved)?;
    saved.finish(writer)
}

/// Databases that are left out by their marks, and patterns in vain.
fn warn_of_choice(monitor: &Monitor, choice: &Choice<'_>) {
    for left_out in &choice.left_out {
        monitor.warn(
            WarningCode::DatabaseLeftOut,
            left_out.database.name.as_str(),
            left_out.mark.cause(&left_out.database.name),
        );
    }
    for (pattern, known) in &choice.unmatched {
        let cause = format!("no database matches it; the server has {known}");
        let code = WarningCode::PatternUnmatched;
        monitor.warn(code, pattern.as_str(), cause);
    }
}

/// Of what a choice cannot take.
fn lacking(missing: Missing) -> MissingDatabase {
    MissingDatabase {
        code: missing.loss.to_string(),
        part: missing.loss.is_of_a_part(missing.named),
        name: missing.name,
        cause: missing.cause,
    }
}

const TEMPLATE: &str = "there are objects in the template database, and they are not in the \
                        snapshot: list it in databases to have it dumped, or in exclude_databases";

/// Whether there is more in a template than `initdb` puts there.
async fn holds_objects(connection: &Connection, template: &str) -> Result<bool, ServerError> {
    let session = Session::open(connection, Some(template)).await?;
    let holding = inventory::holds_objects(&session).await?;
    session.close().await;
    Ok(holding)
}

async fn look(connection: &Connection) -> Result<Inventory, ServerError> {
    let session = Session::open(connection, None).await?;
    let inventory = Inventory::of(&session).await?;
    session.close().await;
    Ok(inventory)
}
