//! Agents and invitations.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agents {
    /// The last enrolled first.
    pub agents: Vec<Agent>,
    /// `before` of the next page; `null` at the end.
    #[serde(default)]
    pub next_before: Option<String>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// UUID, as in its certificate.
    pub id: String,
    /// What operators call it.
    pub name: String,
    /// What policies select by.
    pub labels: BTreeMap<String, String>,
    /// Connected, away, contested or revoked.
    pub state: AgentState,
    /// Why it is not served until an operator decides.
    #[serde(default)]
    pub contest: Option<Contest>,
    /// The host's own name.
    pub hostname: Option<String>,
    /// `linux`.
    pub os: Option<String>,
    /// `x86_64`, `aarch64`.
    pub architecture: Option<String>,
    /// Version of the agent's binary.
    pub version: Option<String>,
    /// When it enrolled.
    #[schema(value_type = String, format = DateTime)]
    pub enrolled_at: Timestamp,
    /// Its last sign of life.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen_at: Option<Timestamp>,
    /// How many seconds its clock is ahead of the coordinator's (below 0: behind);
    /// known while it is connected.
    #[serde(default)]
    pub clock_skew_seconds: Option<i64>,
    /// End of its current certificate.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub certificate_expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// What its own configuration allows; known once it has connected.
    pub consent: Option<Consent>,
    /// What it last found at the connections of its `agent.toml`; in a list of
    /// agents empty.
    #[serde(default)]
    pub connections: Vec<Connection>,
}

/// More than one hold an agent's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contest {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What gave them away.
    pub sign: String,
    /// Who they are; those that were here first come first.
    pub holders: Vec<Holder>,
}

/// One that shows an agent's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holder {
    /// From where.
    pub address: String,
    /// Serial number of the certificate, hex.
    pub serial: String,
    /// UUID of its process, if it began a session.
    pub boot: Option<String>,
    /// Version of its binary, as it said.
    pub version: Option<String>,
}

/// Trusts a contested agent again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustRequest {
    /// The one certificate that is good; needed when the holders show
    /// different ones.
    #[serde(default)]
    pub serial: Option<String>,
}

/// Changes an agent's labels; those that are not named stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelRequest {
    /// Labels with their new values.
    #[serde(default)]
    #[schema(value_type = super::Labels)]
    pub set: BTreeMap<String, String>,
    /// Keys of labels that go; it must have them.
    #[serde(default)]
    pub remove: BTreeSet<String>,
    /// A policy that archives a log may let go of the agent.
    #[serde(default)]
    pub confirmed: bool,
}

/// A connection of an agent's `agent.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// `postgres` or `redis`.
    pub kind: String,
    /// What policies call it.
    pub name: String,
    /// Whether restores into it are allowed.
    pub restore: bool,
    /// When the agent looked.
    #[schema(value_type = String, format = DateTime)]
    pub checked_at: Timestamp,
    /// What answers there.
    pub server: Option<Server>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// A database server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Server {
    /// `PostgreSQL`, `Redis`, `Valkey`.
    pub product: String,
    /// As it calls itself.
    pub version: String,
    /// `primary`, `standby` or `replica`.
    pub role: String,
    /// What it holds.
    pub databases: Vec<Database>,
    /// What else is worth knowing.
    pub facts: Vec<Fact>,
}

/// A database of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Database {
    /// Of a Redis server its number.
    pub name: String,
    /// Its size, when known.
    pub bytes: Option<u64>,
    /// Keys of a Redis database.
    pub keys: Option<u64>,
    /// Of PostgreSQL: it allows no connections, and cannot be dumped.
    #[serde(default)]
    pub closed: bool,
}

/// Something worth knowing about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fact {
    /// Like `wal_level`.
    pub name: String,
    /// Like `replica`.
    pub value: String,
}

/// Where an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AgentState {
    /// A session is open.
    Connected,
    /// No session is open.
    Away,
    /// More than one hold its identity: none of them is served.
    Contested,
    /// Must not come back.
    Revoked,
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connected => "connected",
            Self::Away => "away",
            Self::Contested => "contested",
            Self::Revoked => "revoked",
        })
    }
}

/// What `agent.toml` on the host allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Consent {
    /// Source kinds.
    pub sources: Vec<String>,
    /// Path prefixes that may be read.
    pub read_paths: Vec<String>,
    /// Path prefixes that may be restored into.
    pub restore_paths: Vec<String>,
    /// Names of commands.
    pub commands: Vec<String>,
}

/// Asks for a join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// The agent's name; default: its hostname.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: Option<String>,
    /// The agent's labels.
    #[serde(default)]
    #[schema(value_type = super::Labels)]
    pub labels: BTreeMap<String, String>,
    /// How long the token may be used; default: one hour.
    #[serde(default = "default_ttl")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub ttl_seconds: u64,
}

fn default_ttl() -> u64 {
    3_600
}

/// A join token, shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// Public half of the token, as the audit log names it.
    pub token_id: String,
    /// For `strongroom-agent enroll --token`; good for one agent.
    pub token: String,
    /// For `strongroom-agent enroll --coordinator`.
    pub coordinator: String,
    /// SHA-256 of the CA's certificate; part of the token.
    pub ca_fingerprint: String,
    /// The agent's name, when given.
    pub name: Option<String>,
    /// There is an agent of that name, and the host that enrols takes its place:
    /// its id. It keeps what it has, but for its certificates, which end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The agent's labels.
    pub labels: BTreeMap<String, String>,
    /// When the token ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// What has become of an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationStatus {
    /// Public half of its token.
    pub token_id: String,
    /// Where it stands.
    pub state: InvitationState,
    /// The agent that used it: UUID.
    pub agent: Option<String>,
    /// The agent's name, when given.
    pub name: Option<String>,
    /// The agent's labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its token ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Where an invitation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InvitationState {
    /// It may be used.
    Open,
    /// An agent has used it.
    Used,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("token_id", &self.token_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
