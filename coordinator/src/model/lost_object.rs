//! Objects that a store had and has lost.

use std::collections::HashSet;

use jiff::Timestamp;
use strongroom_layout::{ObjectId, ObjectKind};

/// An object that a store had and has no more, or not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostObject {
    /// Below the repository's prefix.
    pub path: String,
    /// What it was for.
    pub kind: ObjectKind,
    /// Bytes, as it was written.
    pub length: u64,
    /// Bytes that the store holds; `None`: it is not there.
    pub found: Option<u64>,
    /// When its PUT was granted.
    pub granted_at: Timestamp,
    /// When the coordinator noticed it.
    pub noticed_at: Timestamp,
    /// When an operator said that it is no alarm any more.
    pub accepted_at: Option<Timestamp>,
}

/// What a comparison of a repository's store with the catalog found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Objects that were written and are not there, or have another length. No
    /// more than are noted.
    pub lost: Vec<LostObject>,
    /// How many there are in all.
    pub lost_count: u64,
    /// All parts of the log among them.
    pub lost_log: HashSet<ObjectId>,
    /// The parts of the log that are there.
    pub found_log: HashSet<ObjectId>,
}

/// The losses of a repository that no operator has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossAlarm {
    /// Of which repository.
    pub repository: String,
    /// Objects.
    pub objects: u64,
    /// Snapshots among them.
    pub snapshots: u64,
    /// When the first was noticed.
    pub since: Timestamp,
}
