//! How fast an agent may ask. Whoever asks faster waits for his answer: honest
//! agents are slowed down and never refused, unless they will not wait.
//!
//! A leaky bucket for each agent, or session, by the time at which it will be empty again
//! (ITU-T I.371, the "generic cell rate algorithm").

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// What a call costs that asks the store or writes to the catalog by itself.
pub(super) const CALL: u64 = 100;
/// So many bytes of a message cost as much as one answer: they are read, kept and
/// read again.
pub(super) const BYTES: u64 = 128;
/// What the start of a session costs: it may ask another session whether its agent
/// is there. Fifty at once, and five a second.
pub(super) const START: u64 = 1_000;
/// What an object to be written costs: the store may be asked for it.
pub(super) const PUT: u64 = 20;
/// What one answer costs, on average: some 5,000 signatures a second for each
/// agent, a fair part of what one core makes.
const EACH: Duration = Duration::from_micros(200);
/// An agent that was silent may ask for so much at once: 50,000 signatures.
const BURST: Duration = Duration::from_secs(10);
/// No answer waits longer, well within the time that agents wait for one.
const LONGEST: Duration = Duration::from_secs(15);

/// Buckets beyond so many are looked through for those that are empty.
const MANY: usize = 10_000;

/// Remembers how much was asked lately, by whom.
#[derive(Debug)]
pub(super) struct Pace<Key>(Mutex<HashMap<Key, Instant>>);

impl<Key> Default for Pace<Key> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// It would have to wait too long: it is to ask again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooFast;

impl<Key: Eq + Hash> Pace<Key> {
    /// How long an answer that costs `cost` has to wait.
    pub(super) fn take(&self, who: Key, cost: u64, now: Instant) -> Result<Duration, TooFast> {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let cost = EACH.saturating_mul(cost).min(BURST);
        let mut empty = self.0.lock();
        if empty.len() >= MANY {
            empty.retain(|_, until| *until > now);
        }
        let before = empty.get(&who).copied().unwrap_or(now).max(now);
        let after = before + cost;
        let wait = after.duration_since(now).saturating_sub(BURST);
        if wait > LONGEST {
            return Err(TooFast);
        }
        empty.insert(who, after);
        Ok(wait)
    }

    /// Nobody asks under this name any more.
    pub(super) fn forget(&self, who: &Key) {
        self.0.lock().remove(who);
    }

    /// Lets a bucket be so full that the next answer waits for so long.
    #[cfg(test)]
    pub(super) fn fill(&self, who: Key, wait: Duration, now: Instant) {
        self.0.lock().insert(who, now + BURST + wait);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_layout::AgentId;
    use uuid::Uuid;

    use super::*;

    const AGENT: AgentId = AgentId(Uuid::from_u128(1));
    const OTHER: AgentId = AgentId(Uuid::from_u128(2));

    #[test]
    fn an_agent_at_work_never_waits() {
        let pace = Pace::<AgentId>::default();
        let start = Instant::now();
        // 64 requests in a call, fifty calls a second, for an hour.
        for call in 0..180_000u32 {
            let now = start + Duration::from_millis(20) * call;
            assert_eq!(pace.take(AGENT, 64, now), Ok(Duration::ZERO));
        }
    }

    #[test]
    fn a_flood_is_slowed_down_then_sent_away_and_hurts_nobody_else() {
        let pace = Pace::<AgentId>::default();
        let now = Instant::now();
        let mut waited = Duration::ZERO;
        let answered = (0..1_000)
            .map_while(|_| pace.take(AGENT, 1024, now).ok())
            .inspect(|wait| waited = *wait)
            .count();
        assert!((100..200).contains(&answered), "{answered}");
        assert!(waited > Duration::from_secs(10), "{waited:?}");
        assert_eq!(pace.take(OTHER, 1024, now), Ok(Duration::ZERO));
        // Refusals add nothing: it is answered again after a while.
        let later = now + LONGEST;
        assert!(pace.take(AGENT, 1024, later).is_ok());
    }

    #[test]
    fn a_session_that_says_what_agents_say_never_waits_and_a_flood_does() {
        let message = |bytes: u64| CALL + bytes / BYTES;
        let pace = Pace::<AgentId>::default();
        let start = Instant::now();
        // A heartbeat with forty attempts, every second for an hour.
        for second in 0..3_600 {
            let now = start + Duration::from_secs(second);
            assert_eq!(pace.take(AGENT, message(4_096), now), Ok(Duration::ZERO));
        }
        // After an outage, all the reports that waited, and a long listing.
        for _ in 0..256 {
            assert_eq!(pace.take(OTHER, message(2_048), start), Ok(Duration::ZERO));
        }
        let flooding = AgentId(Uuid::from_u128(3));
        let kept = (0..100).map_while(|_| pace.take(flooding, message(2 << 20), start).ok());
        assert!(kept.count() < 10);
    }

    #[test]
    fn what_is_empty_is_forgotten_when_there_is_much() {
        let pace = Pace::<usize>::default();
        let start = Instant::now();
        for who in 0..MANY {
            pace.take(who, 1, start).unwrap();
        }
        pace.take(MANY, START, start + BURST).unwrap();
        assert_eq!(pace.0.lock().len(), 1);
        pace.forget(&MANY);
        assert_eq!(pace.0.lock().len(), 0);
    }

    proptest! {
        #[test]
        fn no_more_is_answered_than_burst_and_rate_allow(
            asked in proptest::collection::vec((1..2_000u64, 0..2_000u64), 1..400),
        ) {
            let pace = Pace::<AgentId>::default();
            let start = Instant::now();
            let (mut now, mut answered, mut last) = (start, 0, start);
            for (cost, pause) in asked {
                now += Duration::from_millis(pause);
                if let Ok(wait) = pace.take(AGENT, cost, now) {
                    answered += cost;
                    last = last.max(now + wait);
                }
            }
            let allowed = BURST + last.duration_since(start);
            let spent = EACH * u32::try_from(answered).unwrap();
            prop_assert!(spent <= allowed + EACH, "{spent:?} in {allowed:?}");
        }
    }
}
