//! Exponential backoff with full jitter: many agents that lost one
//! coordinator must not come back in step.
//!
//! Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// How long to wait between tries.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    /// Waits between zero and `initial` at first; the upper bound doubles with
    /// each try up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            tries: 0,
        }
    }

    /// The next wait. `random` is uniform in `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        let bound = self
            .initial
            .saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX))
            .min(self.max);
        self.tries = (self.tries + 1).min(31);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }

    /// The next wait with the operating system's randomness.
    pub fn next_random(&mut self) -> Duration {
        self.next(random_unit())
    }

    /// Things went well: start from `initial` again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Uniform in `0.0..1.0`, from the operating system. Without randomness the
/// middle will do: jitter is a courtesy, not a secret.
pub fn random_unit() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_within_bounds_and_grow(random in 0.0_f64..1.0, tries in 0_usize..100) {
            let max = Duration::from_mins(1);
            let mut backoff = Backoff::new(Duration::from_millis(100), max);
            for n in 0..tries {
                let bound = Duration::from_millis(100).saturating_mul(1 << n.min(20)).min(max);
                prop_assert!(backoff.next(random) <= bound);
            }
            backoff.reset();
            prop_assert!(backoff.next(random) <= Duration::from_millis(100));
        }
    }
}
