//! How far clusters can be rolled forward: recovery windows, and what a restore
//! to a moment needs. Pure, but for [`load`].
//!
//! A base backup stands somewhere on a timeline. What was archived behind it,
//! without a gap, can be replayed on top of it: on its own timeline, and on
//! those that came out of it by a promotion ([`route`]). Bases that lead to the
//! same end make a *window* ([`windows`]); between two windows lies a gap.
//!
//! Which timeline is followed: the newest that the archived log leads onto,
//! unless the operator names one. So after a failover a restore ends where the
//! promoted server is, and not where the old primary went on by itself. A moment
//! before that timeline began is looked for on the one that was written then, and
//! what the newest does not lead to, on all others: so every moment of a window is
//! there as it was, also when a recovery has left its timeline behind.

mod choose;
mod load;
mod route;
mod windows;

use jiff::Timestamp;
use strongroom_layout::{ObjectId, SystemId};
use strongroom_spec::ClusterPoint;
use strongroom_wire::wal::WalPosition;

use crate::model::{DatasetName, WalBreak, WalHistory, WalStretch};

pub use choose::{Chosen, Target, Unreachable, choose};
pub use load::{Clusters, load};
pub use windows::{Window, windows};

/// A base backup: where replay may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its snapshot.
    pub snapshot: ObjectId,
    /// When that was taken.
    pub taken: Timestamp,
    /// Where it stands in the log.
    pub point: ClusterPoint,
}

/// All that is known of one cluster in one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// For whom.
    pub dataset: DatasetName,
    /// Which.
    pub system: SystemId,
    /// The repository's name.
    pub repository: String,
    /// Which line of the cluster's log.
    pub line: u32,
    /// Where that line ended, if it did.
    pub broken: Option<WalBreak>,
    /// Oldest first.
    pub bases: Vec<Base>,
    /// What is archived without a gap.
    pub stretches: Vec<WalStretch>,
    /// What timelines came from.
    pub histories: Vec<WalHistory>,
    /// How far the log is known, by its agent's last word.
    pub position: Option<WalPosition>,
    /// The last commits before the ends of stretches, and before the places at which
    /// timelines were left in them: the stretch up to there.
    pub last_commits: Vec<(WalStretch, Timestamp)>,
}

#[cfg(test)]
mod tests;
