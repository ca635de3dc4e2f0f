//! Why a restore or a listing failed.

use std::{io, path::PathBuf};

use strongroom_compare::EscapedPath;
use strongroom_layout::{ObjectId, ObjectName};
use strongroom_repository::{RepositoryError, read::ReadError, store::StoreErrorKind};
use strongroom_spec::FailureCode;

use super::problems::Problem;

/// A failed restore or listing. Unless it says otherwise, nothing was written;
/// an interrupted restore can be run again and finishes the rest.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The repository cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No such snapshot.
    #[error(
        "snapshot {0} is not in the repository; `strongroom snapshots list` shows those that are"
    )]
    NoSnapshot(ObjectId),
    /// No such path.
    #[error("{path} is not in snapshot {snapshot}; the nearest that is there is {nearest}")]
    NoPath {
        /// What was asked for.
        path: String,
        /// The closest directory above it, or file in its way.
        nearest: String,
        /// Where it was looked for.
        snapshot: String,
    },
    /// Not a path that can be asked for.
    #[error("{path:?} is not a path inside a snapshot: {problem}")]
    InvalidPath {
        /// What was asked for.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Something would be overwritten that must not be.
    #[error(
        "the target is not empty: {path} exists already; restore into an empty directory, or say what to do with existing files with --overwrite if-changed or --overwrite always", path = EscapedPath(path)
    )]
    NotEmpty {
        /// The first path in the way.
        path: PathBuf,
    },
    /// A server would write through an entry.
    #[error(
        "{path} is {what} in the snapshot: a server on the restored cluster would write through it, into what lies there, which may be the original's; nothing was restored. Restore the snapshot as files (without --cluster) to look at it, or choose one that holds the data itself", path = EscapedPath(path)
    )]
    LeadsElsewhere {
        /// Where it would be.
        path: PathBuf,
        /// `a symbolic link to …`.
        what: String,
    },
    /// Deeper than anything of a cluster.
    #[error(
        "{path} would lie more than {deepest} directories deep, which nothing of a cluster does; nothing was restored. Restore the snapshot as files (without --cluster) to look at it", path = EscapedPath(path)
    )]
    TooDeep {
        /// Where it would be.
        path: PathBuf,
        /// The bound.
        deepest: usize,
    },
    /// A directory stands where something else would go.
    #[error(
        "{path} is a directory that is not empty, where the snapshot has a {kind}; move it away, a restore deletes nothing", path = EscapedPath(path)
    )]
    InTheWay {
        /// The directory.
        path: PathBuf,
        /// What the snapshot has there.
        kind: &'static str,
    },
    /// The target cannot be used.
    #[error("cannot {operation} {path}: {source}", path = EscapedPath(path))]
    Target {
        /// `open`, `create`, ….
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process restores into the target.
    #[error("another restore is at work in {path}; wait until it has ended", path = EscapedPath(.0))]
    Busy(PathBuf),
    /// It will not fit. Nothing was written.
    #[error(
        "{path} has {available} bytes free, the restore needs {needed}; free at least {} bytes or choose another target", needed.saturating_sub(*available), path = EscapedPath(path)
    )]
    NoSpace {
        /// The target.
        path: PathBuf,
        /// Bytes that the restore would write.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The disk became full. What was written stays.
    #[error(
        "the disk became full while writing {path}, {remaining} bytes before the end; free that much and run the same restore again, it will finish the rest", path = EscapedPath(path)
    )]
    Full {
        /// What was being written.
        path: PathBuf,
        /// Bytes that were still to be written, of all files.
        remaining: u64,
    },
    /// All else was restored, but not these paths.
    #[error(
        "{count} paths of snapshot {} could not be restored, all others were. {}",
        snapshot.short(),
        show(problems)
    )]
    Incomplete {
        /// What was restored.
        snapshot: ObjectId,
        /// The first of them.
        problems: Vec<Problem>,
        /// All of them.
        count: u64,
        /// Whether damage in the repository is among the causes.
        damage: bool,
    },
    /// The attempt was cancelled.
    #[error("the restore was cancelled; run it again to finish the rest")]
    Cancelled,
    /// More than the plan in memory can hold.
    #[error("the snapshot has more than four billion {0}; restore parts of it with --path")]
    TooLarge(&'static str),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

fn show(problems: &[Problem]) -> String {
    let shown: Vec<String> = problems.iter().map(Problem::to_string).collect();
    shown.join("; ")
}

impl RestoreError {
    /// What a failed load of the snapshot `id` means.
    pub(crate) fn from_snapshot(id: ObjectId, error: RepositoryError) -> Self {
        match ReadError::from_repository(ObjectName::snapshot(id), error) {
            error if error.is_missing() => Self::NoSnapshot(id),
            error => Self::Read(error),
        }
    }

    /// Its stable code.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Read(error) => read_code(error),
            Self::NoSnapshot(_) | Self::NoPath { .. } | Self::InvalidPath { .. } => {
                FailureCode::NotFound
            }
            Self::Incomplete { damage: true, .. }
            | Self::LeadsElsewhere { .. }
            | Self::TooDeep { .. } => FailureCode::Corrupt,
            Self::NotEmpty { .. }
            | Self::InTheWay { .. }
            | Self::Target { .. }
            | Self::Busy(_)
            | Self::NoSpace { .. }
            | Self::Full { .. }
            | Self::Incomplete { .. } => FailureCode::Target,
            Self::Cancelled => FailureCode::Cancelled,
            Self::TooLarge(_) | Self::Thread(_) => FailureCode::Internal,
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read(error) => error.is_retryable(),
            Self::Thread(_) => true,
            _ => false,
        }
    }
}

fn read_code(error: &ReadError) -> FailureCode {
    match error {
        ReadError::Store(error) => match error.kind {
            StoreErrorKind::Refused { .. } => FailureCode::Refused,
            StoreErrorKind::Cancelled => FailureCode::Cancelled,
            _ => FailureCode::Store,
        },
        ReadError::Damaged { .. }
        | ReadError::DamagedBlob { .. }
        | ReadError::NotIndexed { .. } => FailureCode::Corrupt,
        ReadError::Repository(_) => FailureCode::Repository,
        _ => FailureCode::Internal,
    }
}
