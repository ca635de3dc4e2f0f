//! Why no cluster came of a snapshot.

use std::{io, path::PathBuf};

use strongroom_compare::EscapedPath;
use strongroom_layout::position::Lsn;
use strongroom_postgres::{
    physical::manifest::InvalidManifest,
    wal::{InvalidWal, Unexpected},
};
use strongroom_spec::{Failure, FailureCode};

use super::{super::RestoreError, recovery::RecoveryError};
use crate::allowed::Unsteady;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ClusterRestoreError {
    /// Restoring its files.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Rolling it forward.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A snapshot of something else.
    #[error(
        "snapshot {snapshot} is not a physical backup of PostgreSQL: {cause}; \
         `strongroom snapshots list` says what each is of"
    )]
    NotPhysical {
        /// Its short id.
        snapshot: String,
        /// How that shows.
        cause: String,
    },
    /// Its manifest cannot be used.
    #[error("the manifest of snapshot {snapshot} cannot be used: {source}")]
    Manifest {
        /// Its short id.
        snapshot: String,
        /// Why.
        #[source]
        source: InvalidManifest,
    },
    /// Something is in the way.
    #[error(
        "{path} is not empty: a cluster is restored into an empty directory, or one that is not \
         there",
        path = EscapedPath(path)
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A tablespace is to be moved that is not there.
    #[error(
        "neither the snapshot nor the log to be replayed has a tablespace {from:?}; there are: {known}"
    )]
    NoTablespace {
        /// As given.
        from: String,
        /// Those it has.
        known: String,
    },
    /// Two directories would lie in one another.
    #[error(
        "{first} and {second} must not lie one in the other: give each tablespace a directory of its own with --tablespace"
    )]
    Overlap {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// `agent.toml` does not allow the place where a tablespace lay.
    #[error(
        "the tablespace that lay at {path} cannot go back there: {cause}; or put it elsewhere with --tablespace {path}=DIR"
    )]
    NotAllowed {
        /// Where it lay.
        path: String,
        /// In words of the consent.
        cause: String,
    },
    /// Replay would make a tablespace where it must not.
    #[error(
        "the log to be replayed makes tablespace {oid} at {path}, but {to} cannot be taken for it: {cause}; put it elsewhere with --tablespace {path}=DIR or --tablespace {oid}=DIR"
    )]
    LogTablespace {
        /// Its number.
        oid: u32,
        /// Where it was made.
        path: String,
        /// Where it would be made.
        to: String,
        /// What is in the way.
        cause: String,
    },
    /// Made, dropped, and made again under the same number.
    #[error(
        "the log to be replayed makes tablespace {oid} ({path}) twice, which cannot be moved: restore to a moment before the second time, or from a later backup"
    )]
    MadeTwice {
        /// Its number.
        oid: u32,
        /// Where it was made.
        path: String,
    },
    /// The server makes tablespaces where they lay, whatever it is told.
    #[error(
        "the log to be replayed makes tablespace {oid} at {path}, and PostgreSQL {version} cannot be had to make it elsewhere: update it to {major}.{first} or newer"
    )]
    OldServer {
        /// Of the server, `14.4`.
        version: String,
        /// Its major version.
        major: u32,
        /// The first minor version that can.
        first: u32,
        /// The tablespace's number.
        oid: u32,
        /// Where it was made.
        path: String,
    },
    /// More than any cluster has.
    #[error(
        "the log to be replayed makes more than {most} tablespaces, which no cluster does: restore to an earlier moment"
    )]
    ManyTablespaces {
        /// So many would do.
        most: usize,
    },
    /// A link leads where nobody was asked about.
    #[error(
        "the restored cluster has a link that leads out of it, {link} to {to}, and is not one of its tablespaces: nothing is started on it; look at who could write the snapshot and the log", link = EscapedPath(link)
    )]
    StrayLink {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        to: String,
    },
    /// The snapshot's own log is damaged.
    #[error("{0}: the snapshot holds a damaged log; choose another snapshot")]
    HeldLog(#[from] InvalidWal),
    /// The snapshot's own log is not all there.
    #[error(
        "the log in the snapshot ends before {stop}, where the backup ended; choose another snapshot"
    )]
    ShortLog {
        /// The backup's end.
        stop: Lsn,
    },
    /// A log that became another one.
    #[error("{0}; restore again")]
    Changed(#[from] Unexpected),
    /// Replay needs a library that cannot be named.
    #[error(
        "the log to be replayed holds records of extensions (resource managers {managers}), but none of the libraries that the original preloaded ({libraries}) registers one: restore with --keep-settings, and with those extensions installed"
    )]
    NoLibrary {
        /// Their numbers.
        managers: String,
        /// As it preloaded them.
        libraries: String,
    },
    /// `agent.toml` does not allow a directory that was asked for; in words of the
    /// consent.
    #[error("{0}")]
    Refused(String),
    /// Others decide what a server would find there.
    #[error("no server can be started on {path}: {source}; or restore without --start", path = EscapedPath(path))]
    Unsteady {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Unsteady,
    },
    /// No server programs of that version.
    #[error(
        "PostgreSQL {major} is not installed on this host (found: {found}): install the package \
         postgresql-{major}, or restore without --start"
    )]
    NoServer {
        /// The cluster's major version.
        major: u32,
        /// Others.
        found: String,
    },
    /// Nobody to run it.
    #[error(
        "there is no user postgres on this host to run the server: create it (the package \
         postgresql-{major} does), or make the empty directory that you restore into that of the \
         original's owner, {name:?}, or restore without --start"
    )]
    NoUser {
        /// The name.
        name: String,
        /// The cluster's major version.
        major: u32,
    },
    /// The files are there, but the server does not come up.
    #[error("the cluster was restored to {target}, but its server does not start: {cause}")]
    Start {
        /// The data directory.
        target: String,
        /// With the end of its log.
        cause: String,
    },
    /// A last touch failed.
    #[error("cannot {operation} {path}: {source}", path = EscapedPath(path))]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl ClusterRestoreError {
    pub(super) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            operation,
            path: path.into(),
            source,
        }
    }

    /// The kind of failure.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Restore(error) => error.code(),
            Self::Recovery(error) => error.code(),
            Self::NotPhysical { .. } | Self::Manifest { .. } | Self::NoTablespace { .. } => {
                FailureCode::NotFound
            }
            Self::NotAllowed { .. } | Self::Refused(_) | Self::LogTablespace { .. } => {
                FailureCode::NotAllowed
            }
            Self::HeldLog(_)
            | Self::ShortLog { .. }
            | Self::Changed(_)
            | Self::ManyTablespaces { .. }
            | Self::StrayLink { .. } => FailureCode::Corrupt,
            Self::MadeTwice { .. }
            | Self::OldServer { .. }
            | Self::NoLibrary { .. }
            | Self::NotEmpty { .. }
            | Self::Overlap { .. }
            | Self::Unsteady { .. }
            | Self::NoServer { .. }
            | Self::NoUser { .. }
            | Self::Start { .. }
            | Self::File { .. } => FailureCode::Target,
        }
    }

    /// For a job's report.
    pub fn to_failure(&self) -> Failure {
        Failure {
            code: self.code(),
            message: self.to_string(),
            retryable: match self {
                Self::Restore(error) => error.is_retryable(),
                Self::Recovery(error) => error.is_retryable(),
                _ => false,
            },
        }
    }
}
