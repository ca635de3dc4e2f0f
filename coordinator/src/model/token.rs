//! Join tokens: each admits one agent, once.

use jiff::Timestamp;
use serde::Serialize;
use strongroom_layout::AgentId;

use super::{Labels, SecretHash};

/// An invitation for one agent. The secret itself is shown once, when made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JoinToken {
    /// The public half.
    pub id: String,
    /// What the agent will be labelled with.
    pub labels: Labels,
    /// What the agent will be called; its hostname when `None`.
    pub agent_name: Option<String>,
    /// The agent of that name when the token was made: its certificates end, and
    /// the invited host goes on as that agent.
    pub replaces: Option<AgentId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it admits nobody.
    pub expires_at: Timestamp,
    /// Whether it was used or taken back.
    pub state: JoinTokenState,
}

/// Whether a join token was used or taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum JoinTokenState {
    /// Neither.
    Open,
    /// It admitted an agent.
    Used {
        /// When.
        at: Timestamp,
        /// Which.
        by: AgentId,
    },
    /// An operator took it back.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

/// A join token to be entered into the catalog.
#[derive(Debug, Clone)]
pub struct NewJoinToken {
    /// The public half, random.
    pub id: String,
    /// Of the secret half.
    pub secret: SecretHash,
    /// See [`JoinToken::labels`].
    pub labels: Labels,
    /// See [`JoinToken::agent_name`].
    pub agent_name: Option<String>,
    /// See [`JoinToken::expires_at`].
    pub expires_at: Timestamp,
}
