//! Where to go on reading a log: pure.

use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_postgres::wal::{History, Layout};

/// A place in the log: everything before it is archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Archived {
    pub(super) timeline: TimelineId,
    pub(super) end: Lsn,
}

/// The places to try, the best first, each where a segment begins: the segment of
/// the archive's last byte, so that it can be compared; where the archive ends, so
/// that nothing is missed; else where the next timeline begins, if the archive went beyond where the server left it; else what the
/// server keeps for us.
pub(super) fn places(
    layout: Layout,
    history: &History,
    tail: Option<Archived>,
    kept: Lsn,
) -> Vec<(TimelineId, Lsn)> {
    let now = history.timeline();
    let mut places = Vec::new();
    if let Some(tail) = tail {
        match history.span(tail.timeline).map(|span| span.until) {
            // The server is still on it, or came from it later.
            Some(until) if until.is_none_or(|until| tail.end <= until) => {
                places.push((tail.timeline, Lsn(tail.end.0.saturating_sub(1))));
                places.push((tail.timeline, tail.end));
            }
            // The archive followed a timeline that the server has left before,
            // or never was on: only what is the server's own counts.
            _ => {
                let began = history.span(now).filter(|span| span.from > Lsn(0));
                places.extend(began.map(|span| (now, span.from)));
            }
        }
    }
    places.push((now, kept));
    let mut places: Vec<_> = places
        .into_iter()
        .map(|(timeline, at)| (timeline, segment_start(layout, at)))
        .collect();
    places.dedup();
    places
}

/// Where the segment begins that holds this.
pub(super) fn segment_start(layout: Layout, at: Lsn) -> Lsn {
    Lsn(at.0 - at.0 % layout.segment_size.bytes())
}

#[cfg(test)]
mod tests {
    use strongroom_layout::position::SegmentSize;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn layout() -> Layout {
        Layout {
            major: 15,
            system_identifier: 7,
            segment_size: SegmentSize::new(MIB as u32).unwrap(),
            block_size: 8192,
        }
    }

    /// Timeline 2, which left timeline 1 at 5.5 MiB.
    fn second() -> History {
        let switch = Lsn(5 * MIB + MIB / 2);
        History::parse(TimelineId(2), format!("1\t{switch}\tpromoted\n").as_bytes()).unwrap()
    }

    fn tried(history: &History, tail: Option<(u32, u64)>, kept: u64) -> Vec<(u32, u64)> {
        let tail = tail.map(|(timeline, end)| Archived {
            timeline: TimelineId(timeline),
            end: Lsn(end),
        });
        places(layout(), history, tail, Lsn(kept))
            .into_iter()
            .map(|(timeline, at)| (timeline.0, at.0 / MIB))
            .collect()
    }

    #[test]
    fn the_archive_is_continued_and_the_slot_is_what_remains() {
        let first = History::first();
        assert_eq!(tried(&first, None, 7 * MIB + 5), [(1, 7)]);
        assert_eq!(
            tried(&first, Some((1, 6 * MIB + 9)), 7 * MIB),
            [(1, 6), (1, 7)]
        );
        assert_eq!(tried(&first, Some((1, 7 * MIB + 9)), 7 * MIB), [(1, 7)]);
    }

    #[test]
    fn a_promoted_server_first_sends_the_rest_of_the_old_timeline() {
        let rest = tried(&second(), Some((1, 5 * MIB)), 6 * MIB);
        assert_eq!(rest, [(1, 4), (1, 5), (2, 6)]);
        let new = tried(&second(), Some((2, 8 * MIB + 1)), 8 * MIB);
        assert_eq!(new, [(2, 8)]);
    }

    #[test]
    fn what_the_old_primary_wrote_behind_the_switch_is_another_log() {
        // The new timeline begins with a copy of the segment of the switch.
        assert_eq!(
            tried(&second(), Some((1, 7 * MIB)), 9 * MIB),
            [(2, 5), (2, 9)]
        );
        // The server is behind what the archive followed.
        assert_eq!(
            tried(&History::first(), Some((2, 7 * MIB)), 9 * MIB),
            [(1, 9)]
        );
    }
}
