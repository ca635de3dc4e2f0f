//! Until when a log is known to be complete: pure.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::position::Lsn;

/// A commit has its time before it is flushed: with `synchronous_commit = off`
/// up to three times `wal_writer_delay`, which is 200 ms unless set.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// Words of the server that are remembered until the log is archived that far.
const MOST: usize = 256;

/// What the server said of where its log ended, and when.
#[derive(Debug, Default)]
pub(super) struct Heard {
    words: VecDeque<(Lsn, Timestamp)>,
    last: Option<Timestamp>,
    complete: Option<Timestamp>,
}

impl Heard {
    /// The server said that its log went up to `end`. It reads its own position
    /// before it reads the clock: so whatever was there when it spoke the time
    /// before is within `end`, and no more is certain.
    pub(super) fn say(&mut self, end: Lsn, at: Timestamp) {
        if let Some(before) = self.last {
            let sure = before.saturating_sub(SLACK).unwrap_or(before);
            let full = self.words.len() >= MOST;
            match self.words.back_mut() {
                Some((lsn, time)) if *lsn == end || full => {
                    *lsn = end;
                    *time = sure;
                }
                _ => self.words.push_back((end, sure)),
            }
        }
        self.last = Some(at);
    }

    /// A new connection: its first word stands alone.
    pub(super) fn reconnected(&mut self) {
        self.last = None;
        self.words.clear();
    }

    /// The log is archived up to `end`: until when is it complete?
    pub(super) fn complete_until(&mut self, end: Lsn) -> Option<Timestamp> {
        while let Some((lsn, at)) = self.words.front().copied()
            && lsn <= end
        {
            self.complete = self.complete.max(Some(at));
            self.words.pop_front();
        }
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn what_was_there_a_word_ago_is_complete_once_it_is_archived() {
        let mut heard = Heard::default();
        heard.say(Lsn(100), at(10));
        assert_eq!(heard.complete_until(Lsn(100)), None);
        heard.say(Lsn(150), at(20));
        heard.say(Lsn(150), at(30));
        assert_eq!(heard.complete_until(Lsn(149)), None);
        assert_eq!(heard.complete_until(Lsn(150)), Some(at(19)));
        heard.say(Lsn(200), at(40));
        assert_eq!(heard.complete_until(Lsn(150)), Some(at(19)));
        assert_eq!(heard.complete_until(Lsn(300)), Some(at(29)));
        heard.reconnected();
        heard.say(Lsn(300), at(90));
        assert_eq!(heard.complete_until(Lsn(300)), Some(at(29)));
    }

    #[test]
    fn a_store_that_is_away_costs_no_memory() {
        let mut heard = Heard::default();
        for second in 0..100_000 {
            heard.say(Lsn(second), at(second as i64));
        }
        assert!(heard.words.len() <= MOST);
        assert_eq!(heard.complete_until(Lsn(99_999)), Some(at(99_997)));
    }
}
