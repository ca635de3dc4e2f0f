//! Whatever a log is cut into, the segments hold its bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::restore::cluster::recovery::chain::{Span, chain};

const MIB: u64 = 1 << 20;

fn size(mib: u32) -> SegmentSize {
    SegmentSize::new(mib << 20).unwrap()
}

fn lsn(quarter: u64) -> Lsn {
    Lsn(quarter * MIB / 4)
}

/// A way over some timelines, and the log of each from the segment in which it
/// begins on; a byte of it stands for a quarter of a MiB.
#[derive(Clone, Debug)]
struct World {
    size: SegmentSize,
    legs: Vec<Leg>,
    logs: BTreeMap<TimelineId, Vec<(Span, Vec<u8>)>>,
    from: Lsn,
    end: Lsn,
    /// Of the last timeline.
    truth: Vec<u8>,
}

/// What a timeline wrote at a place.
fn byte(timeline: u32, quarter: u64) -> u8 {
    (timeline * 83) as u8 ^ (quarter * 31 + 7) as u8
}

fn world() -> impl Strategy<Value = World> {
    let sizes = prop::sample::select(vec![1, 4, 16, 32]);
    let switches = prop::collection::vec(1..400_u64, 0..3);
    (sizes, switches, 1..60_u64, 0..40_u64, any::<u64>()).prop_map(
        |(segment, mut switches, more, from, seed)| {
            switches.sort_unstable();
            let size = size(segment);
            let last = switches.last().copied().unwrap_or(0);
            let end = last + more;
            let from = Lsn(size.segment_of(lsn(from.min(end - 1))) * size.bytes());
            let mut legs: Vec<Leg> = Vec::new();
            let mut truth: Vec<u8> = Vec::new();
            let mut logs = BTreeMap::new();
            let mut random = seed | 1;
            for (index, until) in switches.iter().copied().map(Some).chain([None]).enumerate() {
                let timeline = index as u32 * 2 + 1;
                let begun = truth.len() as u64;
                let stop = until.unwrap_or(end);
                // It goes on behind the switch, as an old primary may.
                let beyond = if until.is_some() { stop + more } else { stop };
                let mut log = truth.clone();
                log.extend((begun..beyond).map(|quarter| byte(timeline, quarter)));
                let start = size.segment_of(lsn(begun)) * size.bytes() / (MIB / 4);
                let cut = cut_up(timeline, start.min(begun), &log, &mut random);
                logs.insert(TimelineId(timeline), cut);
                log.truncate(stop as usize);
                truth = log;
                legs.push(Leg {
                    timeline: TimelineId(timeline),
                    until: until.map(lsn),
                });
            }
            World {
                size,
                legs,
                logs,
                from,
                end: lsn(end),
                truth,
            }
        },
    )
}

/// Parts that overlap, and lie each within a unit of 16 MiB.
fn cut_up(timeline: u32, start: u64, log: &[u8], random: &mut u64) -> Vec<(Span, Vec<u8>)> {
    let mut next = |most: u64| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random % most
    };
    let mut parts = Vec::new();
    let mut at = start;
    while at < log.len() as u64 {
        let unit = (at / 64 + 1) * 64;
        let end = unit.min(at + 1 + next(80)).min(log.len() as u64);
        let from = at - next(8).min(at % 64).min(at - start);
        let span = Span {
            timeline: TimelineId(timeline),
            start: lsn(from),
            end: lsn(end),
        };
        parts.push((span, log[from as usize..end as usize].to_vec()));
        at = end;
    }
    parts
}

