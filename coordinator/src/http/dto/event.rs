//! What changed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Some events, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// Oldest first; their numbers follow one another.
    pub events: Vec<Event>,
    /// `after` of the next request.
    pub next_after: u64,
    /// The number of the newest event there is; 0: there is none.
    pub last: u64,
    /// Between `after` and the first event here some are missing: they were forgotten, or
    /// the catalog was put back to an earlier state. What is now is to be read anew.
    pub gap: bool,
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number, from 1: grows by one from event to event.
    pub seq: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What changed, as `noun.participle`: `job.succeeded`, `snapshot.lost`, …. New kinds
    /// may come: pass over those that you do not know.
    pub kind: String,
    /// The id of the job that it concerns.
    pub job: Option<String>,
    /// The id of the agent that it concerns.
    pub agent: Option<String>,
    /// The dataset that it concerns.
    pub dataset: Option<String>,
    /// The name of the policy that it concerns.
    pub policy: Option<String>,
    /// The name of the repository that it concerns.
    pub repository: Option<String>,
    /// The id of the snapshot that it concerns.
    pub snapshot: Option<String>,
    /// The job's trace.
    pub trace_id: Option<String>,
    /// More, as the kind has it; `agent` in it is an agent's name.
    #[schema(value_type = serde_json::Value)]
    pub detail: serde_json::Value,
}
