//! Which log a restore takes, decided before anything is written.

use strongroom_layout::{
    ObjectName,
    position::{Lsn, SegmentName, SegmentSize, TimelineId},
};
use strongroom_postgres::physical::manifest::Manifest;
use strongroom_repository::read::ReadError;
use strongroom_spec::{Leg, Recovery, RecoveryTarget};
use strongroom_wire::wal::{StoredHistory, StoredWal, UNIT};

use super::{
    RecoveryError,
    chain::{Gap, Piece, Span, chain},
    index::{Listed, LogIndex, listed},
    overlap::{Overlap, overlaps},
    parts::Shelf,
    reach::{Answer, Extent, Known, reach, sought},
    seek::{self, layout, seek},
    segments::{Segment, segments},
};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Files that the server is given, in the log's order.
    pub(super) segments: Vec<Segment>,
    /// All of the log, of which they are made; it may go on behind them.
    pub(super) pieces: Vec<Piece>,
    /// What of it lies in other places, too.
    pub(super) overlaps: Vec<Overlap>,
    /// What its pieces are taken from.
    pub(super) stored: Vec<StoredWal>,
    /// What is listed, too, and cannot be read.
    pub(super) unread: Vec<ObjectName>,
    /// The snapshot's own segments.
    pub(super) held: Vec<SegmentName>,
    /// All that are known: a promotion must take a number that is free.
    pub(super) histories: Vec<StoredHistory>,
    /// Numbers that are others', or were kept for others, without a history in the
    /// archive: the server must take none of them.
    pub(super) taken: Vec<TimelineId>,
    pub(super) size: SegmentSize,
    /// Behind the last byte that is given.
    pub(super) upto: Lsn,
    /// Where the server is told to stop: see [`super::reach::Extent`].
    pub(super) stop: RecoveryTarget,
    /// The timeline to follow.
    pub(super) timeline: TimelineId,
}

/// What it is decided from.
pub(super) struct Asked<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) recovery: &'a Recovery,
    pub(super) index: &'a dyn LogIndex,
    pub(super) shelf: &'a Shelf,
}

