//! Timeline history files: which timeline counts up to where.
//!
//! Source: `readTimeLineHistory` and `writeTimeLineHistory` in PostgreSQL's
//! `access/transam/timeline.c`. A line for each timeline before the file's
//! own: its number, where the next one left it, and why, separated by tabs.

use crate::physical::{Lsn, TimelineId};

/// The longest file that is read, in bytes: some ten thousand promotions.
pub const LONGEST_HISTORY: usize = 1 << 20;

/// Of a text that is quoted in an error.
const QUOTED: usize = 64;

/// Where a cluster's timeline comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    timeline: TimelineId,
    entries: Vec<HistoryEntry>,
}

/// A timeline that another one has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its number.
    pub timeline: TimelineId,
    /// The first byte that is the next one's.
    pub switch: Lsn,
    /// In the server's words, such as `no recovery target specified`.
    pub reason: String,
}

/// What of the log is a timeline's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its number.
    pub timeline: TimelineId,
    /// Its first byte.
    pub from: Lsn,
    /// The byte behind its last; `None`: it goes on.
    pub until: Option<Lsn>,
}

/// Why a file is no timeline history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHistory {
    /// Longer than any.
    #[error("it has {0} bytes, more than {LONGEST_HISTORY}")]
    Long(usize),
    /// Neither an entry nor a comment.
    #[error("its line {line} is not a timeline, a position and a reason: {text:?}")]
    Line {
        /// Counts from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// Histories go from old to new.
    #[error("its line {line} is of timeline {timeline}, which cannot come behind the one before")]
    Order {
        /// Counts from 1.
        line: usize,
        /// Of the line.
        timeline: TimelineId,
    },
    /// Nothing can be left before it began.
    #[error("its line {line} leaves timeline {timeline} at {switch}, before it began")]
    Switch {
        /// Counts from 1.
        line: usize,
        /// Of the line.
        timeline: TimelineId,
        /// Of the line.
        switch: Lsn,
    },
    /// Only the first timeline has no history.
    #[error("it names no timeline that timeline {0} comes from")]
    Empty(TimelineId),
    /// A timeline that none can be before.
    #[error("it is of timeline {own}, but its last line is of timeline {last}")]
    Own {
        /// By the file's name.
        own: TimelineId,
        /// In the file.
        last: TimelineId,
    },
}

impl History {
    /// Of the first timeline, which has no file.
    pub fn first() -> Self {
        Self {
            timeline: TimelineId(1),
            entries: Vec::new(),
        }
    }

    /// Reads the history file of `timeline`.
    pub fn parse(timeline: TimelineId, content: &[u8]) -> Result<Self, InvalidHistory> {
        if content.len() > LONGEST_HISTORY {
            return Err(InvalidHistory::Long(content.len()));
        }
        // Reasons hold names of restore points, of whatever encoding.
        let text = String::from_utf8_lossy(content);
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let entry = entry(text).ok_or_else(|| InvalidHistory::Line {
                line,
                text: text.chars().take(QUOTED).collect(),
            })?;
            let (timeline, switch) = (entry.timeline, entry.switch);
            let before = entries.last();
            if timeline.0 == 0 || before.is_some_and(|before| before.timeline >= timeline) {
                return Err(InvalidHistory::Order { line, timeline });
            }
            if before.is_some_and(|before| before.switch > switch) {
                return Err(InvalidHistory::Switch {
                    line,
                    timeline,
                    switch,
                });
            }
            entries.push(entry);
        }
        match entries.last() {
            None if timeline.0 > 1 => Err(InvalidHistory::Empty(timeline)),
            Some(last) if last.timeline >= timeline => Err(InvalidHistory::Own {
                own: timeline,
                last: last.timeline,
            }),
            _ => Ok(Self { timeline, entries }),
        }
    }

    /// Whose history it is.
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// The timelines before, the oldest first.
    pub fn entries(&self) -> &[HistoryEntry] {
        &self.entries
    }

    /// The whole log: what of it is of each timeline, the oldest first, this
    /// one last.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        let left = self
            .entries
            .iter()
            .map(|entry| (entry.timeline, Some(entry.switch)));
        left.chain([(self.timeline, None)])
            .scan(Lsn(0), |from, (timeline, until)| {
                let span = Span {
                    timeline,
                    from: *from,
                    until,
                };
                *from = until.unwrap_or_default();
                Some(span)
            })
    }

    /// Up to where `timeline` counts in this history; `None`: it is no part of
    /// it.
    pub fn span(&self, timeline: TimelineId) -> Option<Span> {
        self.spans().find(|span| span.timeline == timeline)
    }

    /// The timeline whose the byte at `lsn` is.
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        let left = self.entries.iter().find(|entry| lsn < entry.switch);
        left.map_or(self.timeline, |entry| entry.timeline)
    }
}

