//! Objects whose PUT was granted.

use jiff::Timestamp;
use strongroom_layout::{AttemptRef, ObjectName};

/// An object of a repository, as the catalog knows it from its grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// The repository's name.
    pub repository: String,
    /// Kind and id. For packs the kind is the one named first.
    pub name: ObjectName,
    /// Bytes.
    pub length: u64,
    /// The attempt that first wrote it.
    pub attempt: AttemptRef,
    /// When its PUT was last granted to that attempt.
    pub granted_at: Timestamp,
}
