//! Where to go on reading a log: pure.

use std::collections::BTreeMap;

use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_postgres::wal::{History, Layout};

/// A place in the log: everything before it is archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Archived {
    pub(super) timeline: TimelineId,
    pub(super) end: Lsn,
}

/// Where the archived log of each timeline ends. Those of timelines on which the
/// server never was say nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tails(BTreeMap<TimelineId, Lsn>);

impl Tails {
    pub(super) fn new(tails: BTreeMap<TimelineId, Lsn>) -> Self {
        Self(tails)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the archived log of a timeline ends.
    pub(super) fn of(&self, timeline: TimelineId) -> Option<Lsn> {
        self.0.get(&timeline).copied()
    }

    /// That of the newest of a server's timelines of which something is archived.
    pub(super) fn on(&self, history: &History) -> Option<Archived> {
        let spans = history.spans();
        let archived = spans.filter_map(|span| {
            let timeline = span.timeline;
            self.of(timeline).map(|end| Archived { timeline, end })
        });
        archived.last()
    }

    /// More of a timeline is archived.
    pub(super) fn reach(&mut self, place: Archived) {
        let end = self.0.entry(place.timeline).or_insert(place.end);
        *end = place.end.max(*end);
    }
}

/// The places to try, the best first, each where a segment begins: the segment of
/// the archive's last byte, so that it can be compared; where the archive ends, so
/// that nothing is missed; else where the next timeline begins, if the archive went
/// beyond where the server left it; else what the server keeps for us.
pub(super) fn places(
    layout: Layout,
    history: &History,
    tails: &Tails,
    kept: Lsn,
) -> Vec<(TimelineId, Lsn)> {
    let now = history.timeline();
    let began = history.span(now).filter(|span| span.from > Lsn(0));
    let began = began.map(|span| (now, span.from));
    let mut places = Vec::new();
    if let Some(tail) = tails.on(history) {
        match history.span(tail.timeline).and_then(|span| span.until) {
            // The archive followed a timeline that the server has left before: only
            // what is the server's own counts.
            Some(until) if until < tail.end => {
                let mut spans = history.spans();
                let next = spans.find(|span| span.timeline > tail.timeline);
                places.extend(next.map(|span| (span.timeline, span.from)));
                places.extend(began);
            }
            // The server is still on it, or came from it later.
            _ => {
                places.push((tail.timeline, Lsn(tail.end.0.saturating_sub(1))));
                places.push((tail.timeline, tail.end));
            }
        }
    } else if !tails.is_empty() {
        // It followed another server.
        places.extend(began);
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

    /// Timeline 3, which left timeline 2 at 8 MiB.
    fn third() -> History {
        let (one, two) = (Lsn(5 * MIB + MIB / 2), Lsn(8 * MIB));
        let content = format!("1\t{one}\tpromoted\n2\t{two}\tpromoted\n");
        History::parse(TimelineId(3), content.as_bytes()).unwrap()
    }

    fn tails(tails: impl IntoIterator<Item = (u32, u64)>) -> Tails {
        let tails = tails.into_iter();
        Tails::new(
            tails
                .map(|(timeline, end)| (TimelineId(timeline), Lsn(end)))
                .collect(),
        )
    }

    fn tried(
        history: &History,
        archived: impl IntoIterator<Item = (u32, u64)>,
        kept: u64,
    ) -> Vec<(u32, u64)> {
        places(layout(), history, &tails(archived), Lsn(kept))
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
        // And none is left out that came in between.
        assert_eq!(
            tried(&third(), Some((1, 7 * MIB)), 9 * MIB),
            [(2, 5), (3, 8), (3, 9)]
        );
    }

    #[test]
    fn a_server_goes_on_where_its_own_timelines_end_in_the_archive() {
        // It is on a lower one than the archive knows.
        let first = History::first();
        let archived = [(1, 6 * MIB + 9), (2, 7 * MIB)];
        assert_eq!(tried(&first, archived, 9 * MIB), [(1, 6), (1, 9)]);
        // Or came from others.
        let archived = [(1, 5 * MIB), (4, 7 * MIB)];
        assert_eq!(
            tried(&second(), archived, 6 * MIB),
            [(1, 4), (1, 5), (2, 6)]
        );
        // Nothing is archived of any of its own.
        assert_eq!(tried(&first, [(2, 7 * MIB)], 9 * MIB), [(1, 9)]);
        assert_eq!(tried(&second(), [(3, 7 * MIB)], 9 * MIB), [(2, 5), (2, 9)]);
    }

    #[test]
    fn each_timeline_has_a_tail_of_its_own() {
        let mut tails = tails([(1, 5), (3, 2)]);
        let of = |timeline, end| Archived {
            timeline: TimelineId(timeline),
            end: Lsn(end),
        };
        tails.reach(of(1, 7));
        tails.reach(of(3, 1));
        tails.reach(of(2, 4));
        let all = [1, 2, 3, 4].map(|timeline| tails.of(TimelineId(timeline)));
        assert_eq!(all, [Some(Lsn(7)), Some(Lsn(4)), Some(Lsn(2)), None]);
        assert_eq!(tails.on(&History::first()), Some(of(1, 7)));
        assert_eq!(tails.on(&second()), Some(of(2, 4)));
    }
}
