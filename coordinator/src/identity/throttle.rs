//! Slows down whoever guesses join tokens.

use std::{collections::HashMap, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Refusals that an address may cause in a [`WINDOW`].
const MAX_REFUSALS: u32 = 20;
const WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// Addresses to remember; beyond, new ones are not counted.
const MAX_ADDRESSES: usize = 4096;

/// Counts refused enrolments by address. Those that succeed are not limited.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<IpAddr, Count>>);

#[derive(Debug, Clone, Copy)]
struct Count {
    since: Timestamp,
    refusals: u32,
}

impl Throttle {
    /// Whether the address may try now.
    pub(super) fn admits(&self, address: IpAddr, now: Timestamp) -> bool {
        self.0
            .lock()
            .get(&address)
            .is_none_or(|count| count.is_over(now) || count.refusals < MAX_REFUSALS)
    }

    /// Notes that an attempt from the address was refused.
    pub(super) fn refused(&self, address: IpAddr, now: Timestamp) {
        let mut counts = self.0.lock();
        if counts.len() >= MAX_ADDRESSES {
            counts.retain(|_, count| !count.is_over(now));
        }
        if counts.len() >= MAX_ADDRESSES && !counts.contains_key(&address) {
            return;
        }
        let fresh = Count {
            since: now,
            refusals: 0,
        };
        let count = counts.entry(address).or_insert(fresh);
        if count.is_over(now) {
            *count = fresh;
        }
        count.refusals += 1;
    }
}

impl Count {
    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_stopped_for_a_while_and_for_that_address_only() {
        let throttle = Throttle::default();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (guesser, other): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..MAX_REFUSALS {
            assert!(throttle.admits(guesser, now));
            throttle.refused(guesser, now);
        }
        assert!(!throttle.admits(guesser, now));
        assert!(throttle.admits(other, now));
        let later = now + WINDOW;
        assert!(throttle.admits(guesser, later));
        throttle.refused(guesser, later);
        assert!(throttle.admits(guesser, later));
    }
}
