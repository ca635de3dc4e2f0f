//! The write-ahead log at the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use strongroom_layout::{
    SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_proto::v1;
use strongroom_spec::Leg;

use super::bounds::{bound_commits, bound_position};
use super::{
    ArchivedWalRequest, ArchivedWalResponse, Commits, MAX_DETAILS, MAX_DIGESTS, MAX_POINTS,
    MAX_RESTORE_POINT, MAX_STORED, RecordWalRequest, RestorePoint, StoredHistory, StoredWal,
    WalBehind, WalDigest, WalPosition, WalRange,
};
use crate::{
    InvalidMessage,
    field::{Reader, all, attempt_to_wire, into_all},
};

impl TryFrom<v1::RecordWalRequest> for RecordWalRequest {
    type Error = InvalidMessage;

    fn try_from(value: v1::RecordWalRequest) -> Result<Self, InvalidMessage> {
        let read = Reader("RecordWalRequest");
        read.at_most("stored", MAX_STORED, &value.stored)?;
        read.at_most("histories", MAX_STORED, &value.histories)?;
        let points = value.stored.iter().map(|it| it.restore_points.len());
        let legs = value.histories.iter().map(|it| it.legs.len());
        let details: usize = points.map(|it| it.min(MAX_POINTS)).chain(legs).sum();
        if details > MAX_DETAILS {
            let problem = format!(
                "has {details} restore points and legs, at most {MAX_DETAILS} are allowed: enter \
                 it in several calls"
            );
            return Err(read.invalid("stored", problem));
        }
        Ok(Self {
            attempt: read.attempt("attempt", value.attempt)?,
            stored: all(value.stored)?,
            histories: all(value.histories)?,
            position: value.position.map(TryInto::try_into).transpose()?,
            behind: value.behind.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<RecordWalRequest> for v1::RecordWalRequest {
    fn from(value: RecordWalRequest) -> Self {
        Self {
            attempt: Some(attempt_to_wire(value.attempt)),
            stored: into_all(value.stored),
            histories: into_all(value.histories),
            position: value.position.map(Into::into),
            behind: value.behind.map(Into::into),
        }
    }
}

impl TryFrom<v1::WalBehind> for WalBehind {
    type Error = InvalidMessage;

    fn try_from(value: v1::WalBehind) -> Result<Self, InvalidMessage> {
        let read = Reader("WalBehind");
        if value.flushed >= value.archived {
            return Err(read.invalid("flushed", "is not behind what is archived"));
        }
        Ok(Self {
            system: SystemId(value.system),
            timeline: read.timeline("timeline", value.timeline)?,
            flushed: Lsn(value.flushed),
            archived: Lsn(value.archived),
        })
    }
}

impl From<WalBehind> for v1::WalBehind {
    fn from(value: WalBehind) -> Self {
        Self {
            system: value.system.0,
            timeline: value.timeline.0,
            flushed: value.flushed.0,
            archived: value.archived.0,
        }
    }
}

impl TryFrom<v1::WalDigest> for WalDigest {
    type Error = InvalidMessage;

    fn try_from(value: v1::WalDigest) -> Result<Self, InvalidMessage> {
        Ok(Self {
            at: Lsn(value.at),
            digest: Reader("WalDigest").hash("digest", &value.digest)?,
        })
    }
}

impl From<WalDigest> for v1::WalDigest {
    fn from(value: WalDigest) -> Self {
        Self {
            at: value.at.0,
            digest: value.digest.0.to_vec(),
        }
    }
}

impl TryFrom<v1::StoredWal> for StoredWal {
    type Error = InvalidMessage;

    fn try_from(value: v1::StoredWal) -> Result<Self, InvalidMessage> {
        let read = Reader("StoredWal");
        let place = read.required("place", value.place)?;
        if place.start >= place.end {
            return Err(read.invalid("place", "holds no byte"));
        }
        let commits = if value.commits == 0 {
            None
        } else {
            let mut commits = Commits {
                count: value.commits,
                last: read.time("last_commit_us", value.last_commit_us)?,
                first_xid: value.first_xid,
                last_xid: value.last_xid,
            };
            bound_commits(&mut commits);
            Some(commits)
        };
        let restore_points: Vec<RestorePoint> = all(first(value.restore_points))?;
        // A point's position is the end of its record.
        let lies_here =
            |point: &RestorePoint| place.start < point.lsn.0 && point.lsn.0 <= place.end;
        if !restore_points.iter().all(lies_here) {
            return Err(read.invalid("restore_points", "has one that does not lie in the part"));
        }
        Ok(Self {
            system: SystemId(place.system),
            timeline: read.timeline("place", place.timeline)?,
            start: Lsn(place.start),
            end: Lsn(place.end),
            id: read.hash("id", &value.id)?,
            length: value.length,
            commits,
            restore_points,
            digests: digests(read, value.digests)?,
        })
    }
}

impl From<StoredWal> for v1::StoredWal {
    fn from(value: StoredWal) -> Self {
        let commits = value.commits;
        Self {
            place: Some(v1::WalPlace {
                system: value.system.0,
                timeline: value.timeline.0,
                start: value.start.0,
                end: value.end.0,
            }),
            id: value.id.0.to_vec(),
            length: value.length,
            commits: commits.map_or(0, |it| it.count),
            last_commit_us: commits.map_or(0, |it| it.last.as_microsecond()),
            first_xid: commits.map_or(0, |it| it.first_xid),
            last_xid: commits.map_or(0, |it| it.last_xid),
            restore_points: into_all(value.restore_points),
            digests: into_all(value.digests),
        }
    }
}

fn digests(read: Reader, digests: Vec<v1::WalDigest>) -> Result<Vec<WalDigest>, InvalidMessage> {
    read.at_most("digests", MAX_DIGESTS, &digests)?;
    all(digests)
}

/// Whoever does not find his restore point among the first of a part reads the log.
fn first<T>(mut points: Vec<T>) -> Vec<T> {
    points.truncate(MAX_POINTS);
    points
}

impl TryFrom<v1::RestorePoint> for RestorePoint {
    type Error = InvalidMessage;

    fn try_from(value: v1::RestorePoint) -> Result<Self, InvalidMessage> {
        let read = Reader("RestorePoint");
        if value.name.len() > MAX_RESTORE_POINT {
            return Err(read.invalid("name", "is longer than PostgreSQL takes"));
        }
        Ok(Self {
            name: read.text("name", value.name)?,
            lsn: Lsn(value.lsn),
            at: read.time("at_us", value.at_us)?,
        })
    }
}

impl From<RestorePoint> for v1::RestorePoint {
    fn from(value: RestorePoint) -> Self {
        Self {
            name: value.name,
            lsn: value.lsn.0,
            at_us: value.at.as_microsecond(),
        }
    }
}

impl TryFrom<v1::StoredHistory> for StoredHistory {
    type Error = InvalidMessage;

    fn try_from(value: v1::StoredHistory) -> Result<Self, InvalidMessage> {
        let read = Reader("StoredHistory");
        read.at_most("legs", MAX_STORED, &value.legs)?;
        Ok(Self {
            system: SystemId(value.system),
            timeline: read.timeline("timeline", value.timeline)?,
            id: read.hash("id", &value.id)?,
            length: value.length,
            legs: value.legs.iter().map(leg).collect::<Result<_, _>>()?,
            digest: match &value.digest[..] {
                [] => None,
                digest => Some(read.hash("digest", digest)?),
            },
        })
    }
}

impl From<StoredHistory> for v1::StoredHistory {
    fn from(value: StoredHistory) -> Self {
        Self {
            system: value.system.0,
            timeline: value.timeline.0,
            id: value.id.0.to_vec(),
            length: value.length,
            legs: value.legs.iter().map(leg_to_wire).collect(),
            digest: value
                .digest
                .map_or_else(Vec::new, |digest| digest.0.to_vec()),
        }
    }
}

impl TryFrom<v1::WalPosition> for WalPosition {
    type Error = InvalidMessage;

    fn try_from(value: v1::WalPosition) -> Result<Self, InvalidMessage> {
        let read = Reader("WalPosition");
        let mut position = Self {
            system: SystemId(value.system),
            timeline: read.timeline("timeline", value.timeline)?,
            lsn: Lsn(value.lsn),
            as_of: match value.as_of_us {
                0 => None,
                us => Some(read.time("as_of_us", us)?),
            },
            waiting: value.waiting_bytes,
            problem: (!value.problem.is_empty()).then_some(value.problem),
        };
        bound_position(&mut position);
        Ok(position)
    }
}

impl From<WalPosition> for v1::WalPosition {
    fn from(value: WalPosition) -> Self {
        Self {
            system: value.system.0,
            timeline: value.timeline.0,
            lsn: value.lsn.0,
            as_of_us: value.as_of.map_or(0, Timestamp::as_microsecond),
            waiting_bytes: value.waiting,
            problem: value.problem.unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::ArchivedWalRequest> for ArchivedWalRequest {
    type Error = InvalidMessage;

    fn try_from(value: v1::ArchivedWalRequest) -> Result<Self, InvalidMessage> {
        let parts = (value.timeline > 0).then_some(WalRange {
            timeline: TimelineId(value.timeline),
            from: Lsn(value.from),
            to: (value.to > 0).then_some(Lsn(value.to)),
        });
        Ok(Self {
            attempt: Reader("ArchivedWalRequest").attempt("attempt", value.attempt)?,
            system: SystemId(value.system),
            parts,
            line: value.line,
        })
    }
}

impl From<ArchivedWalRequest> for v1::ArchivedWalRequest {
    fn from(value: ArchivedWalRequest) -> Self {
        let to = value.parts.and_then(|parts| parts.to);
        Self {
            attempt: Some(attempt_to_wire(value.attempt)),
            system: value.system.0,
            timeline: value.parts.map_or(0, |parts| parts.timeline.0),
            from: value.parts.map_or(0, |parts| parts.from.0),
            to: to.map_or(0, |lsn| lsn.0),
            line: value.line,
        }
    }
}

impl TryFrom<v1::ArchivedWalResponse> for ArchivedWalResponse {
    type Error = InvalidMessage;

    fn try_from(value: v1::ArchivedWalResponse) -> Result<Self, InvalidMessage> {
        let read = Reader("ArchivedWalResponse");
        let mut tails = BTreeMap::new();
        // An earlier version says only one.
        if value.tail_timeline > 0 {
            tails.insert(TimelineId(value.tail_timeline), Lsn(value.tail_lsn));
        }
        for tail in value.tails {
            tails.insert(read.timeline("tails", tail.timeline)?, Lsn(tail.lsn));
        }
        Ok(Self {
            stored: all(value.stored)?,
            more: value.more,
            histories: all(value.histories)?,
            tails,
        })
    }
}

impl From<ArchivedWalResponse> for v1::ArchivedWalResponse {
    fn from(value: ArchivedWalResponse) -> Self {
        let newest = value.tails.last_key_value();
        let (newest, end) = newest.map_or((0, 0), |(timeline, end)| (timeline.0, end.0));
        let tails = value.tails.iter().map(|(timeline, end)| v1::WalTail {
            timeline: timeline.0,
            lsn: end.0,
        });
        Self {
            tails: tails.collect(),
            stored: into_all(value.stored),
            more: value.more,
            histories: into_all(value.histories),
            tail_timeline: newest,
            tail_lsn: end,
        }
    }
}

fn leg(value: &v1::Leg) -> Result<Leg, InvalidMessage> {
    Ok(Leg {
        timeline: Reader("Leg").timeline("timeline", value.timeline)?,
        until: (value.until > 0).then_some(Lsn(value.until)),
    })
}

fn leg_to_wire(value: &Leg) -> v1::Leg {
    v1::Leg {
        timeline: value.timeline.0,
        until: value.until.map_or(0, |lsn| lsn.0),
    }
}
