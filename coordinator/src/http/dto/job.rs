//! Jobs.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_spec::{JobKind, Outcome, RawPath};
use utoipa::ToSchema;

use super::Limits;

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
    /// What sort of work.
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
    pub result: Option<Outcome>,
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
