//! Policies.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AgentRef, Limits};

/// A page of policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Policies {
    /// The last changed first.
    pub policies: Vec<Policy>,
    /// `before` of the next page; `null` at the end.
    #[serde(default)]
    pub next_before: Option<String>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// `files` or `command`.
    pub source: String,
    /// Where its snapshots go.
    pub store: String,
    /// Its schedule in words; `null`: only by hand.
    pub schedule: Option<String>,
    /// When it runs next.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_run_at: Option<Timestamp>,
    /// The agents it selects now.
    pub agents: Vec<AgentRef>,
    /// How long, how often, how fast its jobs may run.
    #[serde(default)]
    pub limits: Limits,
    /// The policy as it stands in a policy file.
    pub toml: String,
    /// Counts its changes from 1.
    pub revision: u32,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Applies a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The file's text.
    pub toml: String,
    /// How messages name the file.
    #[serde(default)]
    pub file: Option<String>,
    /// Say what would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an apply changed, or would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Per policy of the file.
    pub changes: Vec<PolicyChange>,
    /// What to know, such as a policy that selects no agent.
    pub warnings: Vec<String>,
}

/// What happens to one policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicyChange {
    /// Which.
    pub policy: String,
    /// `create`, `update` or `unchanged`.
    pub action: String,
    /// What differs, for an update.
    pub differences: Vec<PolicyDifference>,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDifference {
    /// Dotted path of the key.
    pub key: String,
    /// Before; `null`: absent.
    #[schema(value_type = serde_json::Value)]
    pub before: serde_json::Value,
    /// After; `null`: absent.
    #[schema(value_type = serde_json::Value)]
    pub after: serde_json::Value,
}
