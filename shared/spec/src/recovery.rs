//! Where a physical backup stands in its cluster's log, and how far a restored
//! cluster replays that log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::{
    SystemId,
    position::{Lsn, SegmentSize, TimelineId},
};

use crate::{Invalid, named};

/// Where in a cluster's log a physical backup stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ClusterPoint {
    /// Whose log.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub system: SystemId,
    /// Which history.
    #[cfg_attr(feature = "schema", schema(value_type = u32))]
    pub timeline: TimelineId,
    /// Replay begins there.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub start: Lsn,
    /// And must reach this.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub stop: Lsn,
    /// Bytes of a segment.
    #[cfg_attr(feature = "schema", schema(value_type = u32))]
    pub segment: SegmentSize,
    /// The server's major version.
    pub major: u32,
    /// When the backup ended.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub ended: Timestamp,
}

/// How far a restored cluster replays its log, and which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Whose log.
    pub system: SystemId,
    /// The timelines to follow, oldest first; at least one.
    pub legs: Vec<Leg>,
    /// The archived log reaches so far on the last of them.
    pub end: Lsn,
    /// Where to stop.
    pub target: RecoveryTarget,
    /// Which of the cluster's lines of log.
    #[serde(default)]
    pub line: u32,
    /// The number that was reserved for the restored server's own timeline;
    /// `None`: it takes the next that it knows of.
    #[serde(default)]
    pub new_timeline: Option<TimelineId>,
}

/// A timeline on the way to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// Which.
    pub timeline: TimelineId,
    /// Where the next one leaves it; `None` for the last.
    pub until: Option<Lsn>,
}

/// Where replay stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RecoveryTarget {
    /// At the end of the archived log.
    Latest,
    /// Behind the last commit at or before this moment; of a dataset that is no
    /// cluster, its last snapshot at or before it.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    Time(Timestamp),
    /// Behind the last commit that ends at this position in the log, like
    /// `16/B374D848`, or before it.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    Lsn(Lsn),
    /// Behind this transaction's commit.
    Xid(u32),
    /// At what `pg_create_restore_point` named so.
    #[serde(alias = "name")]
    RestorePoint(String),
}

impl ClusterPoint {
    /// Whether there can be such a backup.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if self.start > self.stop {
            return Err(Invalid::new("`start` is behind `stop`"));
        }
        counted("timeline", self.timeline)
    }
}

impl Recovery {
    /// Whether its timelines lead from one to the last.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let ascending = self
            .legs
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.timeline < b.timeline && a.until.is_some()));
        if !ascending || self.legs.last().is_none_or(|last| last.until.is_some()) {
            let wrong = "`legs` do not lead from one timeline to the last";
            return Err(Invalid::new(wrong));
        }
        for leg in &self.legs {
            counted("legs", leg.timeline)?;
        }
        if let Some(timeline) = self.new_timeline {
            counted("new_timeline", timeline)?;
        }
        match &self.target {
            RecoveryTarget::RestorePoint(name) => named("restore_point", name),
            _ => Ok(()),
        }
    }
}

fn counted(what: &str, timeline: TimelineId) -> Result<(), Invalid> {
    if timeline.0 == 0 {
        return Err(Invalid::new(format!(
            "`{what}` is 0; timelines count from 1"
        )));
    }
    Ok(())
}
