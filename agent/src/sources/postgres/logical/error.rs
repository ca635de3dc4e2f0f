//! Why databases could not be dumped.

use std::{io, path::PathBuf, process::ExitStatus};

use strongroom_postgres::{
    connection::ServerError,
    logical::{
        choose::ChoiceError, loss::Loss, manifest::ManifestError, rights::MissingRights,
        select::Empty, trial::TrialError,
    },
    programs::ProgramError,
};
use strongroom_repository::{format::FormatError, write::Halted};

use crate::config::PostgresConnectionError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum LogicalError {
    /// The connection lacks something on this host.
    #[error("postgres connection {connection:?}: {source}")]
    Connection {
        /// Of `agent.toml`.
        connection: String,
        /// What.
        #[source]
        source: Box<PostgresConnectionError>,
    },
    /// The server cannot be asked.
    #[error("postgres connection {connection:?}: {source}")]
    Server {
        /// Of `agent.toml`.
        connection: String,
        /// Why.
        #[source]
        source: Box<ServerError>,
    },
    /// One of its databases cannot be looked at.
    #[error("database {database:?} of postgres connection {connection:?}: {source}")]
    Database {
        /// Of `agent.toml`.
        connection: String,
        /// Which.
        database: String,
        /// Why.
        #[source]
        source: Box<ServerError>,
    },
    /// The role may not read what is to be dumped.
    #[error("postgres connection {connection:?}: {rights}")]
    Rights {
        /// Of `agent.toml`.
        connection: String,
        /// What it lacks.
        rights: Box<MissingRights>,
    },
    /// Nothing in a database is what the policy selects.
    #[error("database {database:?} of postgres connection {connection:?}: {source}")]
    Empty {
        /// Of `agent.toml`.
        connection: String,
        /// Which.
        database: String,
        /// Why.
        #[source]
        source: Empty,
    },
    /// The policy names databases that are not there.
    #[error("postgres connection {connection:?}: {source}")]
    Choice {
        /// Of `agent.toml`.
        connection: String,
        /// Why.
        #[source]
        source: ChoiceError,
    },
    /// None of several could be dumped.
    #[error("none of the databases could be dumped: {}", each(.0))]
    All(Vec<LogicalError>),
    /// There is no program that fits.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Where it lies.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its output cannot be read.
    #[error("cannot read what {program} writes: {source}")]
    Read {
        /// Where it lies.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("{subject}: {program} ended with {status}{}", said(stderr))]
    Failed {
        /// `database "orders" of …`.
        subject: String,
        /// Where it lies.
        program: PathBuf,
        /// How.
        status: ExitStatus,
        /// The last of its standard error that may be shown.
        stderr: String,
    },
    /// The only `pg_dump` there is writes what the server does not understand.
    #[error(
        "{subject}: {program} is version {version}, and writes what a server of version {major} \
         does not understand ({source}), so that the dump could not be restored into one: install \
         the package postgresql-client-{major}, or say where its programs lie with bin_dir in \
         agent.toml"
    )]
    Newer {
        /// `database "orders" of …`.
        subject: String,
        /// Where it lies.
        program: PathBuf,
        /// Its own.
        version: String,
        /// The server's.
        major: u32,
        /// What it does not understand.
        #[source]
        source: Box<TrialError>,
    },
    /// What is selected of a database does not fit on a command line.
    #[error(
        "{subject}: the policy selects {count} of its tables by name, more than a command line of \
         this host takes: select or exclude whole schemas, or install a {program} of version 17 \
         or newer, which reads the names from a file"
    )]
    TooMany {
        /// `database "orders" of …`.
        subject: String,
        /// Where it lies.
        program: PathBuf,
        /// How many.
        count: usize,
    },
    /// The manifest cannot be written: a bug.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A tree cannot be made: a bug.
    #[error("the snapshot's directories cannot be made: {0}")]
    Format(#[from] FormatError),
    /// The run ended; its writer says why.
    #[error(transparent)]
    Halted(#[from] Halted),
}

/// Errors in full up to here.
const LISTED: usize = 10;

fn each(errors: &[LogicalError]) -> String {
    let shown = errors.iter().take(LISTED).map(ToString::to_string);
    let mut shown: Vec<_> = shown.collect();
    if errors.len() > LISTED {
        shown.push(format!("and {} more", errors.len() - LISTED));
    }
    shown.join("\n")
}

fn said(stderr: &str) -> String {
    let hint = hint(Loss::of_words(stderr)).unwrap_or_default();
    let hint = if hint.is_empty() {
        String::new()
    } else {
        format!("\n{hint}")
    };
    match stderr.trim() {
        "" => "; it said nothing on standard error that may be shown".into(),
        said => format!("; the end of its standard error:\n{said}{hint}"),
    }
}

/// What to do about a loss, where its words do not say it.
fn hint(loss: Loss) -> Option<&'static str> {
    Some(match loss {
        Loss::Conflict => {
            "On a standby, set hot_standby_feedback = on, or raise max_standby_streaming_delay."
        }
        Loss::Limited => {
            "A dump needs two sessions at a time, one that holds the snapshot and one that reads: \
             raise CONNECTION LIMIT of the role or the database, or max_connections."
        }
        Loss::Locked => {
            "Another session holds a lock that lets nobody read: run the backup when it does not, \
             or end that session."
        }
        _ => return None,
    })
}

impl LogicalError {
    /// What it cost, if it is about one database and not about all of them or
    /// this host.
    pub(super) fn loss(&self) -> Option<Loss> {
        match self {
            Self::Database { source, .. } => Some(Loss::of(source)),
            Self::Failed { stderr, .. } => Some(Loss::of_words(stderr)),
            Self::Rights { .. } => Some(Loss::Forbidden),
            Self::Empty { .. } => Some(Loss::Empty),
            Self::TooMany { .. } | Self::Newer { .. } => Some(Loss::Failed),
            _ => None,
        }
    }

    pub(super) fn server(connection: &str, source: ServerError) -> Self {
        Self::Server {
            connection: connection.to_owned(),
            source: Box::new(source),
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Server { source, .. } | Self::Database { source, .. } => source.is_retryable(),
            // A lock that was not to be had, a server that restarted.
            Self::Failed { .. } | Self::Read { .. } => true,
            Self::All(errors) => errors.iter().any(Self::is_retryable),
            _ => false,
        }
    }
}
