//! Overlaps: bytes of the log that lie in two places, compared before any of them
//! is replayed.
//!
//! [`chain`](super::chain) takes each byte from one place. Where another holds it,
//! too (a part that was stored twice, the copy of a segment with which a timeline
//! begins, the segments of the snapshot), both must hold the same. Else two servers
//! have written that log, or somebody claimed a place that was not his, and nobody
//! can say which of them is the log.
//!
//! One difference is ours: a restored server's log may have records of tablespaces
//! in the other of two forms ([`strongroom_postgres::wal::tablespace`]), and a
//! timeline that begins there begins with a copy of them.

use strongroom_layout::position::Lsn;
use strongroom_postgres::wal::{Edits, Replayed};
use strongroom_spec::Leg;
use strongroom_wire::wal::UNIT;

use super::{
    RecoveryError,
    chain::{Piece, Source, Span, usable},
    parts::{Parts, Shelf, Wanted},
    plan::Plan,
    scan::vanished,
};
use crate::restore::{
    RestoreError,
    cluster::replayed::{held::HeldLog, reading::LogFacts},
};

/// Bytes that two places hold; a unit at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlap {
    /// The first byte.
    pub(super) from: Lsn,
    /// Behind the last byte.
    pub(super) to: Lsn,
    /// Where they are taken from.
    pub(super) taken: Source,
    /// Where they lie, too.
    pub(super) other: Source,
}

/// All that the archive's `parts` and what is `held` by the snapshot have of a
/// chain's pieces beside the place that each is taken from. Pure.
pub(super) fn overlaps(
    legs: &[Leg],
    parts: &[Span],
    held: &[Span],
    pieces: &[Piece],
) -> Vec<Overlap> {
    let of = |spans: &[Span], source: fn(usize) -> Source| -> Vec<_> {
        let spans = spans.iter().enumerate();
        spans
            .filter_map(|(number, span)| Some((span.start, usable(legs, span)?, source(number))))
            .collect()
    };
    let mut coming = of(parts, Source::Part);
    coming.extend(of(held, Source::Held));
    // The first is the last of them.
    coming.sort_unstable_by_key(|(start, _, _)| std::cmp::Reverse(*start));
    let mut here: Vec<(Lsn, Lsn, Source)> = Vec::new();
    let mut overlaps = Vec::new();
    for piece in pieces {
        while let Some(span) = coming.pop_if(|(start, _, _)| *start < piece.to) {
            here.push(span);
        }
        here.retain(|(_, end, _)| *end > piece.from);
        for (start, end, other) in here.iter().filter(|(_, _, it)| *it != piece.source) {
            let (mut from, end) = (piece.from.max(*start), piece.to.min(*end));
            while from < end {
                let unit = (from.0 / UNIT).saturating_add(1).saturating_mul(UNIT);
                let to = end.min(Lsn(unit));
                overlaps.push(Overlap {
                    from,
                    to,
                    taken: piece.source,
                    other: *other,
                });
                from = to;
            }
        }
    }
    overlaps
}

/// Verifies that all places hold the same of the log that is given; `facts` are of
/// that. The error names the first two that do not.
pub(super) fn compare(
    plan: &Plan,
    facts: &LogFacts,
    held: &HeldLog,
    shelf: &Shelf,
) -> Result<(), RecoveryError> {
    let overlaps: Vec<Overlap> = plan
        .overlaps
        .iter()
        .filter(|it| it.from < plan.upto)
        .map(|it| Overlap {
            to: it.to.min(plan.upto),
            ..*it
        })
        .collect();
    let mut wanted = Vec::new();
    for (number, overlap) in overlaps.iter().enumerate() {
        let before = number.checked_sub(1).and_then(|it| overlaps.get(it));
        if before.is_none_or(|before| before.taken != overlap.taken) {
            wanted.push(overlap.taken);
        }
        wanted.push(overlap.other);
    }
    let stored = wanted.iter().filter_map(|source| match source {
        Source::Part(number) => plan.stored.get(*number),
        Source::Held(_) => None,
    });
    let mut places = Places {
        plan,
        held,
        shelf,
        parts: Parts::new(shelf, stored.map(Wanted::of))?,
    };
    let forms = forms(facts, held);
    let mut taken: Option<(Source, Place)> = None;
    for overlap in &overlaps {
        if shelf.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled.into());
        }
        let source = overlap.taken;
        let place = match taken.take().filter(|(before, _)| *before == source) {
            Some((_, place)) => place,
            None => places.open(source, overlap.from)?,
        };
        let mut one = places.bytes(&place, overlap)?;
        taken = Some((source, place));
        let other = places.open(overlap.other, overlap.from)?;
        let mut two = places.bytes(&other, overlap)?;
        if let Some(at) = differ(overlap.from, &mut one, &mut two, &forms) {
            return Err(RecoveryError::TwoLogs {
                at,
                taken: places.name(overlap.taken),
                other: places.name(overlap.other),
            });
        }
    }
    Ok(())
}

