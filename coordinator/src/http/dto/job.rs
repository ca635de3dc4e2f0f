//! Jobs.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Limits, Listing, RawPath};

/// Jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    /// Newest first.
    pub jobs: Vec<Job>,
    /// `before` of the next page; `null` at the end.
    #[serde(default)]
    pub next_before: Option<String>,
}

/// A unit of work for an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// UUID.
    pub id: String,
    /// Backup, restore or list.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// Changes whenever anything below does; give it as `since` to wait for
    /// the next change.
    pub revision: String,
    /// Who does it.
    pub agent: AgentRef,
    /// The policy it runs.
    pub policy: Option<String>,
    /// `policy@agent`.
    pub dataset: Option<String>,
    /// The repository it works on.
    pub repository: Option<String>,
    /// The snapshot made, restored or listed.
    pub snapshot: Option<String>,
    /// The job that must have succeeded before this one begins.
    #[serde(default)]
    pub after: Option<String>,
    /// Who asked for it: `operator:NAME`, or `coordinator` for its schedules.
    pub requested_by: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the first attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When the last attempt ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// When the next attempt may begin, while pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// How far the running attempt is.
    pub progress: Option<Progress>,
    /// Why the last attempt failed, or the job was cancelled.
    pub failure: Option<JobFailure>,
    /// What it achieved.
    pub result: Option<JobResult>,
    /// Wall time of the last attempt on the agent, milliseconds; only when one
    /// job is asked for.
    pub duration_ms: Option<u64>,
    /// Peak resident memory of the agent's process.
    pub peak_resident_bytes: Option<u64>,
    /// An operator has asked for its end.
    pub cancel_requested: bool,
    /// All warnings; more than zero on success: succeeded with warnings.
    pub warning_count: u64,
    /// The first warnings; only when one job is asked for.
    pub warnings: Vec<Warning>,
    /// Every try; only when one job is asked for.
    pub attempts: Vec<Attempt>,
    /// How many tries it may take.
    pub attempts_allowed: u32,
    /// How long, how often, how fast it may run.
    #[serde(default)]
    pub limits: Limits,
    /// What a pending job waits for; only when one job is asked for.
    #[serde(default)]
    pub waits_for: Option<WaitsFor>,
    /// Of a job that has not ended: its store is away.
    #[serde(default)]
    pub store_outage: Option<super::StoreOutage>,
    /// What the coordinator finds odd about it: look into it.
    #[serde(default)]
    pub alarm: Option<String>,
    /// W3C trace id of the job, 32 hex digits.
    pub trace_id: Option<String>,
}

/// What a pending job waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitsFor {
    /// What sort of thing: `job`, `time`, `store`, `agent`, `agent-limit`,
    /// `store-limit`, `global-limit`, `dataset` or `repository`.
    pub what: String,
    /// For people, names and numbers included.
    pub message: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobLog {
    /// UUID of the job.
    pub job: String,
    /// Where it stands.
    pub state: JobState,
    /// Oldest first.
    pub entries: Vec<JobLogEntry>,
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct JobLogEntry {
    /// When, by the coordinator's clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: Option<u32>,
    /// `event`, `progress` or `warning`.
    pub kind: String,
    /// For people.
    pub text: String,
}

/// Names an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentRef {
    /// UUID.
    pub id: String,
    /// What operators call it.
    pub name: String,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Makes a snapshot.
    Backup,
    /// Writes a snapshot to a directory or into a server.
    Restore,
    /// Reads a snapshot's trees.
    List,
    /// Seals a part of a snapshot to an operator.
    Download,
    /// Archives a write-ahead log for as long as it is wanted.
    Wal,
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::List => "list",
            Self::Download => "download",
            Self::Wal => "wal",
        })
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Waits for its time, its agent or a free place.
    Pending,
    /// Offered to the agent.
    Dispatched,
    /// At work.
    Running,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
    /// Stopped by an operator.
    Cancelled,
}

