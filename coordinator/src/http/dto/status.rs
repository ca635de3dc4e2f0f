//! The coordinator at a glance.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The coordinator at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the coordinator's binary.
    pub version: String,
    /// When this coordinator started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// How many of what.
    pub counts: Counts,
    /// Agents whose identity more than one hold: an alarm.
    #[serde(default)]
    pub contested: Vec<ContestedAgent>,
    /// Connected agents whose clocks are wrong, or the coordinator's is.
    #[serde(default)]
    pub clocks: Vec<AgentClock>,
    /// Repositories whose stores have lost objects, until that is accepted.
    #[serde(default)]
    pub losses: Vec<LossStatus>,
    /// Every dataset.
    pub datasets: Vec<DatasetStatus>,
    /// What can be recovered of datasets that are PostgreSQL clusters.
    #[serde(default)]
    pub recovery: Vec<super::Recovery>,
    /// Every store.
    #[serde(default)]
    pub stores: Vec<StoreStatus>,
}

/// Whether anything is signed for a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreStatus {
    /// What policies call it.
    pub name: String,
    /// Whether anything is signed for it.
    pub state: super::StoreState,
    /// Why nothing is, or why the last check came to no end.
    pub problem: Option<String>,
    /// The last time in which it was away.
    #[serde(default)]
    pub outage: Option<super::StoreOutage>,
}

/// A repository whose store has lost objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LossStatus {
    /// Its name.
    pub repository: String,
    /// How many objects.
    pub objects: u64,
    /// How many of them are snapshots.
    pub snapshots: u64,
    /// When the first was noticed.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// An agent that is not served until an operator decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContestedAgent {
    /// What operators call it.
    pub agent: String,
    /// Why, and by whom.
    pub contest: super::Contest,
}

/// An agent whose clock is not the coordinator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentClock {
    /// What operators call it.
    pub agent: String,
    /// How many seconds its clock is ahead; below 0: behind.
    pub skew_seconds: i64,
}

/// How many of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Agents that are not revoked.
    pub agents: u64,
    /// Agents with an open session.
    pub agents_connected: u64,
    /// Policies.
    pub policies: u64,
    /// Jobs that wait.
    pub jobs_pending: u64,
    /// Jobs at work.
    pub jobs_running: u64,
    /// Snapshots.
    pub snapshots: u64,
}

/// A dataset: a policy on one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetStatus {
    /// `policy@agent`.
    pub dataset: String,
    /// The last snapshot's id.
    pub last_snapshot: Option<String>,
    /// When it was taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_snapshot_at: Option<Timestamp>,
    /// When the last one was taken that lacks nothing of what was asked for.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_whole_snapshot_at: Option<Timestamp>,
    /// State of the last backup job.
    pub last_job_state: Option<super::JobState>,
    /// The last backup job.
    pub last_job: Option<String>,
    /// Warnings of the last backup job.
    pub warning_count: u64,
    /// What the coordinator finds odd about the last backup job.
    #[serde(default)]
    pub alarm: Option<String>,
    /// When the last successful restore of one of its snapshots ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_restore_at: Option<Timestamp>,
    /// When it runs next.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_run_at: Option<Timestamp>,
}