/// What makes of both forms of a record that makes a tablespace the same one.
fn forms(facts: &LogFacts, held: &HeldLog) -> Edits {
    let mut all = Edits::default();
    let creations = facts.stretches.iter().flat_map(|it| &it.creations);
    for creation in creations {
        // One of the two changes nothing.
        for form in [Replayed::AtItsPath, Replayed::InPlace] {
            all.extend(creation.edits(&held.layout(), form));
        }
    }
    all
}

/// The first position at which they differ; both begin at `from`.
fn differ(from: Lsn, one: &mut [u8], two: &mut [u8], forms: &Edits) -> Option<Lsn> {
    if one == two {
        return None;
    }
    // Whatever is neither form stays, and differs.
    let _unlike = (forms.apply(from, one), forms.apply(from, two));
    let same = one.iter().zip(&*two).take_while(|(a, b)| a == b).count();
    let all = one.len() == two.len() && same == one.len();
    (!all).then(|| Lsn(from.0.saturating_add(same as u64)))
}

/// A place that is opened.
enum Place {
    /// A part in memory: its first byte, and all of them.
    Part(Lsn, Vec<u8>),
    /// Of the snapshot.
    Held(usize),
}

struct Places<'a> {
    plan: &'a Plan,
    held: &'a HeldLog,
    shelf: &'a Shelf,
    parts: Parts<'a>,
}

