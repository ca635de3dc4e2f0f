//! Why a restored cluster could not be rolled forward.

use std::{io, path::PathBuf};

use strongroom_compare::EscapedPath;
use strongroom_layout::{
    ObjectName, SystemId, WalName, WalPart,
    position::{Lsn, TimelineId},
};
use strongroom_postgres::wal::{InvalidWal, Unexpected};
use strongroom_repository::{read::ReadError, store::StoreError};
use strongroom_spec::{FailureCode, RecoveryTarget};

use crate::restore::RestoreError;

/// See the module. Unless it says otherwise, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Reading the archive.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Log of another cluster.
    #[error(
        "the snapshot is of cluster {snapshot}, but the log to replay is of cluster {log}: choose a snapshot of that cluster"
    )]
    OtherCluster {
        /// By the manifest.
        snapshot: String,
        /// By the job.
        log: SystemId,
    },
    /// The snapshot stands on none of the timelines.
    #[error(
        "the snapshot is of timeline {timeline}, from which the restore's way ({way}) does not lead: choose a snapshot of one of these, or another timeline"
    )]
    Astray {
        /// The snapshot's.
        timeline: TimelineId,
        /// Those of the job.
        way: String,
    },
    /// A part of the log is in no archive.
    #[error(
        "the archived log has a gap: timeline {timeline} is missing from {at} on{}; restore to a moment before it, or from a later backup",
        .next.map(|next| format!(", up to {next}")).unwrap_or_default()
    )]
    Gap {
        /// Whose bytes are missing.
        timeline: TimelineId,
        /// The first of them.
        at: Lsn,
        /// Where something follows.
        next: Option<Lsn>,
    },
    /// A server follows no timeline of which it does not know where it came from.
    #[error(
        "the history file of timeline {0} is not archived: without it no server follows that timeline; choose another with --timeline"
    )]
    NoHistory(TimelineId),
    /// Before the snapshot is consistent, or behind all there is.
    #[error(
        "{target} is outside of what this snapshot and the archived log give, {consistent} to {end}: a target before that needs an earlier backup"
    )]
    Outside {
        /// As asked.
        target: String,
        /// The end of the base backup.
        consistent: Lsn,
        /// The end of the log.
        end: Lsn,
    },
    /// No commit of it.
    #[error(
        "the archived log holds no commit of transaction {xid} behind this snapshot: it may have been rolled back, or never have been; restore to a time or a position instead"
    )]
    NoTransaction {
        /// Its number.
        xid: u32,
    },
    /// What is archived is no log.
    #[error("{0}: the archive holds a damaged log; restore to a moment before that position")]
    Log(#[from] InvalidWal),
    /// The same place holds two things.
    #[error(
        "the archive holds two logs: behind {at}, {taken} and {other} have different bytes at the same place. Two servers have written that log, or one of these was put there by somebody else. Restore to a moment before that, or from another base backup"
    )]
    TwoLogs {
        /// The first byte that differs.
        at: Lsn,
        /// What would have been replayed.
        taken: String,
        /// What says otherwise.
        other: String,
    },
    /// The log that came is not the log that was read before.
    #[error("{0}; restore again")]
    Changed(#[from] Unexpected),
    /// What came in the place of parts that vanished does something else.
    #[error(
        "parts of the log were replaced while it was fetched, and it makes other tablespaces now, which nobody was asked about; restore again"
    )]
    OtherLog,
    /// An object of the log cannot be read, which another may stand in for.
    #[error("{source}")]
    Unread {
        /// Which.
        object: ObjectName,
        /// Why.
        #[source]
        source: Box<ReadError>,
    },
    /// A part that cannot be read, and no other stands in for it.
    #[error(
        "the log from {at} of timeline {timeline} cannot be read, and the catalog knows no other part that holds it: {source}. If it has vanished, check the store's lifecycle rules; else restore to a moment before it, or from a later backup"
    )]
    Vanished {
        /// Whose.
        timeline: TimelineId,
        /// Its first byte.
        at: Lsn,
        /// What holds it.
        object: ObjectName,
        /// What the store said.
        #[source]
        source: Box<ReadError>,
    },
    /// Others' work is in the way.
    #[error(
        "{path} holds an interrupted restore to {target}: run that one again, or empty the directory", path = EscapedPath(path)
    )]
    Other {
        /// The data directory.
        path: PathBuf,
        /// Where that was to end.
        target: String,
    },
    /// An interrupted restore has put a tablespace elsewhere.
    #[error(
        "{path} holds an interrupted restore that puts tablespace {oid} at {before}, not at {now}: run it again with the same --tablespace options as then, or empty the directory and begin anew", path = EscapedPath(path)
    )]
    OtherPlace {
        /// The data directory.
        path: PathBuf,
        /// The tablespace's number.
        oid: u32,
        /// Where it put it.
        before: String,
        /// Where it would go now.
        now: String,
    },
    /// Two restores meet.
    #[error("another restore is at work in {path}; wait until it has ended", path = EscapedPath(.0))]
    Busy(PathBuf),
    /// The server does not get there.
    #[error(
        "the cluster was restored to {target}, but its server gave up before it reached {wanted}: {cause}"
    )]
    GaveUp {
        /// The data directory.
        target: String,
        /// As asked.
        wanted: String,
        /// The end of its log.
        cause: String,
    },
    /// The server took something for the end of the log.
    #[error(
        "the server on {target} ended its recovery at {done}, but the archived log goes on to {planned}: it holds something there that the server does not replay. The server was stopped; its log says why. Empty the directory, and restore to a moment before that"
    )]
    Short {
        /// The data directory.
        target: String,
        /// Where the last record begins that was replayed.
        done: Lsn,
        /// Where the last record begins that there is.
        planned: Lsn,
    },
    /// The server runs, and yet not as the primary that it should be.
    #[error(
        "the server on {target} accepts connections, but recovery has not ended ({state}); see its log, {log}"
    )]
    NotEnded {
        /// The data directory.
        target: String,
        /// By its control file.
        state: String,
        /// Where it writes.
        log: PathBuf,
    },
    /// The target's file system.
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

