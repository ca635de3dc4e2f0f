//! The end of an attempt, as the agent reports it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::AttemptRef;
use strongroom_proto::v1;
use uuid::Uuid;

use super::{BackupResult, DownloadResult, ListResult, RestoreResult, WalResult, Warning};
use crate::{
    InvalidMessage,
    field::{Reader, attempt_to_wire, into_all},
};

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The acknowledgement names it.
    pub report_id: Uuid,
    /// Which attempt.
    pub attempt: AttemptRef,
    /// What came of it.
    pub outcome: Result<Success, Failure>,
    /// The first [`MAX_WARNINGS`]; those that the policy accepts come last.
    pub warnings: Vec<Warning>,
    /// All of them but those that the policy accepts.
    pub warning_count: u64,
    /// Peak resident memory of the agent's process.
    pub peak_resident_bytes: u64,
    /// Wall time of the attempt on the agent.
    pub duration_ms: u64,
}

impl Report {
    /// Takes back what it says of the future, and of more time than has passed
    /// since the attempt was `begun`.
    pub fn no_later_than(&mut self, now: Timestamp, begun: Option<Timestamp>) {
        if let Ok(Success::Backup(result)) = &mut self.outcome {
            result.no_later_than(now);
        }
        if let Some(begun) = begun {
            let passed = now.duration_since(begun).as_millis();
            self.duration_ms = self.duration_ms.min(u64::try_from(passed).unwrap_or(0));
        }
    }
}

/// How many warnings, planned actions and the like a report carries in full.
pub const MAX_WARNINGS: usize = 1_000;

/// What an attempt achieved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Success {
    /// A snapshot was published.
    Backup(BackupResult),
    /// Files were written.
    Restore(RestoreResult),
    /// Entries of a snapshot.
    List(ListResult),
    /// Pieces wait for an operator.
    Download(DownloadResult),
    /// A stretch of the log was archived.
    Wal(WalResult),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, for programs.
    pub code: FailureCode,
    /// What, where, and what to do.
    pub message: String,
    /// Whether another attempt may do better.
    pub retryable: bool,
}

/// The kinds of failure, stable across versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// The agent's own configuration does not allow it.
    NotAllowed,
    /// The source cannot be read at all.
    Source,
    /// A command exited non-zero.
    Command,
    /// The store refused or failed.
    Store,
    /// The coordinator refused a grant.
    Refused,
    /// The repository cannot be opened: wrong password, wrong format.
    Repository,
    /// An object is damaged.
    Corrupt,
    /// The restore target.
    Target,
    /// The snapshot or path is not there.
    NotFound,
    /// The job was cancelled.
    Cancelled,
    /// The job's timeout passed.
    Timeout,
    /// The lease was lost, or the agent restarted.
    Fenced,
    /// The server's log holds other content than what is archived of it.
    LogConflict,
    /// The server's log is that of another cluster.
    OtherCluster,
    /// Anything else.
    Internal,
}

impl FailureCode {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 15] = [
        Self::NotAllowed,
        Self::Source,
        Self::Command,
        Self::Store,
        Self::Refused,
        Self::Repository,
        Self::Corrupt,
        Self::Target,
        Self::NotFound,
        Self::Cancelled,
        Self::Timeout,
        Self::Fenced,
        Self::LogConflict,
        Self::OtherCluster,
        Self::Internal,
    ];

    /// The word on the wire, in the catalog and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not-allowed",
            Self::Source => "source",
            Self::Command => "command",
            Self::Store => "store",
            Self::Refused => "refused",
            Self::Repository => "repository",
            Self::Corrupt => "corrupt",
            Self::Target => "target",
            Self::NotFound => "not-found",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Fenced => "fenced",
            Self::LogConflict => "log-conflict",
            Self::OtherCluster => "other-cluster",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = InvalidMessage;

    fn try_from(value: v1::Report) -> Result<Self, InvalidMessage> {
        let read = Reader("Report");
        read.at_most("warnings", MAX_WARNINGS, &value.warnings)?;
        Ok(Self {
            report_id: read.uuid("report_id", &value.report_id)?,
            attempt: read.attempt("attempt", value.attempt)?,
            outcome: match read.required("outcome", value.outcome)? {
                v1::report::Outcome::Success(success) => Ok(success.try_into()?),
                v1::report::Outcome::Failure(failure) => Err(failure.try_into()?),
            },
            warnings: value.warnings.into_iter().map(Warning::from).collect(),
            warning_count: value.warning_count,
            peak_resident_bytes: value.peak_resident_bytes,
            duration_ms: value.duration_ms,
        })
    }
}

impl From<Report> for v1::Report {
    fn from(value: Report) -> Self {
        Self {
            report_id: value.report_id.to_string(),
            attempt: Some(attempt_to_wire(value.attempt)),
            outcome: Some(match value.outcome {
                Ok(success) => v1::report::Outcome::Success(success.into()),
                Err(failure) => v1::report::Outcome::Failure(failure.into()),
            }),
            warnings: into_all(value.warnings),
            warning_count: value.warning_count,
            peak_resident_bytes: value.peak_resident_bytes,
            duration_ms: value.duration_ms,
        }
    }
}

impl TryFrom<v1::Success> for Success {
    type Error = InvalidMessage;

    fn try_from(value: v1::Success) -> Result<Self, InvalidMessage> {
        Ok(match Reader("Success").required("result", value.result)? {
            v1::success::Result::Backup(result) => Self::Backup(result.try_into()?),
            v1::success::Result::Restore(result) => Self::Restore(result.try_into()?),
            v1::success::Result::List(result) => Self::List(result.into()),
            v1::success::Result::Download(result) => Self::Download(result.try_into()?),
            v1::success::Result::Wal(result) => Self::Wal(result.into()),
        })
    }
}

impl From<Success> for v1::Success {
    fn from(value: Success) -> Self {
        Self {
            result: Some(match value {
                Success::Backup(result) => v1::success::Result::Backup(result.into()),
                Success::Restore(result) => v1::success::Result::Restore(result.into()),
                Success::List(result) => v1::success::Result::List(result.into()),
                Success::Download(result) => v1::success::Result::Download(result.into()),
                Success::Wal(result) => v1::success::Result::Wal(result.into()),
            }),
        }
    }
}

impl TryFrom<v1::Failure> for Failure {
    type Error = InvalidMessage;

    fn try_from(value: v1::Failure) -> Result<Self, InvalidMessage> {
        let code = FailureCode::ALL
            .into_iter()
            .find(|code| code.as_str() == value.code)
            .ok_or_else(|| {
                Reader("Failure").invalid("code", format!("has unknown value {:?}", value.code))
            })?;
        Ok(Self {
            code,
            message: value.message,
            retryable: value.retryable,
        })
    }
}

impl From<Failure> for v1::Failure {
    fn from(value: Failure) -> Self {
        Self {
            code: value.code.as_str().into(),
            message: value.message,
            retryable: value.retryable,
        }
    }
}
