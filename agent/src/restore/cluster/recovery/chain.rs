//! The log in one row, without a hole: which byte comes from where. Pure.
//!
//! A timeline begins with a copy of the segment in which it left the one
//! before, up to where it left it. So whatever two timelines of one way hold
//! of a byte before the switch is the same byte, and it does not matter whose
//! it is taken from; behind the switch the old timeline tells another story,
//! and nothing of it is taken.
//!
//! The snapshot itself holds the log up to the backup's end. It stands in
//! where the archive has nothing.

use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_spec::Leg;

/// A part of a timeline's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) timeline: TimelineId,
    /// The first byte.
    pub(super) start: Lsn,
    /// Behind the last byte.
    pub(super) end: Lsn,
}

/// Bytes of the log, and where they are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first byte.
    pub(super) from: Lsn,
    /// Behind the last byte.
    pub(super) to: Lsn,
    pub(super) source: Source,
}

/// See [`Piece`]: numbers count the spans that [`chain`] was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A part in the archive.
    Part(usize),
    /// A segment in the snapshot.
    Held(usize),
}

/// Log that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) timeline: TimelineId,
    /// Its first byte.
    pub(super) at: Lsn,
    /// Where the next part begins, if there is one.
    pub(super) next: Option<Lsn>,
}

/// Spans and pieces behind this one are of no use: the way has left the
/// timeline. `None`: the way does not lead over it.
pub(super) fn usable(legs: &[Leg], span: &Span) -> Option<Lsn> {
    let leg = legs.iter().find(|leg| leg.timeline == span.timeline)?;
    let end = leg.until.map_or(span.end, |until| span.end.min(until));
    (end > span.start).then_some(end)
}

/// The timeline of the way whose the byte at `lsn` is.
pub(super) fn timeline_at(legs: &[Leg], lsn: Lsn) -> TimelineId {
    let leg = legs
        .iter()
        .find(|leg| leg.until.is_none_or(|until| lsn < until));
    leg.or(legs.last())
        .map_or(TimelineId(1), |leg| leg.timeline)
}

/// Puts together the log from `from` up to `to` at least: the archive's
/// `parts`, and what is `held` by the snapshot where they have nothing. What
/// the last part holds beyond `to` counts too.
pub(super) fn chain(
    legs: &[Leg],
    parts: &[Span],
    held: &[Span],
    (from, to): (Lsn, Lsn),
) -> Result<Vec<Piece>, Gap> {
    let mut archived: Vec<Usable> = sorted(legs, parts);
    archived.reverse();
    let held = sorted(legs, held);
    let mut pieces = Vec::new();
    let mut best: Option<Usable> = None;
    let mut at = from;
    while at < to {
        while let Some(part) = archived.pop_if(|part| part.start <= at) {
            // Of those that reach as far, the newest timeline's.
            best = best.max_by_reach(part);
        }
        let next = archived.last().map(|part| part.start);
        let (end, source) = if let Some(part) = best.filter(|part| part.end > at) {
            (part.end, Source::Part(part.number))
        } else {
            let here = held.iter().find(|it| it.start <= at && at < it.end);
            let here = here.ok_or(Gap {
                timeline: timeline_at(legs, at),
                at,
                next,
            })?;
            let end = next.map_or(here.end, |next| here.end.min(next));
            (end, Source::Held(here.number))
        };
        pieces.push(Piece {
            from: at,
            to: end,
            source,
        });
        at = end;
    }
    Ok(pieces)
}

/// A span, as far as it counts.
#[derive(Clone, Copy, Debug)]
struct Usable {
    start: Lsn,
    end: Lsn,
    timeline: TimelineId,
    number: usize,
}

trait Best {
    fn max_by_reach(self, other: Usable) -> Self;
}

impl Best for Option<Usable> {
    fn max_by_reach(self, other: Usable) -> Self {
        let key = |it: &Usable| (it.end, it.timeline);
        match self {
            Some(best) if key(&best) >= key(&other) => Some(best),
            _ => Some(other),
        }
    }
}