proptest! {
    #[test]
    fn segments_hold_the_log_of_the_way(world in world(), until in 0..400_u64) {
        let parts: Vec<_> = world.logs.values().flatten().cloned().collect();
        let spans: Vec<_> = parts.iter().map(|(span, _)| *span).collect();
        let range = (world.from, world.end);
        let pieces = chain(&world.legs, &spans, &[], range).unwrap();
        let cut = lsn(until).min(world.end).max(Lsn(world.from.0 + 1));
        let segments = segments(&pieces, &[], &world.legs, world.size, cut);

        let numbers: Vec<_> = segments.iter().map(|it| it.name.number).collect();
        let (first, last) = (world.size.segment_of(world.from), world.size.segment_before(cut));
        prop_assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
        for segment in &segments {
            let start = segment.name.start(world.size);
            let mut at = start;
            for piece in &segment.pieces {
                prop_assert_eq!(piece.from, at);
                let Source::Part(number) = piece.source else { panic!("nothing is held") };
                let (span, bytes) = &parts[number];
                // Quarters of a MiB: a cut within one shows its beginning.
                let quarters = piece.from.0 / (MIB / 4)..piece.to.0.div_ceil(MIB / 4);
                for quarter in quarters {
                    let there = bytes[(quarter - span.start.0 / (MIB / 4)) as usize];
                    prop_assert_eq!(there, world.truth[quarter as usize]);
                }
                at = piece.to;
            }
            let end = cut.min(Lsn(start.0 + world.size.bytes()));
            prop_assert_eq!((at, segment.filled), (end, end.0 - start.0));
            // The newest timeline that began in it or before.
            let newest = world.legs.iter().enumerate().rev().find(|(index, _)| {
                let begun = index.checked_sub(1).and_then(|it| world.legs[it].until);
                begun.is_none_or(|begun| world.size.segment_of(begun) <= segment.name.number)
            });
            prop_assert_eq!(segment.name.timeline, newest.unwrap().1.timeline);
        }
    }

    #[test]
    fn a_missing_part_is_a_gap_or_was_not_needed(world in world(), missing: prop::sample::Index) {
        let mut parts: Vec<_> = world.logs.values().flatten().map(|(span, _)| *span).collect();
        parts.remove(missing.index(parts.len()));
        match chain(&world.legs, &parts, &[], (world.from, world.end)) {
            Ok(pieces) => {
                let ends: Vec<_> = pieces.iter().map(|it| it.to).collect();
                let starts: Vec<_> = pieces.iter().map(|it| it.from).collect();
                prop_assert_eq!(&starts[1..], &ends[..ends.len() - 1]);
                prop_assert!(ends.last() >= Some(&world.end));
            }
            Err(gap) => prop_assert!(world.from <= gap.at && gap.at < world.end),
        }
    }
}

#[test]
fn what_the_snapshot_holds_whole_is_not_given_again() {
    let name = |timeline, number| SegmentName {
        timeline: TimelineId(timeline),
        number,
    };
    let held = [name(1, 3), name(1, 4)];
    let piece = |from, to, source| Piece {
        from: Lsn(from * MIB),
        to: Lsn(to * MIB),
        source,
    };
    let legs = |switch: Option<u64>| {
        let mut legs = vec![Leg {
            timeline: TimelineId(1),
            until: switch.map(|it| Lsn(it * MIB)),
        }];
        legs.extend(switch.map(|_| Leg {
            timeline: TimelineId(2),
            until: None,
        }));
        legs
    };
    let given = |pieces: &[Piece], switch, cut| -> Vec<_> {
        segments(pieces, &held, &legs(switch), size(16), Lsn(cut * MIB))
            .into_iter()
            .map(|it| (it.name.timeline.0, it.name.number, it.filled / MIB))
            .collect()
    };
    let up_to_stop = [
        piece(48, 64, Source::Held(0)),
        piece(64, 70, Source::Held(1)),
    ];
    // The last is not whole: what follows in the snapshot's is not wanted.
    assert_eq!(given(&up_to_stop, None, 70), [(1, 4, 6)]);
    let goes_on = [up_to_stop[0], up_to_stop[1], piece(70, 90, Source::Part(0))];
    assert_eq!(given(&goes_on, None, 90), [(1, 4, 16), (1, 5, 10)]);
    // A promotion at the very end: the server asks by the new name.
    assert_eq!(given(&up_to_stop, Some(70), 70), [(2, 4, 6)]);
    assert_eq!(given(&goes_on, Some(80), 90), [(1, 4, 16), (2, 5, 10)]);
}