fn entry(line: &str) -> Option<HistoryEntry> {
    let (timeline, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (switch, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let digits = timeline.bytes().all(|byte| byte.is_ascii_digit());
    Some(HistoryEntry {
        timeline: TimelineId(digits.then(|| timeline.parse().ok())??),
        switch: switch.parse().ok()?,
        reason: reason.trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    fn parse(timeline: u32, text: &str) -> Result<History, InvalidHistory> {
        History::parse(TimelineId(timeline), text.as_bytes())
    }

    /// As a server wrote it, twice promoted.
    const TWICE: &str = "1\t0/30000D8\tno recovery target specified\n\n\
                         2\t0/5000060\tat restore point \"before\"\n";

    #[test]
    fn a_history_says_whose_each_byte_is() {
        let history = parse(3, TWICE).unwrap();
        assert_eq!(history.timeline(), TimelineId(3));
        assert_eq!(history.entries()[1].reason, "at restore point \"before\"");
        let spans: Vec<_> = history.spans().collect();
        let span = |timeline, from: &str, until: Option<&str>| Span {
            timeline: TimelineId(timeline),
            from: lsn(from),
            until: until.map(lsn),
        };
        let all = [
            span(1, "0/0", Some("0/30000D8")),
            span(2, "0/30000D8", Some("0/5000060")),
            span(3, "0/5000060", None),
        ];
        assert_eq!(spans, all);
        assert_eq!(history.span(TimelineId(2)), Some(all[1]));
        assert_eq!(history.span(TimelineId(4)), None);
        for (at, timeline) in [
            ("0/0", 1),
            ("0/30000D7", 1),
            ("0/30000D8", 2),
            ("0/5000060", 3),
            ("F/0", 3),
        ] {
            assert_eq!(history.timeline_at(lsn(at)), TimelineId(timeline), "{at}");
        }
    }

    #[test]
    fn the_first_timeline_has_no_history() {
        assert_eq!(parse(1, ""), Ok(History::first()));
        assert_eq!(History::first().timeline_at(Lsn(7)), TimelineId(1));
        assert_eq!(History::first().spans().count(), 1);
    }

    #[test]
    fn timelines_may_be_skipped_and_files_commented() {
        let history = parse(9, "# by hand\n 2 A/B \n\n7\tA/B\t\u{fffd}\n").unwrap();
        assert_eq!(history.entries().len(), 2);
        assert_eq!(history.entries()[0].reason, "");
    }

    #[test]
    fn nonsense_is_refused() {
        for (timeline, text, wanted) in [
            (2, "", "names no timeline"),
            (2, "1\n", "line 1"),
            (2, "1\tx\tr\n", "line 1"),
            (2, "+1\t0/1\tr\n", "line 1"),
            (2, "1\t0/1\tr\n99999999999\t0/2\tr\n", "line 2"),
            (9, "0\t0/1\tr\n", "timeline 0"),
            (9, "2\t0/1\tr\n2\t0/2\tr\n", "line 2 is of timeline 2"),
            (9, "2\t0/1\tr\n1\t0/2\tr\n", "line 2 is of timeline 1"),
            (9, "1\t0/2\tr\n2\t0/1\tr\n", "before it began"),
            (
                2,
                "1\t0/2\tr\n2\t0/3\tr\n",
                "its last line is of timeline 2",
            ),
            (1, "1\t0/1\tr\n", "its last line is of timeline 1"),
        ] {
            let error = parse(timeline, text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
        let long = vec![b'#'; LONGEST_HISTORY + 1];
        assert_eq!(
            History::parse(TimelineId(2), &long),
            Err(InvalidHistory::Long(long.len()))
        );
    }
}