impl Places<'_> {
    /// Parts come in the order in which they were asked for.
    fn open(&mut self, source: Source, at: Lsn) -> Result<Place, RecoveryError> {
        match source {
            Source::Held(number) => Ok(Place::Held(number)),
            Source::Part(number) => {
                let part = self.plan.stored.get(number);
                let next = self.parts.next();
                let next = next.map_err(|error| vanished(error, self.plan, part, at))?;
                let bytes = next.map(|it| it.plaintext).unwrap_or_default();
                Ok(Place::Part(part.map_or(Lsn(0), |it| it.start), bytes))
            }
        }
    }

    fn bytes(&self, place: &Place, overlap: &Overlap) -> Result<Vec<u8>, RecoveryError> {
        let range = |start: Lsn| {
            let from = overlap.from.0.saturating_sub(start.0);
            (from, overlap.to.0.saturating_sub(start.0))
        };
        match place {
            Place::Part(start, bytes) => {
                // A part that was opened is as long as its place.
                let (from, to) = range(*start);
                let bytes = bytes.get(from as usize..to as usize);
                Ok(bytes.unwrap_or_default().to_vec())
            }
            Place::Held(number) => {
                let mut bytes = Vec::new();
                let Some(name) = self.plan.held.get(*number).copied() else {
                    return Ok(bytes);
                };
                let range = range(name.start(self.plan.size));
                self.held.read(name, range, |more| {
                    bytes.extend_from_slice(more);
                    !self.shelf.cancel.is_cancelled()
                })?;
                Ok(bytes)
            }
        }
    }

    fn name(&self, source: Source) -> String {
        let (plan, unknown) = (self.plan, || "another".to_owned());
        match source {
            Source::Part(number) => {
                let part = plan.stored.get(number);
                part.map_or_else(unknown, |part| part.object().to_string())
            }
            Source::Held(number) => {
                let segment = plan.held.get(number);
                segment.map_or_else(unknown, |name| {
                    format!("pg_wal/{} of the snapshot", name.file_name(plan.size))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_layout::position::TimelineId;
    use strongroom_postgres::wal::Edit;

    use super::*;

    fn span(timeline: u32, start: u64, end: u64) -> Span {
        Span {
            timeline: TimelineId(timeline),
            start: Lsn(start),
            end: Lsn(end),
        }
    }

    fn piece(from: u64, to: u64, source: Source) -> Piece {
        Piece {
            from: Lsn(from),
            to: Lsn(to),
            source,
        }
    }

    fn found(
        legs: &[Leg],
        parts: &[Span],
        held: &[Span],
        pieces: &[Piece],
    ) -> Vec<(u64, u64, Source)> {
        let all = overlaps(legs, parts, held, pieces);
        all.iter()
            .map(|it| (it.from.0, it.to.0, it.other))
            .collect()
    }

    #[test]
    fn all_that_lies_in_two_places_is_found_and_nothing_behind_a_switch() {
        let switch = Leg {
            timeline: TimelineId(1),
            until: Some(Lsn(150)),
        };
        let legs = [
            switch,
            Leg {
                timeline: TimelineId(2),
                until: None,
            },
        ];
        let parts = [
            span(1, 100, 130),
            span(1, 100, 160),
            span(2, 140, 200),
            span(3, 100, 200),
        ];
        let held = [span(1, 90, 110)];
        let pieces = [
            piece(100, 150, Source::Part(1)),
            piece(150, 200, Source::Part(2)),
        ];
        let mut all = found(&legs, &parts, &held, &pieces);
        all.sort_by_key(|(from, to, _)| (*from, *to));
        assert_eq!(
            all,
            [
                (100, 110, Source::Held(0)),
                (100, 130, Source::Part(0)),
                (140, 150, Source::Part(2)),
            ]
        );
    }

    #[test]
    fn a_large_segment_is_compared_in_units() {
        let legs = [Leg {
            timeline: TimelineId(1),
            until: None,
        }];
        let half = UNIT / 2;
        let held = [span(1, 0, 4 * UNIT)];
        let parts = [span(1, half, UNIT)];
        let pieces = [piece(0, 4 * UNIT, Source::Held(0))];
        assert_eq!(
            found(&legs, &parts, &held, &pieces),
            [(half, UNIT, Source::Part(0))]
        );
        let other = [span(1, half, 4 * UNIT)];
        let both = [held[0], other[0]];
        let cut: Vec<_> = found(&legs, &[], &both, &pieces)
            .into_iter()
            .map(|(from, to, _)| (from, to))
            .collect();
        assert_eq!(
            cut,
            [
                (half, UNIT),
                (UNIT, 2 * UNIT),
                (2 * UNIT, 3 * UNIT),
                (3 * UNIT, 4 * UNIT)
            ]
        );
    }

    #[test]
    fn only_the_form_of_a_tablespaces_record_may_differ() {
        let mut forms = Edits::default();
        forms.extend([Edit {
            at: Lsn(103),
            from: b'/',
            to: 0,
        }]);
        let differ = |one: &[u8], two: &[u8]| {
            let at = differ(Lsn(100), &mut one.to_vec(), &mut two.to_vec(), &forms);
            at.map(|at| at.0)
        };
        assert_eq!(differ(b"log/s", b"log/s"), None);
        assert_eq!(differ(b"log/s", b"log\0s"), None);
        assert_eq!(differ(b"log\0s", b"log/s"), None);
        assert_eq!(differ(b"log/s", b"logxs"), Some(103));
        assert_eq!(differ(b"log/s", b"log\0t"), Some(104));
        assert_eq!(differ(b"log/s", b"lag/s"), Some(101));
        // What ended early is not the same.
        assert_eq!(differ(b"log/s", b"log"), Some(103));
    }
}
