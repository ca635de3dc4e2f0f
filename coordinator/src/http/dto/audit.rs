//! The audit log.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of the audit log, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntries {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// `before` of the next page; `null` at the end.
    pub next_before: Option<String>,
    /// The names of the agents among actors and objects, by id.
    #[serde(default)]
    pub agents: BTreeMap<String, String>,
}

/// Something that was done, tried or refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// UUID; sorts by time.
    pub id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who: `operator:NAME`, `agent:ID`, `coordinator`.
    pub actor: String,
    /// What, as `noun.verb`: `policy.create`, `job.cancel`, `grant.refuse`, ….
    pub action: String,
    /// On what: a name or id.
    pub object: String,
    /// `ok`, `refused` or `failed`.
    pub outcome: String,
    /// More, as the action has it.
    #[schema(value_type = serde_json::Value)]
    pub detail: serde_json::Value,
    /// The job's trace.
    pub trace_id: Option<String>,
}
