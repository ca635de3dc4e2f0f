//! Datasets: a policy on one agent.

use jiff::Timestamp;

use super::Policy;
use crate::model::{Agent, DatasetName};

/// A policy on one agent, as it stands.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// `policy@agent`.
    pub name: DatasetName,
    /// The policy.
    pub policy: Policy,
    /// The agent.
    pub agent: Agent,
    /// Runs that were due before this are not caught up: when the policy's
    /// schedule last changed, or the agent joined.
    pub scheduled_since: Timestamp,
    /// The last scheduled run for which a job was made.
    pub last_due: Option<Timestamp>,
    /// Whether a backup of it has not ended.
    pub busy: bool,
}