impl RecoveryError {
    /// An object of the log cannot be read, and nothing stands in for it.
    pub(super) fn lacking(source: Box<ReadError>) -> Self {
        let ReadError::Damaged { object, .. } = *source else {
            return (*source).into();
        };
        match object {
            ObjectName::Wal(WalName {
                timeline,
                part: WalPart::Range { start, .. },
                ..
            }) => Self::Vanished {
                timeline,
                at: start,
                object,
                source,
            },
            _ => (*source).into(),
        }
    }

    pub(in super::super) fn file(
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
            Self::Gap { .. }
            | Self::NoHistory(_)
            | Self::Outside { .. }
            | Self::NoTransaction { .. }
            | Self::OtherCluster { .. }
            | Self::Astray { .. } => FailureCode::NotFound,
            Self::Log(_)
            | Self::TwoLogs { .. }
            | Self::Changed(_)
            | Self::OtherLog
            | Self::Unread { .. }
            | Self::Vanished { .. } => FailureCode::Corrupt,
            Self::Other { .. }
            | Self::OtherPlace { .. }
            | Self::Busy(_)
            | Self::GaveUp { .. }
            | Self::Short { .. }
            | Self::NotEnded { .. }
            | Self::File { .. } => FailureCode::Target,
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Restore(error) if error.is_retryable())
    }
}

impl RecoveryError {
    /// What it means that an object of the log cannot be read: of one that is gone
    /// or damaged, others may hold the same.
    pub(super) fn unread(object: ObjectName, error: ReadError) -> Self {
        match error {
            ReadError::Damaged { .. } => Self::Unread {
                object,
                source: Box::new(error),
            },
            other => other.into(),
        }
    }
}

impl From<ReadError> for RecoveryError {
    fn from(error: ReadError) -> Self {
        Self::Restore(error.into())
    }
}

impl From<StoreError> for RecoveryError {
    fn from(error: StoreError) -> Self {
        ReadError::from(error).into()
    }
}

/// A target, for people.
pub(super) fn shown(target: &RecoveryTarget) -> String {
    match target {
        RecoveryTarget::Latest => "the end of the archived log".into(),
        RecoveryTarget::Time(at) => at.to_string(),
        RecoveryTarget::Lsn(lsn) => format!("position {lsn}"),
        RecoveryTarget::Xid(xid) => format!("transaction {xid}"),
        RecoveryTarget::RestorePoint(name) => format!("restore point {name:?}"),
    }
}
