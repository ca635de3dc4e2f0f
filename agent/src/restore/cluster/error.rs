//! Why no cluster came of a snapshot.

use std::{io, path::PathBuf};

use strongroom_compare::EscapedPath;
use strongroom_postgres::physical::manifest::InvalidManifest;
use strongroom_wire::job::{Failure, FailureCode};

use super::{super::RestoreError, recovery::RecoveryError};

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
    #[error("the snapshot has no tablespace at {from:?}; its tablespaces are: {known}")]
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
        "there is no user {name:?} on this host to run the server: create it (the package \
         postgresql-{major} does), or restore without --start"
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
            Self::NotAllowed { .. } => FailureCode::NotAllowed,
            Self::NotEmpty { .. }
            | Self::Overlap { .. }
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
