//! Agents and their certificates.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::AgentId;
use strongroom_transfer::PublicKey;
use strongroom_wire::session::Consent;
use uuid::Uuid;

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
    /// Why it is not served until an operator decides.
    pub contest: Option<Contest>,
    /// When its join token was redeemed.
    pub enrolled_at: Timestamp,
    /// Its last sign of life.
    pub last_seen: Option<Timestamp>,
    /// What it last said of itself.
    pub facts: AgentFacts,
    /// When it last allowed something else than before, or named other connections.
    pub told_at: Option<Timestamp>,
}

impl Agent {
    /// Whether it belongs to the fleet. A contested agent does: what it has to
    /// do waits for it.
    pub fn is_active(&self) -> bool {
        self.state == AgentState::Active
    }
}

/// More than one seem to hold an agent's identity. None of them is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contest {
    /// Since when.
    pub at: Timestamp,
    /// What gave them away.
    pub sign: ContestSign,
    /// Who they are, as far as one can tell; those that were here first come
    /// first.
    pub holders: Vec<Holder>,
}

impl Contest {
    /// The certificates that its holders show, each once.
    pub fn serials(&self) -> BTreeSet<&str> {
        self.holders.iter().map(|it| &*it.serial).collect()
    }
}

/// How two holders of one identity came to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContestSign {
    /// Two sessions, and the agent of the first was still there.
    TwoSessions,
    /// A certificate was used that a renewed one had replaced.
    EndedCertificate,
    /// Certificate upon certificate was signed, and none of them used.
    UnusedRenewals,
}

impl fmt::Display for ContestSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TwoSessions => "two sessions at once under its certificate",
            Self::EndedCertificate => "a certificate was used after its successor",
            Self::UnusedRenewals => "certificates were renewed again and again, and not used",
        })
    }
}

/// One that shows an agent's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// From where.
    pub address: IpAddr,
    /// Of the certificate.
    pub serial: String,
    /// Its process, if it began a session.
    pub boot: Option<Uuid>,
    /// Version of its binary, as it said.
    pub version: Option<String>,
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
            contest: None,
            enrolled_at: Timestamp::UNIX_EPOCH,
            last_seen: None,
            facts: AgentFacts::default(),
            told_at: None,
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
    /// When it was first shown.
    pub first_used_at: Option<Timestamp>,
    /// Why it is refused.
    pub ended: Option<CertificateEnd>,
}

impl AgentCertificate {
    /// One that has just been signed.
    pub fn new(agent: AgentId, serial: String, issued_at: Timestamp, not_after: Timestamp) -> Self {
        Self {
            serial,
            agent,
            issued_at,
            not_after,
            first_used_at: None,
            ended: None,
        }
    }
}

/// Why a certificate is refused before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CertificateEnd {
    /// Since when.
    pub at: Timestamp,
    /// An operator trusts another one; else a renewed one was used.
    pub by_operator: bool,
}
