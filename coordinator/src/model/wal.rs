//! The write-ahead log in the stores, as the catalog sums it up.

use std::fmt;

use jiff::Timestamp;
use strongroom_layout::{
    ObjectName, SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_spec::Leg;
use strongroom_wire::wal::{RestorePoint, WalPosition};

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
    /// It had begun by then.
    pub begun: Timestamp,
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
    /// On which of the cluster's lines.
    pub line: u32,
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
    /// Which of its lines: a dataset's log begins another when it holds other
    /// content at the same place.
    pub line: u32,
}

/// The last line of a dataset's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalLine {
    /// Which.
    pub archive: WalArchive,
    /// It has ended, and nothing has begun another yet.
    pub broken: Option<WalBreak>,
}

/// Where a line ended for a dataset; for others it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalBreak {
    /// Which.
    pub line: u32,
    /// Which one it goes on with, once there is a base backup.
    pub next: u32,
    /// Whose log contradicts what is archived.
    pub dataset: DatasetName,
    /// When it was found.
    pub at: Timestamp,
    /// On which timeline.
    pub timeline: TimelineId,
    /// The place that holds two things, or behind which it does.
    pub lsn: Lsn,
    /// What differs, for people.
    pub cause: String,
}

impl fmt::Display for WalBreak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; so this log ended at {} of timeline {}, on {}, and nothing more of it is archived \
             until there is a new base backup of the cluster: run its policy. What is archived \
             stays, and can be restored",
            self.cause, self.lsn, self.timeline, self.at
        )
    }
}

/// The same place in a log with other content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalConflict {
    /// Whose log.
    pub system: SystemId,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Where.
    pub lsn: Lsn,
    /// What differs, for people.
    pub cause: String,
    /// What holds the other content.
    pub refused: Option<ObjectName>,
}
