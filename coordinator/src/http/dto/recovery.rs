//! How far a cluster can be rolled forward.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::JobState;

/// What of a dataset's cluster can be recovered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recovery {
    /// `policy@agent`.
    pub dataset: String,
    /// The cluster's system identifier; empty while nobody has reached it.
    pub system: String,
    /// Which line of its log: a line ends when the same place in the log holds
    /// other content, and the next base backup begins another.
    pub line: u32,
    /// Where this line ended; `null` for one that goes on.
    pub ended: Option<LineEnd>,
    /// The times in which every moment can be recovered, oldest first.
    pub windows: Vec<RecoveryWindow>,
    /// What lies between them.
    pub gaps: Vec<RecoveryGap>,
    /// How its log is archived; `null` when it never was, and for clusters and lines
    /// that others have followed.
    pub archiving: Option<Archiving>,
}

/// Where a line of log ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineEnd {
    /// When it was found.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// On which timeline.
    pub timeline: u32,
    /// At which position.
    pub lsn: String,
    /// What holds other content.
    pub cause: String,
}

/// A time in which every moment can be recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryWindow {
    /// The end of its first base backup.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Its last moment.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// The log goes on: `to` moves.
    pub open: bool,
    /// The timeline that it ends on.
    pub timeline: u32,
    /// The position that it ends at.
    pub end_lsn: String,
    /// Its base backups, oldest first.
    pub snapshots: Vec<String>,
}

/// A time of which nothing can be recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryGap {
    /// The end of the window before.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The beginning of the one behind.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
}

/// How a log is archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Archiving {
    /// The job that does it, or did it last.
    pub job: Option<String>,
    /// Where that stands.
    pub job_state: Option<JobState>,
    /// The log is in the store up to here.
    pub lsn: Option<String>,
    /// Which timeline that is.
    pub timeline: Option<u32>,
    /// At that time there was no more of it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub as_of: Option<Timestamp>,
    /// What the server keeps until it is stored.
    pub waiting_bytes: Option<u64>,
    /// What is wrong.
    pub problem: Option<String>,
    /// The kind of failure that the last attempt ended with, while there is no
    /// other: `log-conflict` and `other-cluster` last until there is a new base
    /// backup, `not-allowed` until `agent.toml` allows it.
    pub failure_code: Option<String>,
    /// While nothing is archived: when that is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt: Option<Timestamp>,
}