impl Asked<'_> {
    /// Lists the log, looks into it where it must, and decides. What cannot be read of
    /// it is done without, if there is something else.
    pub(super) fn plan(&self) -> Result<Plan, RecoveryError> {
        self.decide(Vec::new(), None)
    }

    /// Decides once more, without a part that cannot be read: nobody was told of the
    /// plan yet.
    pub(super) fn anew(
        &self,
        plan: &Plan,
        (object, source): (ObjectName, Box<ReadError>),
    ) -> Result<Plan, RecoveryError> {
        tracing::warn!(%object, %source, "a part of the log cannot be read; looking it up again");
        if plan.unread.len() >= MOST_UNREAD || plan.unread.contains(&object) {
            return Err(RecoveryError::lacking(source));
        }
        let unread = [&plan.unread[..], &[object]].concat();
        self.decide(unread, Some(source))
    }

    fn decide(
        &self,
        mut unread: Vec<ObjectName>,
        mut lacking: Option<Box<ReadError>>,
    ) -> Result<Plan, RecoveryError> {
        loop {
            match self.without(&unread, &mut lacking) {
                Err(RecoveryError::Unread { object, source }) if unread.len() < MOST_UNREAD => {
                    tracing::warn!(%object, %source, "a part of the log cannot be read");
                    unread.push(object);
                    lacking = Some(source);
                }
                other => return other,
            }
        }
    }

    /// Decides without what was found to be unreadable, for which `lacking` is the
    /// cause that was found last.
    fn without(
        &self,
        unread: &[ObjectName],
        lacking: &mut Option<Box<ReadError>>,
    ) -> Result<Plan, RecoveryError> {
        let timeline = self.check()?;
        let Listed { stored, histories } = self.list(unread)?;
        if timeline != self.manifest.timeline && !histories.iter().any(|it| it.timeline == timeline)
        {
            return Err(RecoveryError::NoHistory(timeline));
        }
        let (recovery, legs) = (self.recovery, &self.recovery.legs[..]);
        let held = self.held();
        let (from, to) = self.range();
        let mut short = false;
        let (pieces, overlaps) = match self.pieces(&stored, &held, (from, to)) {
            // What goes on there cannot be read: it may not be needed.
            Err(RecoveryError::Gap { at, .. })
                if lacking.is_some() && self.manifest.stop_lsn <= at =>
            {
                short = true;
                self.pieces(&stored, &held, (from, at))?
            }
            Err(gap @ RecoveryError::Gap { .. }) => {
                return Err(lacking.take().map_or(gap, RecoveryError::lacking));
            }
            pieces => pieces?,
        };
        let known = Known {
            legs,
            stored: &stored,
            consistent: self.manifest.stop_lsn,
            end: pieces.last().map_or(recovery.end, |piece| piece.to),
        };
        let size = self.manifest.wal_segment_size;
        let log = seek::Log {
            stored: &stored,
            pieces: &pieces,
            legs,
            layout: layout(self.manifest.major, recovery.system, size),
        };
        let extent = extent(&recovery.target, &known, log, self.shelf);
        let extent = match (extent, lacking.take_if(|_| short)) {
            (Ok(extent), Some(_)) if lies_within(&recovery.target, &known, &extent) => extent,
            (Err(error @ RecoveryError::Unread { .. }), _) => return Err(error),
            // It ends where something cannot be read, not where the log does.
            (_, Some(source)) => return Err(RecoveryError::lacking(source)),
            (extent, None) => extent?,
        };
        Ok(Plan {
            segments: segments(&pieces, &held, legs, size, extent.upto),
            pieces,
            overlaps,
            stored,
            unread: unread.to_vec(),
            held,
            taken: taken(timeline, recovery.new_timeline, &histories),
            histories,
            size,
            upto: extent.upto,
            stop: extent.stop,
            timeline,
        })
    }

    /// The same files from what is known now, without a part that cannot be read:
    /// parts give way to others, and of several one may be forged.
    pub(super) fn again(
        &self,
        plan: &Plan,
        (timeline, at, object, source): (TimelineId, Lsn, ObjectName, Box<ReadError>),
    ) -> Result<Plan, RecoveryError> {
        tracing::warn!(%timeline, %at, %source, "a part of the log cannot be read; looking it up again");
        let lacking = || RecoveryError::Vanished {
            timeline,
            at,
            object,
            source,
        };
        if plan.unread.len() >= MOST_UNREAD || plan.unread.contains(&object) {
            return Err(lacking());
        }
        let unread = [&plan.unread[..], &[object]].concat();
        let Listed { stored, histories } = self.list(&unread)?;
        let range = (self.range().0, plan.upto);
        let (pieces, overlaps) = match self.pieces(&stored, &plan.held, range) {
            Err(RecoveryError::Gap { .. }) => return Err(lacking()),
            pieces => pieces?,
        };
        let legs = &self.recovery.legs;
        Ok(Plan {
            segments: segments(&pieces, &plan.held, legs, plan.size, plan.upto),
            pieces,
            overlaps,
            stored,
            unread,
            histories,
            ..plan.clone()
        })
    }

    /// The timeline on which the way ends, if it leads from the snapshot's
    /// cluster and timeline.
    fn check(&self) -> Result<TimelineId, RecoveryError> {
        let (manifest, recovery) = (self.manifest, self.recovery);
        if manifest.system_identifier != recovery.system.to_string() {
            return Err(RecoveryError::OtherCluster {
                snapshot: manifest.system_identifier.clone(),
                log: recovery.system,
            });
        }
        let on_way = |leg: &&Leg| leg.timeline == manifest.timeline;
        let base = recovery.legs.iter().find(on_way);
        let last = base.and(recovery.legs.last());
        last.map(|last| last.timeline).ok_or_else(|| {
            let way = recovery.legs.iter().map(|it| it.timeline.to_string());
            RecoveryError::Astray {
                timeline: manifest.timeline,
                way: way.collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// From the segment in which replay begins: those of the server and those
    /// of the archive may be larger or smaller than one another.
    fn range(&self) -> (Lsn, Lsn) {
        let (start, size) = (self.manifest.start_lsn, self.manifest.wal_segment_size);
        let from = Lsn(size.segment_of(start) * size.bytes());
        (from, self.recovery.end.max(self.manifest.stop_lsn))
    }

    fn list(&self, unread: &[ObjectName]) -> Result<Listed, RecoveryError> {
        let (from, to) = self.range();
        let unit = Lsn(from.0 / UNIT * UNIT);
        let list = listed(
            self.index,
            (self.recovery.system, self.recovery.line),
            &self.recovery.legs,
            (unit, to),
        );
        let mut listed = self.shelf.block_on(list)??;
        let stored = &mut listed.stored;
        stored.retain(|part| !unread.contains(&part.object()));
        Ok(listed)
    }

    fn held(&self) -> Vec<SegmentName> {
        let size = self.manifest.wal_segment_size;
        let names = self.manifest.wal_segments.iter();
        names
            .filter_map(|name| SegmentName::parse(name, size))
            .collect()
    }

    fn pieces(
        &self,
        stored: &[StoredWal],
        held: &[SegmentName],
        range: (Lsn, Lsn),
    ) -> Result<(Vec<Piece>, Vec<Overlap>), RecoveryError> {
        let (size, stop) = (self.manifest.wal_segment_size, self.manifest.stop_lsn);
        let held: Vec<_> = held
            .iter()
            .map(|name| {
                let start = name.start(size);
                // Behind the backup's end it may be of any time.
                let end = Lsn(start.0.saturating_add(size.bytes())).min(stop);
                Span {
                    timeline: name.timeline,
                    start,
                    end,
                }
            })
            .collect();
        let parts: Vec<_> = stored.iter().map(Span::of).collect();
        let legs = &self.recovery.legs;
        let pieces = chain(legs, &parts, &held, range)
            .map_err(|Gap { timeline, at, next }| RecoveryError::Gap { timeline, at, next })?;
        let overlaps = overlaps(legs, &parts, &held, &pieces);
        Ok((pieces, overlaps))
    }
}

/// How far the log is fetched, and where the server is told to stop.
fn extent(
    target: &RecoveryTarget,
    known: &Known<'_>,
    log: seek::Log<'_>,
    shelf: &Shelf,
) -> Result<Extent, RecoveryError> {
    let mut answer = reach(target, known)?;
    loop {
        match answer {
            Answer::Known(extent) => return Ok(extent),
            Answer::Seek(question) => {
                let found = seek(&question, log, shelf)?;
                answer = sought(target, &question, found, known)?;
            }
        }
    }
}

/// Whether a target is certain to lie in the log that is known, whatever comes
/// behind it.
fn lies_within(target: &RecoveryTarget, known: &Known<'_>, extent: &Extent) -> bool {
    let known_of = |is: &dyn Fn(&StoredWal) -> bool| known.stored.iter().any(is);
    let stops = extent.stop != RecoveryTarget::Latest;
    stops
        && match target {
            RecoveryTarget::Latest => false,
            RecoveryTarget::Lsn(_) | RecoveryTarget::Xid(_) => true,
            RecoveryTarget::Time(at) => known_of(&|part| {
                let last = part.commits.map(|it| it.last);
                part.end <= known.end && last.is_some_and(|last| *at < last)
            }),
            RecoveryTarget::RestorePoint(name) => known_of(&|part| {
                let mut points = part.restore_points.iter();
                points.any(|it| it.name == *name && it.lsn <= known.end)
            }),
        }
}

/// Parts that cannot be read, before a restore gives up: each is looked at once.
const MOST_UNREAD: usize = 100;

/// What stands in for the history of a timeline that is another's: a server that
/// is promoted takes the first number of which no such file is found, and does not
/// look into them.
pub(super) const TAKEN: &[u8] = b"# taken\n";

/// More numbers than this no cluster has used up.
const MOST_TAKEN: u32 = 10_000;

/// The numbers between the timeline that is followed and the one that was reserved,
/// as far as nothing is archived of them.
fn taken(
    followed: TimelineId,
    reserved: Option<TimelineId>,
    histories: &[StoredHistory],
) -> Vec<TimelineId> {
    let Some(reserved) = reserved else {
        return Vec::new();
    };
    let first = followed.0.saturating_add(1);
    let last = reserved.0.min(first.saturating_add(MOST_TAKEN));
    let known = |timeline: &TimelineId| histories.iter().any(|it| it.timeline == *timeline);
    let numbers = (first..last).map(TimelineId);
    numbers.filter(|timeline| !known(timeline)).collect()
}

impl Plan {
    /// The names and bytes of log of all files.
    pub(super) fn files(&self) -> Vec<(String, u64)> {
        let segments = self
            .segments
            .iter()
            .map(|it| (it.name.file_name(self.size), it.filled));
        let histories = self
            .histories
            .iter()
            .map(|it| (it.timeline.history_file(), it.length));
        let taken = self.taken.iter().map(|timeline| timeline.history_file());
        let taken = taken.map(|name| (name, TAKEN.len() as u64));
        histories.chain(taken).chain(segments).collect()
    }
}

#[cfg(test)]
mod tests {
    use strongroom_layout::{ObjectId, SystemId};

    use super::*;

    fn history(timeline: u32) -> StoredHistory {
        StoredHistory {
            system: SystemId(7),
            timeline: TimelineId(timeline),
            id: ObjectId([2; 32]),
            length: 1,
            legs: Vec::new(),
            digest: None,
        }
    }

    #[test]
    fn a_promotion_finds_every_number_below_its_own_taken() {
        // Followed, reserved, archived histories, and what stands in for others.
        for (followed, reserved, archived, wanted) in [
            // An agent of an earlier coordinator: nothing was reserved.
            (1, None, &[][..], &[][..]),
            (1, None, &[3], &[]),
            // The next one is free.
            (1, Some(2), &[], &[]),
            // A recovery before this one has archived nothing yet.
            (1, Some(3), &[], &[2]),
            (1, Some(3), &[2], &[]),
            // Some have, and some have not.
            (1, Some(7), &[3, 5], &[2, 4, 6]),
            (3, Some(7), &[2, 3, 5], &[4, 6]),
            // Numbers below the one that is followed are nobody's concern.
            (5, Some(6), &[2], &[]),
            // What is known behind it does not make room.
            (1, Some(3), &[9], &[2]),
            // Never its own: that is what it takes.
            (2, Some(2), &[], &[]),
            (4, Some(2), &[], &[]),
        ] {
            let histories: Vec<_> = archived.iter().copied().map(history).collect();
            let reserved = reserved.map(TimelineId);
            let found = taken(TimelineId(followed), reserved, &histories);
            let found: Vec<_> = found.iter().map(|it| it.0).collect();
            assert_eq!(found, wanted, "{followed} {reserved:?} {archived:?}");
        }
    }

    #[test]
    fn a_number_that_nobody_can_have_reserved_fills_no_disk() {
        let last = Some(TimelineId(u32::MAX));
        assert_eq!(taken(TimelineId(1), last, &[]).len(), MOST_TAKEN as usize);
        assert_eq!(taken(TimelineId(u32::MAX), last, &[]), []);
    }
}
