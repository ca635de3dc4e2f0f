//! Which log a restore takes, decided before anything is written.

use strongroom_layout::position::{Lsn, SegmentName, SegmentSize, TimelineId};
use strongroom_postgres::physical::manifest::Manifest;
use strongroom_repository::read::ReadError;
use strongroom_wire::{
    job::{Leg, Recovery, RecoveryTarget},
    wal::{StoredHistory, StoredWal, UNIT},
};

use super::{
    RecoveryError,
    chain::{Gap, Piece, Span, chain},
    index::{Listed, LogIndex, listed},
    overlap::{Overlap, overlaps},
    parts::Shelf,
    reach::{Answer, Known, reach, sought},
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
    /// Lists the log, looks into it where it must, and decides.
    pub(super) fn plan(&self) -> Result<Plan, RecoveryError> {
        let timeline = self.check()?;
        let Listed { stored, histories } = self.list()?;
        if timeline != self.manifest.timeline && !histories.iter().any(|it| it.timeline == timeline)
        {
            return Err(RecoveryError::NoHistory(timeline));
        }
        let (recovery, legs) = (self.recovery, &self.recovery.legs[..]);
        let held = self.held();
        let (pieces, overlaps) = self.pieces(&stored, &held)?;
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
        let mut answer = reach(&recovery.target, &known)?;
        let extent = loop {
            match answer {
                Answer::Known(extent) => break extent,
                Answer::Seek(question) => {
                    let found = seek(&question, log, self.shelf)?;
                    answer = sought(&recovery.target, &question, found, &known)?;
                }
            }
        };
        Ok(Plan {
            segments: segments(&pieces, &held, legs, size, extent.upto),
            pieces,
            overlaps,
            stored,
            held,
            taken: taken(timeline, recovery.new_timeline, &histories),
            histories,
            size,
            upto: extent.upto,
            stop: extent.stop,
            timeline,
        })
    }

    /// The same files from what is known now: parts give way to others. One has
    /// vanished since they were listed.
    pub(super) fn again(
        &self,
        plan: &Plan,
        (timeline, at, source): (TimelineId, Lsn, Box<ReadError>),
    ) -> Result<Plan, RecoveryError> {
        tracing::warn!(%timeline, %at, %source, "a part of the log vanished; looking it up again");
        let Listed { stored, histories } = self.list()?;
        let (pieces, overlaps) = self
            .pieces(&stored, &plan.held)
            .map_err(|error| match error {
                RecoveryError::Gap { .. } => RecoveryError::Vanished {
                    timeline,
                    at,
                    source,
                },
                other => other,
            })?;
        let legs = &self.recovery.legs;
        Ok(Plan {
            segments: segments(&pieces, &plan.held, legs, plan.size, plan.upto),
            pieces,
            overlaps,
            stored,
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

    fn list(&self) -> Result<Listed, RecoveryError> {
        let (from, to) = self.range();
        let unit = Lsn(from.0 / UNIT * UNIT);
        let list = listed(
            self.index,
            (self.recovery.system, self.recovery.line),
            &self.recovery.legs,
            (unit, to),
        );
        Ok(self.shelf.block_on(list)??)
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
        let pieces = chain(legs, &parts, &held, self.range())
            .map_err(|Gap { timeline, at, next }| RecoveryError::Gap { timeline, at, next })?;
        let overlaps = overlaps(legs, &parts, &held, &pieces);
        Ok((pieces, overlaps))
    }
}

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
