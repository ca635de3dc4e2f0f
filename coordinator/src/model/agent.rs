//! Agents and their certificates.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::AgentId;
use strongroom_transfer::PublicKey;
use strongroom_wire::session::{Connection, Consent};

use super::Labels;

/// An enrolled agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// In its certificate.
    pub id: AgentId,
    /// What operators call it; unique among active agents.
    pub name: String,
    /// What policies choose it by.
    pub labels: Labels,
    /// Whether it may connect.
    pub state: AgentState,
    /// When its join token was redeemed.
    pub enrolled_at: Timestamp,
    /// Its last sign of life.
    pub last_seen: Option<Timestamp>,
    /// What it last said of itself.
    pub facts: AgentFacts,
    /// What it last found at the connections of its `agent.toml`; never
    /// trusted for a decision.
    pub connections: Vec<Connection>,
}

impl Agent {
    /// Whether it may connect and work.
    pub fn is_active(&self) -> bool {
        self.state == AgentState::Active
    }
}

/// Whether an agent may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum AgentState {
    /// It may.
    Active,
    /// Never again; a new enrolment makes a new agent.
    Revoked {
        /// Since when.
        at: Timestamp,
    },
}

impl AgentState {
    /// `active` or `revoked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked { .. } => "revoked",
        }
    }
}

/// What an agent says of itself in its hello; never trusted for a decision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AgentFacts {
    /// Version of its binary.
    pub version: Option<String>,
    /// The host's own name.
    pub hostname: Option<String>,
    /// `linux`.
    pub os: Option<String>,
    /// `x86_64`, `aarch64`.
    pub architecture: Option<String>,
    /// What `agent.toml` allows there.
    pub consent: Option<Consent>,
    /// To which uploads are sealed.
    pub transfer_key: Option<PublicKey>,
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An active agent.
    pub(crate) fn agent(name: &str, id: u128, labels: &[(&str, &str)]) -> Agent {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Agent {
            id: AgentId(uuid::Uuid::from_u128(id)),
            name: name.into(),
            labels: labels.iter().map(owned).collect(),
            state: AgentState::Active,
            enrolled_at: Timestamp::UNIX_EPOCH,
            last_seen: None,
            facts: AgentFacts::default(),
            connections: Vec::new(),
        }
    }
}

/// A certificate that the coordinator's CA signed for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentCertificate {
    /// Serial number, lowercase hex.
    pub serial: String,
    /// Whose it is.
    pub agent: AgentId,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}
