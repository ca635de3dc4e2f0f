//! How far agents' clocks are from the coordinator's: pure.
//!
//! An agent says what its clock shows; the coordinator alone judges, by its own. What
//! was said is older when it arrives, so that a clock seems to be behind by as much as
//! the message took: of the last few the one that was fastest counts.

use std::{collections::VecDeque, fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};

/// Messages that count.
const SAMPLES: usize = 3;

/// What nobody is told of: schedules have minutes.
pub const TOLERATED: SignedDuration = SignedDuration::from_secs(10);

/// How far an agent's clock is from the coordinator's; positive: ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew(pub SignedDuration);

impl Skew {
    /// Whether people should hear of it.
    pub fn matters(self) -> bool {
        self.0.abs() > TOLERATED
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distance = Duration::from_secs(self.0.as_secs().unsigned_abs());
        let distance = strongroom_runtime::units::duration(distance);
        let side = if self.0.is_negative() {
            "behind"
        } else {
            "ahead of"
        };
        write!(f, "{distance} {side} the coordinator's")
    }
}

/// One agent's clock, as its session's messages tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    samples: VecDeque<SignedDuration>,
    told: bool,
}

/// What a message has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is wrong, and was not before.
    Wrong(Skew),
    /// It was wrong and no longer is.
    Right(Skew),
}

impl Clock {
    /// The agent's clock showed `shown` when a message was sent that came at `now`.
    pub(super) fn note(&mut self, shown: Timestamp, now: Timestamp) -> Option<Change> {
        self.samples.push_back(shown.duration_since(now));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        let skew = self.skew()?;
        let before = std::mem::replace(&mut self.told, skew.matters());
        match (before, self.told) {
            (false, true) => Some(Change::Wrong(skew)),
            (true, false) => Some(Change::Right(skew)),
            _ => None,
        }
    }

    /// As far as it is known: one slow message makes no clock late.
    pub(super) fn skew(&self) -> Option<Skew> {
        let fastest = self.samples.iter().max().copied()?;
        let known = fastest >= -TOLERATED || self.samples.len() >= SAMPLES;
        known.then_some(Skew(fastest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn skew(seconds: i64) -> Skew {
        Skew(SignedDuration::from_secs(seconds))
    }

    #[test]
    fn a_clock_ahead_is_seen_at_once_and_until_it_is_right() {
        let mut clock = Clock::default();
        let wrong = Some(Change::Wrong(skew(3600)));
        assert_eq!(clock.note(at(3600), at(0)), wrong);
        assert_eq!(clock.note(at(3601), at(1)), None, "said once");
        assert_eq!(clock.skew(), Some(skew(3600)));
        // Set right: what was said before is forgotten after a few messages.
        assert_eq!(clock.note(at(2), at(2)), None);
        assert_eq!(clock.note(at(3), at(3)), None);
        assert_eq!(clock.note(at(4), at(4)), Some(Change::Right(skew(0))));
    }

    #[test]
    fn a_slow_message_makes_no_clock_late() {
        let mut clock = Clock::default();
        assert_eq!(clock.note(at(0), at(40)), None);
        assert_eq!(clock.skew(), None, "not yet known");
        assert_eq!(clock.note(at(41), at(41)), None);
        assert_eq!(clock.skew(), Some(skew(0)));
        let mut late = Clock::default();
        assert_eq!(late.note(at(-60), at(0)), None);
        assert_eq!(late.note(at(-59), at(1)), None);
        assert_eq!(late.note(at(-58), at(2)), Some(Change::Wrong(skew(-60))));
    }

    #[test]
    fn skews_read_like_sentences() {
        assert_eq!(skew(3_600).to_string(), "1 h ahead of the coordinator's");
        assert_eq!(skew(-90).to_string(), "1 min behind the coordinator's");
    }
}
