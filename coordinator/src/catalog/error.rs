//! What can go wrong with the catalog.

use std::{io, path::PathBuf};

use crate::{
    jobs::InvalidTransition,
    model::{InvalidLabel, InvalidName},
};

/// The catalog did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The URL in the configuration.
    #[error(
        "the catalog's URL {url:?} {problem}: write sqlite:PATH or \
         postgres://USER:PASSWORD@HOST/DATABASE"
    )]
    InvalidUrl {
        /// Without its password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Written by a newer program.
    #[error(
        "the catalog {catalog} was written by strongroom {written_by} (schema {found}); this is \
         strongroom {ours} (schema {known}) and cannot read it: start the newer program, or \
         restore the catalog from before the upgrade"
    )]
    Newer {
        /// Its URL without password.
        catalog: String,
        /// Version of the program that wrote it last.
        written_by: String,
        /// Its schema.
        found: i64,
        /// This program's version.
        ours: &'static str,
        /// The schema that this program knows.
        known: i64,
    },
    /// Not yet written by this program's version.
    #[error(
        "the catalog {catalog} is of schema {found}, and this program writes {known}: use the \
         program that serves it, or let this one serve it once"
    )]
    Older {
        /// Its URL without password.
        catalog: String,
        /// Its schema.
        found: i64,
        /// The schema that this program knows.
        known: i64,
    },
    /// Another coordinator uses the same SQLite file.
    #[error(
        "the catalog {} is in use by another coordinator (process {pid}): stop that one first, or \
         give this one a data directory of its own; several coordinators need a catalog on Postgres",
        path.display()
    )]
    InUse {
        /// The SQLite file.
        path: PathBuf,
        /// Of the other coordinator, as its lock file says.
        pid: String,
    },
    /// The lock file or directory beside the SQLite file.
    #[error(
        "cannot open {} for the catalog: {source}; check that the directory exists and belongs to \
         the coordinator's user",
        path.display()
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database does not answer or does not let us in.
    #[error(
        "cannot open the catalog {catalog}: {source}; check that the database runs, that it is \
         reachable from here, and user and password"
    )]
    Unreachable {
        /// Its URL without password.
        catalog: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the catalog {catalog} to schema {known}: {source}")]
    Migration {
        /// Its URL without password.
        catalog: String,
        /// The schema that this program knows.
        known: i64,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("the catalog's database failed: {0}{advice}", advice = what_to_do(.0))]
    Database(#[from] sqlx::Error),
    /// A row that this program did not write so.
    #[error("the catalog holds a damaged row: {table}.{column} {problem}")]
    Corrupt {
        /// In which table.
        table: &'static str,
        /// In which column.
        column: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such thing.
    #[error("there is no {what} {name:?}")]
    NotFound {
        /// `agent`, `policy`, `job`, ….
        what: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// Several begin so.
    #[error("{prefix:?} is the beginning of several {what}s ({}): give more of it", matches.join(", "))]
    Ambiguous {
        /// `job`, `snapshot`.
        what: &'static str,
        /// As it was asked for.
        prefix: String,
        /// The first few.
        matches: Vec<String>,
    },
    /// The name is taken.
    #[error("there already is a {what} {name:?}")]
    Exists {
        /// `operator`, `join token`, ….
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there but not in a state that allows this.
    #[error("{what} {name:?} {problem}")]
    Conflict {
        /// `join token`, `repository`, ….
        what: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        problem: String,
    },
    /// A job is not in a state that allows this.
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    /// A name that cannot be used.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// A label that cannot be used.
    #[error(transparent)]
    InvalidLabel(#[from] InvalidLabel),
}

/// What an operator can do about it, in words that follow the error's own.
fn what_to_do(error: &sqlx::Error) -> &'static str {
    let code = match error {
        sqlx::Error::Database(error) => error.code(),
        _ => None,
    };
    match code.as_deref() {
        // SQLite: full; Postgres: disk full.
        Some("13" | "53100") => {
            "; make room on the disk that the catalog lies on: it goes on by itself"
        }
        // SQLite: input and output failed, in whichever way.
        Some(
            "10" | "266" | "522" | "778" | "1034" | "1290" | "1546" | "4106" | "4874" | "5642",
        ) => "; look at the disk that the catalog lies on: it goes on by itself",
        // SQLite: no write permission; a file system that became read-only.
        Some("8" | "1544" | "776") => {
            "; the disk that the catalog lies on, or its file, cannot be written"
        }
        _ => "",
    }
}

impl CatalogError {
    /// Whether the same call may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } | Self::Database(source) => match source {
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
                sqlx::Error::Database(error) => error
                    .code()
                    // SQLite: busy, locked. Postgres: serialization failure,
                    // deadlock, shutdown, starting up, too many connections.
                    .is_some_and(|code| {
                        matches!(
                            code.as_ref(),
                            "5" | "6" | "40001" | "40P01" | "57P01" | "57P03" | "53300"
                        )
                    }),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether it is the disk that the catalog lies on: full, failing or read-only.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Database(source) if !what_to_do(source).is_empty())
    }

    pub(super) fn not_found(what: &'static str, name: &(impl ToString + ?Sized)) -> Self {
        Self::NotFound {
            what,
            name: name.to_string(),
        }
    }
}