fn sorted(legs: &[Leg], spans: &[Span]) -> Vec<Usable> {
    let usable = |(number, span): (usize, &Span)| {
        Some(Usable {
            start: span.start,
            end: usable(legs, span)?,
            timeline: span.timeline,
            number,
        })
    };
    let mut all: Vec<_> = spans.iter().enumerate().filter_map(usable).collect();
    all.sort_unstable_by_key(|it| (it.start, it.end, it.timeline));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(timeline: u32, until: Option<u64>) -> Leg {
        Leg {
            timeline: TimelineId(timeline),
            until: until.map(Lsn),
        }
    }

    fn span(timeline: u32, start: u64, end: u64) -> Span {
        Span {
            timeline: TimelineId(timeline),
            start: Lsn(start),
            end: Lsn(end),
        }
    }

    fn run(
        legs: &[Leg],
        parts: &[Span],
        held: &[Span],
        to: u64,
    ) -> Result<Vec<(u64, Source)>, Gap> {
        let range = (Lsn(100), Lsn(to));
        let pieces = chain(legs, parts, held, range)?;
        let starts: Vec<_> = pieces.iter().map(|it| it.from.0).collect();
        let ends: Vec<_> = pieces.iter().map(|it| it.to.0).collect();
        assert_eq!(starts[1..], ends[..ends.len() - 1]);
        Ok(ends
            .into_iter()
            .zip(pieces.iter().map(|it| it.source))
            .collect())
    }

    #[test]
    fn the_longest_pieces_are_taken_and_overlaps_are_cut() {
        let parts = [
            span(1, 80, 110),
            span(1, 100, 104),
            span(1, 108, 130),
            span(1, 120, 140),
            span(1, 130, 150),
        ];
        let took = run(&[leg(1, None)], &parts, &[], 141).unwrap();
        let wanted = [(110, 0), (130, 2), (150, 4)];
        assert_eq!(took, wanted.map(|(to, part)| (to, Source::Part(part))));
    }

    #[test]
    fn gaps_are_named_with_their_timeline() {
        let legs = [leg(1, Some(120)), leg(2, None)];
        let parts = [span(1, 100, 140), span(2, 130, 150), span(3, 120, 130)];
        let gap = run(&legs, &parts, &[], 150).unwrap_err();
        assert_eq!(gap.timeline, TimelineId(2));
        assert_eq!((gap.at, gap.next), (Lsn(120), Some(Lsn(130))));
        let gap = run(&[leg(1, None)], &parts, &[], 150).unwrap_err();
        assert_eq!(
            (gap.timeline, gap.at, gap.next),
            (TimelineId(1), Lsn(140), None)
        );
    }

    #[test]
    fn the_snapshot_stands_in_where_the_archive_has_nothing() {
        let held = [span(1, 96, 112), span(1, 112, 120)];
        let legs = [leg(1, None)];
        let took = run(&legs, &[span(1, 104, 130)], &held, 130).unwrap();
        assert_eq!(took, [(104, Source::Held(0)), (130, Source::Part(0))]);
        let took = run(&legs, &[], &held, 120).unwrap();
        assert_eq!(took, [(112, Source::Held(0)), (120, Source::Held(1))]);
        let gap = run(&legs, &[], &held, 121).unwrap_err();
        assert_eq!(gap.at, Lsn(120));
    }

    #[test]
    fn nothing_of_the_old_timeline_is_taken_behind_the_switch() {
        let legs = [leg(1, Some(120)), leg(2, None)];
        let parts = [span(1, 96, 128), span(2, 112, 128), span(1, 128, 144)];
        let took = run(&legs, &parts, &[], 128).unwrap();
        assert_eq!(took, [(120, Source::Part(0)), (128, Source::Part(1))]);
        assert_eq!(run(&legs, &parts, &[], 129).unwrap_err().at, Lsn(128));
        assert_eq!(timeline_at(&legs, Lsn(119)), TimelineId(1));
        assert_eq!(timeline_at(&legs, Lsn(120)), TimelineId(2));
    }
}
