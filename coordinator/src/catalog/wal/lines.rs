//! Which line of a cluster's log a dataset is on: pure.
//!
//! A line is what may be replayed together. It may be of several datasets: when a
//! standby is promoted, its agent goes on where that of the primary ended. Whoever
//! contradicts what is archived leaves it, alone, and begins another with a base
//! backup; see decision 0039.

use jiff::Timestamp;
use strongroom_layout::position::TimelineId;

use crate::model::{DatasetName, WalBreak};

/// Whose log is in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) line: u32,
    pub(super) timeline: TimelineId,
    pub(super) dataset: DatasetName,
    /// When the first of it was entered.
    pub(super) since: Timestamp,
}

/// The lines of a cluster's log in a repository.
#[derive(Debug, Clone, Default)]
pub struct WalLines {
    /// The oldest first.
    pub(super) shares: Vec<Share>,
    pub(super) breaks: Vec<WalBreak>,
}

impl WalLines {
    /// Whether there is one line, that of all.
    pub fn is_one(&self) -> bool {
        self.breaks.is_empty()
    }

    /// The line that a dataset was on at a moment: a base backup that began then is
    /// of that.
    pub fn at(&self, dataset: &DatasetName, at: Timestamp) -> u32 {
        let own = |of: &DatasetName| of == dataset;
        let shares = self.shares.iter();
        let joined = shares.filter(|it| own(&it.dataset) && it.since <= at);
        let breaks = self.breaks.iter();
        let left = breaks.filter(|it| own(&it.dataset) && it.at < at);
        let lines = joined.map(|it| it.line).chain(left.map(|it| it.next));
        // Lines that were begun later have greater numbers.
        lines.max().unwrap_or_else(|| self.founders(at))
    }

    /// The line that goes on for who has entered nothing yet: what began first, and
    /// wherever those who began it have gone on.
    fn founders(&self, at: Timestamp) -> u32 {
        let mut line = 0;
        while let Some(founder) = self.founder(line)
            && let Some(left) = self.end_for(founder, line)
            && left.at < at
            && line < left.next
        {
            line = left.next;
        }
        line
    }

    /// Who began a line.
    fn founder(&self, line: u32) -> Option<&DatasetName> {
        let first = || self.shares.iter().find(|it| it.line == line);
        let began = self.began(line).map(|it| &it.dataset);
        began.or_else(|| first().map(|it| &it.dataset))
    }

    /// The conflict to which a line owes its beginning.
    pub(super) fn began(&self, line: u32) -> Option<&WalBreak> {
        self.breaks.iter().find(|it| it.next == line)
    }

    fn end_for(&self, dataset: &DatasetName, line: u32) -> Option<&WalBreak> {
        let mut breaks = self.breaks.iter();
        breaks.find(|it| it.line == line && it.dataset == *dataset)
    }

    /// Where a line ended for a dataset; for who has entered nothing of it, where it
    /// ended for who began it.
    pub fn end(&self, dataset: &DatasetName, line: u32) -> Option<&WalBreak> {
        let mut shares = self.shares.iter();
        let has_some = shares.any(|it| it.line == line && it.dataset == *dataset);
        let of = if has_some {
            dataset
        } else {
            self.founder(line).unwrap_or(dataset)
        };
        let own = self.end_for(dataset, line);
        own.or_else(|| self.end_for(of, line))
    }

    /// To whom a timeline of a line belongs.
    pub(super) fn owner(&self, line: u32, timeline: TimelineId) -> Option<&DatasetName> {
        let mut shares = self.shares.iter();
        let first = shares.find(|it| (it.line, it.timeline) == (line, timeline));
        first.map(|it| &it.dataset)
    }

    /// Whether that is known, since whenever.
    pub(super) fn has(&self, share: &Share) -> bool {
        let mut shares = self.shares.iter();
        let of = |it: &Share| (it.line, it.timeline) == (share.line, share.timeline);
        shares.any(|it| of(it) && it.dataset == share.dataset)
    }

    /// The number of a line that nobody has begun.
    pub(super) fn next(&self) -> u32 {
        let begun = self.breaks.iter().map(|it| it.next);
        let shared = self.shares.iter().map(|it| it.line);
        begun.chain(shared).max().unwrap_or(0).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_layout::position::Lsn;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn named(name: &str) -> DatasetName {
        DatasetName::new("orders", name)
    }

    fn share(name: &str, line: u32, second: i64) -> Share {
        Share {
            line,
            timeline: TimelineId(1),
            dataset: named(name),
            since: at(second),
        }
    }

    fn left(name: &str, line: u32, next: u32, second: i64) -> WalBreak {
        WalBreak {
            line,
            next,
            dataset: named(name),
            at: at(second),
            timeline: TimelineId(1),
            lsn: Lsn(7),
            cause: "it was put back".into(),
        }
    }

    fn lines(shares: &[Share], breaks: &[WalBreak]) -> WalLines {
        WalLines {
            shares: shares.to_vec(),
            breaks: breaks.to_vec(),
        }
    }

    #[test]
    fn whoever_contradicts_leaves_alone() {
        let lines = lines(
            &[share("one", 0, 10), share("two", 0, 20)],
            &[left("two", 0, 1, 30)],
        );
        for (name, second, line) in [
            ("one", 5, 0),
            ("one", 40, 0),
            ("two", 25, 0),
            // What began before it was found is of the line that was left.
            ("two", 30, 0),
            ("two", 31, 1),
            // Nobody follows but who is of it.
            ("three", 40, 0),
        ] {
            assert_eq!(lines.at(&named(name), at(second)), line, "{name} {second}");
        }
        assert_eq!(lines.end(&named("one"), 0), None);
        assert_eq!(lines.end(&named("three"), 0), None);
        assert_eq!(lines.end(&named("two"), 0).map(|it| it.next), Some(1));
        assert_eq!(lines.next(), 2);
    }

    #[test]
    fn who_is_new_goes_where_those_have_gone_who_began() {
        let lines = lines(
            &[
                share("one", 0, 10),
                share("two", 0, 20),
                share("one", 2, 50),
            ],
            &[left("two", 0, 1, 30), left("one", 0, 2, 40)],
        );
        let line = |name, second| lines.at(&named(name), at(second));
        assert_eq!(line("three", 39), 0);
        assert_eq!(line("three", 41), 2);
        assert_eq!(line("one", 60), 2);
        assert_eq!(line("two", 60), 1);
        assert_eq!(lines.end(&named("three"), 0).map(|it| it.next), Some(2));
        // Before anything was entered there is one.
        assert_eq!(WalLines::default().at(&named("one"), at(1)), 0);
    }

    #[test]
    fn a_timeline_belongs_to_the_first() {
        let other = Share {
            timeline: TimelineId(2),
            ..share("two", 0, 20)
        };
        let lines = lines(&[share("one", 0, 10), other, share("two", 0, 30)], &[]);
        let owner = |line, timeline| lines.owner(line, TimelineId(timeline)).cloned();
        assert_eq!(owner(0, 1), Some(named("one")));
        assert_eq!(owner(0, 2), Some(named("two")));
        assert_eq!(owner(0, 3), None);
        assert_eq!(owner(1, 1), None);
    }
}
