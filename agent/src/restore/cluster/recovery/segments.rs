//! Which files a server is given, and what of the log each holds. Pure.
//!
//! A server asks for the segments of its way: first by the newest timeline
//! that has begun by then. So a segment in which timelines meet is given
//! under the newest one's name, whose copy holds what the older ones wrote
//! before it.

use strongroom_layout::position::{Lsn, SegmentName, SegmentSize, TimelineId};
use strongroom_spec::Leg;

use super::chain::{Piece, Source};

/// A segment to give to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    /// From its first byte, without a hole.
    pub(super) pieces: Vec<Piece>,
    /// So many bytes of log are in it; zeros follow.
    pub(super) filled: u64,
}

impl Segment {
    /// Its first byte, and the one behind its last.
    pub(super) fn range(&self, size: SegmentSize) -> (Lsn, Lsn) {
        let start = self.name.start(size);
        (start, Lsn(start.0.saturating_add(size.bytes())))
    }
}

/// The segments of a chain that begins where a segment does, up to `cut`. What
/// the snapshot holds whole, the server finds there: `held` is called so.
pub(super) fn segments(
    pieces: &[Piece],
    held: &[SegmentName],
    legs: &[Leg],
    size: SegmentSize,
    cut: Lsn,
) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for piece in pieces {
        let mut from = piece.from;
        let end = piece.to.min(cut);
        while from < end {
            let number = size.segment_of(from);
            let behind = Lsn(number.saturating_add(1).saturating_mul(size.bytes()));
            let to = end.min(behind);
            if segments
                .last()
                .is_none_or(|last| last.name.number != number)
            {
                let timeline = newest_before(legs, behind);
                segments.push(Segment {
                    name: SegmentName { timeline, number },
                    pieces: Vec::new(),
                    filled: 0,
                });
            }
            if let Some(segment) = segments.last_mut() {
                segment.pieces.push(Piece { from, to, ..*piece });
                segment.filled += to.0 - from.0;
            }
            from = to;
        }
    }
    segments.retain(|segment| {
        let from_snapshot = |piece: &Piece| {
            matches!(piece.source, Source::Held(number)
            if held.get(number) == Some(&segment.name))
        };
        segment.filled < size.bytes() || !segment.pieces.iter().all(from_snapshot)
    });
    segments
}

/// The newest timeline of the way that begins before `lsn`.
fn newest_before(legs: &[Leg], lsn: Lsn) -> TimelineId {
    let mut timeline = legs.first().map_or(TimelineId(1), |leg| leg.timeline);
    for pair in legs.windows(2) {
        if let [before, leg] = pair
            && before.until.is_some_and(|until| until < lsn)
        {
            timeline = leg.timeline;
        }
    }
    timeline
}

#[cfg(test)]
mod tests;
