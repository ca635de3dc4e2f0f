//! Whether and when a failed job is tried again.

use jiff::{SignedDuration, Timestamp};
use strongroom_spec::{Failure, FailureCode};

/// Doubling delays between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Behind the first failed attempt.
    pub first: SignedDuration,
    /// At most.
    pub max: SignedDuration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: SignedDuration::from_secs(30),
            max: SignedDuration::from_mins(30),
        }
    }
}

impl Backoff {
    /// For what must go on: whoever archives a log cannot be away for long, and
    /// what is wrong with the server will be put right some day.
    pub const URGENT: Self = Self {
        first: SignedDuration::from_secs(5),
        max: SignedDuration::from_mins(1),
    };

    /// When to try again after `failed_attempts` failures, of which `failure`
    /// is the last; `None` when there is to be no other attempt.
    ///
    /// An attempt that was lost without its own fault (the agent or its
    /// connection went away) is first repeated at once.
    pub fn next_attempt(
        &self,
        failure: &Failure,
        failed_attempts: u32,
        max_attempts: u32,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if !failure.retryable || failed_attempts >= max_attempts {
            return None;
        }
        let doublings = failed_attempts.saturating_sub(1);
        let delay = if failure.code == FailureCode::Fenced && doublings == 0 {
            SignedDuration::ZERO
        } else {
            1i32.checked_shl(doublings)
                .filter(|factor| *factor > 0)
                .and_then(|factor| self.first.checked_mul(factor))
                .unwrap_or(self.max)
                .min(self.max)
        };
        Some(now.saturating_add(delay).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure(code: FailureCode, retryable: bool) -> Failure {
        Failure {
            code,
            message: String::new(),
            retryable,
        }
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn delay(failed: u32) -> i64 {
        let store = failure(FailureCode::Store, true);
        let next = Backoff::default().next_attempt(&store, failed, u32::MAX, NOW);
        next.unwrap().as_second()
    }

    #[test]
    fn delays_double_up_to_the_most() {
        assert_eq!([1, 2, 3, 4].map(delay), [30, 60, 120, 240]);
        assert_eq!(delay(40), 1800);
    }

    #[test]
    fn a_lost_attempt_is_first_repeated_at_once() {
        let lost = failure(FailureCode::Fenced, true);
        let backoff = Backoff::default();
        assert_eq!(backoff.next_attempt(&lost, 1, 3, NOW), Some(NOW));
        assert!(backoff.next_attempt(&lost, 2, 3, NOW) > Some(NOW));
    }

    #[test]
    fn what_no_attempt_would_mend_is_not_repeated() {
        let refused = failure(FailureCode::NotAllowed, false);
        assert_eq!(Backoff::default().next_attempt(&refused, 1, 3, NOW), None);
    }

    proptest! {
        #[test]
        fn never_more_failures_than_allowed(failed in 0u32..100, max in 1u32..100) {
            let store = failure(FailureCode::Store, true);
            let next = Backoff::default().next_attempt(&store, failed, max, NOW);
            prop_assert_eq!(next.is_some(), failed < max);
        }

        #[test]
        fn delays_never_shrink(failed in 1u32..100) {
            prop_assert!(delay(failed) <= delay(failed + 1));
        }
    }
}
