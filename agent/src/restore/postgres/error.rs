//! Why no database came of a snapshot.

use std::{io, path::PathBuf, process::ExitStatus};

use strongroom_postgres::{
    connection::ServerError,
    logical::{manifest::ManifestError, script::ScriptError},
    name,
    programs::ProgramError,
};
use strongroom_spec::{Failure, FailureCode};

use super::{super::RestoreError, plan::Refusal};
use crate::config::PostgresConnectionError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum PostgresRestoreError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// It holds something else.
    #[error("snapshot {snapshot}: {source}")]
    Manifest {
        /// Its short id.
        snapshot: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// No such database in it.
    #[error("snapshot {snapshot} holds no database {database:?}; it holds {known}")]
    NoDatabase {
        /// Its short id.
        snapshot: String,
        /// What was asked for.
        database: String,
        /// What there is.
        known: String,
    },
    /// The backup could not dump it.
    #[error(
        "snapshot {snapshot} was to hold the database {database:?} and does not: {cause}; another \
         snapshot of the dataset may hold it"
    )]
    MissingDatabase {
        /// Its short id.
        snapshot: String,
        /// What was asked for.
        database: String,
        /// What the backup said.
        cause: String,
    },
    /// The connection lacks something on this host.
    #[error("postgres connection {connection:?}: {source}")]
    Connection {
        /// Of `agent.toml`.
        connection: String,
        /// What.
        #[source]
        source: Box<PostgresConnectionError>,
    },
    /// The server refuses or is not there.
    #[error("postgres connection {connection:?}: {source}")]
    Server {
        /// Of `agent.toml`.
        connection: String,
        /// Why.
        #[source]
        source: Box<ServerError>,
    },
    /// Not done, for a reason; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The uploaded SQL is not what its upload let through.
    #[error("the script in the snapshot cannot be run: {0}")]
    Script(#[from] ScriptError),
    /// There is no `pg_restore` that fits.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It cannot be run.
    #[error("cannot run {program}: {source}")]
    Run {
        /// Where it lies.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("{program} ended with {status}{}", said(stderr))]
    Failed {
        /// Where it lies.
        program: PathBuf,
        /// How.
        status: ExitStatus,
        /// The last of its standard error that may be shown.
        stderr: String,
    },
    /// Rows that were refused are missing where something is to build on them.
    #[error("{what} failed, and what comes behind it may build on its rows: {cause}")]
    Lost {
        /// The statement.
        what: String,
        /// In the server's words.
        cause: String,
    },
    /// What was restored is not what was dumped.
    #[error(
        "the restored database differs from what the snapshot's manifest says: {}{more}",
        differences.join("; ")
    )]
    Differs {
        /// The first of them.
        differences: Vec<String>,
        /// How many more.
        more: String,
    },
    /// Of several databases some were not restored.
    #[error(
        "{} of {} databases were not restored: {}{}",
        failed.len(),
        failed.len() + restored.len(),
        failed.iter().map(|(name, error)| format!("{name:?}: {error}")).collect::<Vec<_>>().join("; "),
        others(restored)
    )]
    Some {
        /// Those that were.
        restored: Vec<String>,
        /// The others, each with its reason.
        failed: Vec<(String, Box<PostgresRestoreError>)>,
    },
    /// Rows are missing, and what there is was kept.
    #[error(
        "{cause}; it was kept as {database:?}, as was asked for, and only its owner and superusers \
         may connect to it: take from it what you need, and drop it"
    )]
    Kept {
        /// What is missing.
        cause: Box<PostgresRestoreError>,
        /// Its name.
        database: String,
    },
    /// Rows are missing in a database that was there before, and it is too late.
    #[error(
        "{cause}; in the encoding {encoding} nothing can be compared before it is committed: what \
         came is in the database {database:?}"
    )]
    Committed {
        /// What is missing.
        cause: Box<PostgresRestoreError>,
        /// Where.
        database: String,
        /// The database's.
        encoding: String,
    },
    /// It came of what failed before.
    #[error("{cause}; before that: {first}")]
    After {
        /// What ended it.
        cause: Box<PostgresRestoreError>,
        /// What failed first.
        first: String,
    },
    /// A file of the agent's own cannot be written.
    #[error("cannot {action} {path}: {source}")]
    Scratch {
        /// `create`, `write`, ….
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No room for the dump.
    #[error(
        "a restore with {jobs} jobs needs the whole dump, {needed} bytes, below {path}, where \
         {available} are free: free some, or restore with --jobs 1, which needs none"
    )]
    NoSpace {
        /// Jobs asked for.
        jobs: u32,
        /// The state directory.
        path: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        available: u64,
    },
    /// The restore failed, and what it had made is still there.
    #[error(
        "{cause}; besides, the unfinished database {database:?} could not be removed ({removing}): \
         drop it by hand. Nothing else was changed"
    )]
    LeftBehind {
        /// What failed.
        cause: Box<PostgresRestoreError>,
        /// What is left.
        database: String,
        /// Why.
        removing: String,
    },
}

fn said(stderr: &str) -> String {
    match stderr.trim() {
        "" => "; it said nothing on standard error that may be shown".into(),
        said => format!("; the end of its standard error:\n{said}"),
    }
}

fn others(restored: &[String]) -> String {
    match restored {
        [] => String::new(),
        restored => format!("; these were: {restored:?}"),
    }
}

impl PostgresRestoreError {
    /// Its stable code.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Restore(error) => error.code(),
            Self::Manifest { .. } | Self::NoDatabase { .. } | Self::MissingDatabase { .. } => {
                FailureCode::NotFound
            }
            Self::LeftBehind { cause, .. }
            | Self::After { cause, .. }
            | Self::Committed { cause, .. }
            | Self::Kept { cause, .. } => cause.code(),
            Self::Some { failed, .. } => {
                let first = failed.first();
                first.map_or(FailureCode::Target, |(_, error)| error.code())
            }
            _ => FailureCode::Target,
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Restore(error) => error.is_retryable(),
            Self::Server { source, .. } => source.is_retryable(),
            Self::LeftBehind { cause, .. } | Self::After { cause, .. } => cause.is_retryable(),
            _ => false,
        }
    }

    /// For a job's report.
    pub fn to_failure(&self) -> Failure {
        Failure {
            code: self.code(),
            message: name::shown(&self.to_string()).into_owned(),
            retryable: self.is_retryable(),
        }
    }
}
