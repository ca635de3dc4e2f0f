//! Sessions of agents with coordinators, and how far attempts are.

use jiff::Timestamp;
use strongroom_layout::AgentId;
use strongroom_wire::session::Progress;
use uuid::Uuid;

/// A session of an agent with a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub agent: AgentId,
    /// Its own id.
    pub id: Uuid,
    /// The agent's process.
    pub boot: Uuid,
    /// When it began.
    pub since: Timestamp,
}

/// A session with another coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionElsewhere {
    /// The session.
    pub session: Session,
    /// The other coordinator's process.
    pub instance: Uuid,
    /// That coordinator's last sign of life. A session that is not heard of ends, so that
    /// this is true of the agent to within three heartbeats.
    pub heard_at: Timestamp,
}

/// How far an attempt was.
#[derive(Debug, Clone, PartialEq)]
pub struct NotedProgress {
    /// When its agent said so.
    pub at: Timestamp,
    /// What it said.
    pub progress: Progress,
}
