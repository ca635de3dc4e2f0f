//! Uploads and downloads.

use jiff::Timestamp;
use strongroom_layout::{AgentId, JobId};
use strongroom_spec::UploadSpec;
use uuid::Uuid;

use super::Actor;

/// Pieces on their way between an operator and an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// A download has its job's.
    pub id: Uuid,
    /// Where the pieces lie.
    pub repository: String,
    /// Who writes or reads them at the other end.
    pub agent: AgentId,
    /// `None` while an upload's pieces still come.
    pub job: Option<JobId>,
    /// The only one who may fetch or send them.
    pub requested_by: Actor,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Since when its pieces are of no use any more.
    pub ended_at: Option<Timestamp>,
    /// Of an upload: what its job does; the manifest is not known before all
    /// pieces are there.
    pub upload: Option<UploadSpec>,
}
