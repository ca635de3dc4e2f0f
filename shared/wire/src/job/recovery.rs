//! Where a physical backup stands in its cluster's log, and how far a restored
//! cluster replays that log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::{
    SystemId,
    position::{Lsn, SegmentSize, TimelineId},
};
use strongroom_proto::v1;

use crate::{
    InvalidMessage,
    field::{Reader, all, into_all},
};

/// Where in a cluster's log a physical backup stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPoint {
    /// Whose log.
    pub system: SystemId,
    /// Which history.
    pub timeline: TimelineId,
    /// Replay begins there.
    pub start: Lsn,
    /// And must reach this.
    pub stop: Lsn,
    /// Bytes of a segment.
    pub segment: SegmentSize,
    /// The server's major version.
    pub major: u32,
    /// When the backup ended.
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
#[serde(rename_all = "kebab-case")]
pub enum RecoveryTarget {
    /// At the end of the archived log.
    Latest,
    /// Behind the last commit at or before this moment.
    Time(Timestamp),
    /// Behind the last commit that ends at this position or before it.
    Lsn(Lsn),
    /// Behind this transaction's commit.
    Xid(u32),
    /// At what `pg_create_restore_point` named so.
    RestorePoint(String),
}

pub(crate) fn time(
    read: Reader,
    field: &'static str,
    microseconds: i64,
) -> Result<Timestamp, InvalidMessage> {
    Timestamp::from_microsecond(microseconds)
        .map_err(|_| read.invalid(field, format!("has impossible value {microseconds}")))
}

pub(crate) fn timeline(
    read: Reader,
    field: &'static str,
    number: u32,
) -> Result<TimelineId, InvalidMessage> {
    if number == 0 {
        return Err(read.invalid(field, "is 0; timelines count from 1"));
    }
    Ok(TimelineId(number))
}

impl TryFrom<v1::ClusterPoint> for ClusterPoint {
    type Error = InvalidMessage;

    fn try_from(value: v1::ClusterPoint) -> Result<Self, InvalidMessage> {
        let read = Reader("ClusterPoint");
        let segment = SegmentSize::new(value.segment_bytes)
            .ok_or_else(|| read.invalid("segment_bytes", "is no size of segments"))?;
        if value.start > value.stop {
            return Err(read.invalid("start", "is behind stop"));
        }
        Ok(Self {
            system: SystemId(value.system),
            timeline: timeline(read, "timeline", value.timeline)?,
            start: Lsn(value.start),
            stop: Lsn(value.stop),
            segment,
            major: value.major,
            ended: time(read, "ended_us", value.ended_us)?,
        })
    }
}

impl From<ClusterPoint> for v1::ClusterPoint {
    fn from(value: ClusterPoint) -> Self {
        Self {
            system: value.system.0,
            timeline: value.timeline.0,
            start: value.start.0,
            stop: value.stop.0,
            segment_bytes: value.segment.into(),
            major: value.major,
            ended_us: value.ended.as_microsecond(),
        }
    }
}

impl TryFrom<v1::Leg> for Leg {
    type Error = InvalidMessage;

    fn try_from(value: v1::Leg) -> Result<Self, InvalidMessage> {
        Ok(Self {
            timeline: timeline(Reader("Leg"), "timeline", value.timeline)?,
            until: (value.until > 0).then_some(Lsn(value.until)),
        })
    }
}

impl From<Leg> for v1::Leg {
    fn from(value: Leg) -> Self {
        Self {
            timeline: value.timeline.0,
            until: value.until.map_or(0, |lsn| lsn.0),
        }
    }
}

impl TryFrom<v1::Recovery> for Recovery {
    type Error = InvalidMessage;

    fn try_from(value: v1::Recovery) -> Result<Self, InvalidMessage> {
        use v1::recovery::Target;
        let read = Reader("Recovery");
        let legs: Vec<Leg> = all(value.legs)?;
        let ascending = legs
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.timeline < b.timeline && a.until.is_some()));
        if !ascending || legs.last().is_none_or(|last| last.until.is_some()) {
            return Err(read.invalid("legs", "do not lead from one timeline to the last"));
        }
        Ok(Self {
            system: SystemId(value.system),
            legs,
            end: Lsn(value.end),
            target: match read.required("target", value.target)? {
                Target::Latest(_) => RecoveryTarget::Latest,
                Target::TimeUs(us) => RecoveryTarget::Time(time(read, "time_us", us)?),
                Target::Lsn(lsn) => RecoveryTarget::Lsn(Lsn(lsn)),
                Target::Xid(xid) => RecoveryTarget::Xid(xid),
                Target::RestorePoint(name) => {
                    RecoveryTarget::RestorePoint(read.text("restore_point", name)?)
                }
            },
            line: value.line,
            new_timeline: (value.new_timeline > 0).then_some(TimelineId(value.new_timeline)),
        })
    }
}

impl From<Recovery> for v1::Recovery {
    fn from(value: Recovery) -> Self {
        use v1::recovery::Target;
        Self {
            system: value.system.0,
            legs: into_all(value.legs),
            end: value.end.0,
            target: Some(match value.target {
                RecoveryTarget::Latest => Target::Latest(true),
                RecoveryTarget::Time(at) => Target::TimeUs(at.as_microsecond()),
                RecoveryTarget::Lsn(lsn) => Target::Lsn(lsn.0),
                RecoveryTarget::Xid(xid) => Target::Xid(xid),
                RecoveryTarget::RestorePoint(name) => Target::RestorePoint(name),
            }),
            line: value.line,
            new_timeline: value.new_timeline.map_or(0, |timeline| timeline.0),
        }
    }
}
