//! The session: what agent and coordinator tell each other over the stream.

pub(crate) mod bounds;
mod convert;
mod inventory;

use jiff::Timestamp;
use strongroom_layout::AttemptRef;
use strongroom_transfer::PublicKey;
use uuid::Uuid;

pub use inventory::{Connection, Database, Fact, MAX_CONNECTIONS, Server};

use crate::job::{JobOffer, Report};

/// Agent to coordinator.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentMessage {
    /// First message of a session.
    Hello(AgentHello),
    /// Every `heartbeat_seconds`; renews the leases of the attempts it names.
    Heartbeat(Heartbeat),
    /// The offered job has begun.
    JobAccepted(AttemptRef),
    /// An attempt has ended.
    Report(Report),
    /// What the agent finds at its connections.
    Inventory(Vec<Connection>),
}

/// Coordinator to agent.
#[derive(Debug, Clone, PartialEq)]
pub enum CoordinatorMessage {
    /// First message of a session.
    Hello(CoordinatorHello),
    /// Work.
    JobOffer(Box<JobOffer>),
    /// Stop an attempt.
    CancelJob {
        /// Which.
        attempt: AttemptRef,
        /// For people.
        reason: String,
    },
    /// The report is in the catalog; the agent may forget it.
    ReportAck(Uuid),
    /// The attempts whose lease the heartbeat renewed; what is missing is
    /// fenced.
    HeartbeatAck(Vec<AttemptRef>),
    /// Another session of this agent has begun. Whoever holds this one says at
    /// once, by a heartbeat with this number, that it is there.
    Challenge(Uuid),
    /// The stream ends.
    Goodbye {
        /// For people.
        reason: String,
        /// `false`: the agent is revoked and must not come back.
        reconnect: bool,
    },
}

/// An agent introduces itself.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentHello {
    /// Made at each start of the agent's process.
    pub boot_id: Uuid,
    /// Version of the agent's binary.
    pub agent_version: String,
    /// See [`PROTOCOL`](crate::PROTOCOL).
    pub protocol: u32,
    /// The host's own name.
    pub hostname: String,
    /// `linux`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Attempts still at work from before a lost stream.
    pub running: Vec<AttemptRef>,
    /// Attempts whose report waits in the outbox and follows.
    pub reported: Vec<AttemptRef>,
    /// What `agent.toml` allows.
    pub consent: Consent,
    /// To which uploads are sealed; older agents have none.
    pub transfer_key: Option<PublicKey>,
    /// Whether it answers a [`CoordinatorMessage::Challenge`]; older agents do
    /// not.
    pub answers_challenges: bool,
    /// What its clock said; older agents do not tell.
    pub clock: Option<Timestamp>,
}

/// What `agent.toml` allows, for the operators' eyes; the agent enforces it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Consent {
    /// Source kinds: `files`, `command`, `postgres`, `redis`.
    pub sources: Vec<String>,
    /// Path prefixes that may be read.
    pub read_paths: Vec<String>,
    /// Path prefixes that may be restored into.
    pub restore_paths: Vec<String>,
    /// Names of commands.
    pub commands: Vec<String>,
}

/// The coordinator's answer to [`AgentHello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorHello {
    /// For logs and traces.
    pub session_id: Uuid,
    /// Version of the coordinator's binary.
    pub coordinator_version: String,
    /// See [`PROTOCOL`](crate::PROTOCOL).
    pub protocol: u32,
    /// How often to send a heartbeat.
    pub heartbeat_seconds: u32,
    /// How long a lease lasts without one.
    pub lease_seconds: u32,
    /// Attempts named in [`AgentHello::running`] whose lease is lost.
    pub fenced: Vec<AttemptRef>,
}

/// A sign of life with the progress of what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// One per running attempt.
    pub running: Vec<Progress>,
    /// The agent's resident memory.
    pub resident_bytes: u64,
    /// The challenge that it answers.
    pub challenge: Option<Uuid>,
    /// The agent stops: nothing more is to be offered to it.
    pub leaving: bool,
    /// What the agent's clock said; older agents do not tell.
    pub clock: Option<Timestamp>,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Which attempt.
    pub attempt: AttemptRef,
    /// `opening`, `backing up`, `restoring`, ….
    pub stage: String,
    /// Entries done.
    pub files: u64,
    /// Source bytes done.
    pub bytes: u64,
    /// `None` while not known.
    pub total_files: Option<u64>,
    /// `None` while not known.
    pub total_bytes: Option<u64>,
    /// Bytes uploaded (backup) or fetched (restore).
    pub bytes_stored: u64,
    /// Warnings so far.
    pub warnings: u64,
}