impl JobState {
    /// Nothing changes any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// One try of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// When it was offered to the agent.
    #[schema(value_type = String, format = DateTime)]
    pub dispatched_at: Timestamp,
    /// When the agent began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<JobFailure>,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// `opening`, `backing up`, `restoring`, ….
    pub stage: String,
    /// Entries done.
    pub files: u64,
    /// Entries in all, when known.
    pub total_files: Option<u64>,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all, when known.
    pub total_bytes: Option<u64>,
    /// Bytes uploaded or fetched.
    pub bytes_stored: u64,
    /// Warnings so far.
    pub warnings: u64,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobFailure {
    /// Stable, for programs.
    pub code: String,
    /// What, where, and what to do.
    pub message: String,
}

/// Something that could not be treated as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// Stable, for programs and for `accept` of policies: `docs/warnings.md`.
    #[serde(default)]
    pub code: String,
    /// The policy accepts it: it is not counted.
    #[serde(default)]
    pub accepted: bool,
    /// Which.
    pub path: RawPath,
    /// Why.
    pub cause: String,
}

/// What a job achieved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobResult {
    /// A snapshot.
    Backup(BackupFigures),
    /// Restored files.
    Restore(RestoreFigures),
    /// Entries of a snapshot.
    List(ListFigures),
    /// Pieces that wait for the operator.
    Download(DownloadFigures),
    /// A stretch of a log.
    Wal(WalFigures),
}

/// What was archived of a log; bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalFigures {
    /// Objects written.
    pub objects: u64,
    /// Of the log.
    pub bytes: u64,
    /// As stored.
    pub bytes_stored: u64,
}

/// What a download job left in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownloadFigures {
    /// The piece that lists the others: 64 hex digits.
    pub manifest: String,
    /// Bytes of the file or tar.
    pub bytes: u64,
    /// What the file may be called.
    pub file_name: String,
    /// Entries of the tar; 1 for a file.
    pub files: u64,
    /// It is a tar.
    pub archive: bool,
}

/// Figures of a backup; bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupFigures {
    /// The snapshot's id.
    pub snapshot: String,
    /// Entries that are not directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Files taken over from the last snapshot without reading them.
    pub files_unmodified: u64,
    /// Read from the source this time.
    pub bytes_read: u64,
    /// All files of the snapshot.
    pub bytes_total: u64,
    /// New data before compression.
    pub bytes_new: u64,
    /// New data as stored.
    pub bytes_stored: u64,
    /// The snapshot lacks something that was asked for; the warnings say what.
    #[serde(default)]
    pub partial: bool,
}

/// Figures of a restore; bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreFigures {
    /// Entries restored that are not directories.
    pub files: u64,
    /// Directories restored.
    pub directories: u64,
    /// Written to the target.
    pub bytes_written: u64,
    /// Files that were already right.
    pub files_kept: u64,
    /// Fetched from the store.
    pub bytes_fetched: u64,
    /// Dry run: the first actions.
    pub plan: Vec<PlannedAction>,
    /// Dry run: all of them.
    pub plan_count: u64,
    /// For people: what is where now, and what else they should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// A server that was started on what was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<StartedServer>,
}

/// A PostgreSQL server that runs on a restored cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StartedServer {
    /// Of 127.0.0.1 on the agent's host.
    pub port: u16,
    /// Where its socket is.
    pub socket_directory: String,
    /// The file that it writes to.
    pub log: String,
}

/// What a restore would do to one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedAction {
    /// Below the target.
    pub path: RawPath,
    /// `create`, `replace` or `keep`.
    pub action: String,
    /// Size of the file.
    pub bytes: u64,
}

/// What a list job found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListFigures {
    /// The entries.
    #[serde(flatten)]
    pub listing: Listing,
}

/// Starts a policy now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Name or id of one agent; default: every agent of the policy.
    #[serde(default)]
    pub agent: Option<String>,
}

/// Jobs that a request has made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StartedJobs {
    /// One per agent.
    pub jobs: Vec<Job>,
    /// What to know, such as a dataset that is at work already.
    pub notes: Vec<String>,
}
