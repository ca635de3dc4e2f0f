//! The write-ahead log in the stores, as the catalog sums it up.

use jiff::Timestamp;
use strongroom_layout::{
    SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_wire::{
    job::Leg,
    wal::{RestorePoint, WalPosition},
};

use super::DatasetName;

/// A part of a timeline that is in the store without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalStretch {
    /// Which history.
    pub timeline: TimelineId,
    /// The first byte.
    pub start: Lsn,
    /// Behind the last byte.
    pub end: Lsn,
}

/// What a timeline came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalHistory {
    /// Which.
    pub timeline: TimelineId,
    /// The timelines before it, oldest first, each with where it was left.
    pub legs: Vec<Leg>,
}

/// A restore point on its timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRestorePoint {
    /// On which.
    pub timeline: TimelineId,
    /// Its name, place and time.
    pub point: RestorePoint,
}

/// How far a dataset's log is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalProgress {
    /// Of which dataset.
    pub dataset: DatasetName,
    /// Where its log lies.
    pub repository: String,
    /// By its agent's last word.
    pub position: WalPosition,
    /// When that was said.
    pub reported_at: Timestamp,
}

/// Whose log, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WalArchive {
    /// The repository's name.
    pub repository: String,
    /// The cluster.
    pub system: SystemId,
}
