//! Snapshots.

use jiff::Timestamp;
use serde::Serialize;
use strongroom_layout::{AgentId, AttemptRef, ObjectId};
use strongroom_spec::BackupOutcome;

use super::DatasetName;

/// One finished backup of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its id in the repository.
    pub id: ObjectId,
    /// `policy@agent`.
    pub dataset: DatasetName,
    /// Where it lies.
    pub repository: String,
    /// Who took it.
    pub agent: AgentId,
    /// The attempt that wrote it.
    pub attempt: AttemptRef,
    /// The time in the snapshot file.
    pub time: Timestamp,
    /// Its figures.
    pub result: BackupOutcome,
    /// How many paths could not be treated as asked.
    pub warning_count: u64,
    /// Kept whatever retention says.
    pub pinned: bool,
    /// Since when its file is known to be gone from the store.
    pub lost_at: Option<Timestamp>,
}
