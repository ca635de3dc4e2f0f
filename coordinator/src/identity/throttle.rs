//! Slows down whoever guesses tokens, and tells the audit log of it.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::Catalog,
    door::Origin,
    model::{Actor, AuditOutcome, NewAudit},
};

/// Refusals that an origin may cause in a [`WINDOW`].
pub(crate) const MAX_REFUSALS: u32 = 20;
/// How long they count; a burst is over when it was quiet for so long.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// A burst that goes on is told of in pieces of this length.
const LONGEST_BURST: SignedDuration = SignedDuration::from_hours(1);
/// Origins to remember. Those beyond share one count, and all of them may
/// cause [`MAX_OTHERS`].
const MAX_ORIGINS: usize = 4096;
const MAX_OTHERS: u32 = 200;
/// How often to look for bursts that are over.
const LOOK: Duration = Duration::from_secs(20);

/// Counts refusals by origin. Who is not refused is not limited.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    origins: HashMap<Origin, Count>,
    others: Option<Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    /// Of the window.
    since: Timestamp,
    /// In the window.
    refusals: u32,
    burst: Burst,
}

/// Refusals in a row from one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Burst {
    /// From where; `None`: from more origins than are told apart.
    pub(crate) origin: Option<Origin>,
    /// The first of them.
    pub(crate) first: Timestamp,
    /// The last.
    pub(crate) last: Timestamp,
    /// How many.
    pub(crate) refusals: u32,
}

impl Throttle {
    /// How long the address has to wait until it may try again; `None`: it
    /// may try now.
    pub(crate) fn wait(&self, address: IpAddr, now: Timestamp) -> Option<SignedDuration> {
        let counts = self.0.lock();
        let (count, most) = match counts.origins.get(&Origin::of(address)) {
            Some(count) => (count, MAX_REFUSALS),
            None => (
                counts.others.as_ref().filter(|_| counts.is_full())?,
                MAX_OTHERS,
            ),
        };
        let free = count.refusals < most || count.is_over(now);
        (!free).then(|| WINDOW - now.duration_since(count.since))
    }

    /// Notes that an attempt from the address was refused.
    pub(crate) fn refused(&self, address: IpAddr, now: Timestamp) {
        let mut counts = self.0.lock();
        let full = counts.is_full();
        let Counts { origins, others } = &mut *counts;
        let origin = Origin::of(address);
        let count = match origins.entry(origin) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if !full => new.insert(Count::new(Some(origin), now)),
            Entry::Vacant(_) => others.get_or_insert(Count::new(None, now)),
        };
        if count.is_over(now) {
            (count.since, count.refusals) = (now, 0);
        }
        count.refusals = count.refusals.saturating_add(1);
        count.burst.last = now;
        count.burst.refusals = count.burst.refusals.saturating_add(1);
    }

    /// Forgets the bursts that are over, and gives them, the first one first.
    pub(crate) fn take_bursts(&self, now: Timestamp) -> Vec<Burst> {
        let mut counts = self.0.lock();
        let over = |count: &mut Count| count.burst.is_over(now);
        let ended = counts.origins.extract_if(|_, count| over(count));
        let mut bursts: Vec<_> = ended.map(|(_, count)| count.burst).collect();
        bursts.extend(counts.others.take_if(over).map(|count| count.burst));
        bursts.sort_by_key(|burst| burst.first);
        bursts
    }
}

impl Counts {
    fn is_full(&self) -> bool {
        self.origins.len() >= MAX_ORIGINS
    }
}

impl Count {
    fn new(origin: Option<Origin>, now: Timestamp) -> Self {
        Self {
            since: now,
            refusals: 0,
            burst: Burst {
                origin,
                first: now,
                last: now,
                refusals: 0,
            },
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= WINDOW
    }
}

impl Burst {
    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.last) >= WINDOW || now.duration_since(self.first) >= LONGEST_BURST
    }

    /// What the audit log says of it: of each only its size, so that nobody
    /// fills the log.
    fn entry(&self, action: &str) -> NewAudit {
        let origin = self
            .origin
            .map_or_else(|| "many addresses".into(), |origin| origin.to_string());
        NewAudit::ok(Actor::Coordinator, action, &origin)
            .outcome(AuditOutcome::Refused)
            .detail(serde_json::json!({
                "attempts": self.refusals,
                "first": self.first,
                "last": self.last,
            }))
    }
}

/// Enters each burst of at least `least` refusals into the audit log under
/// `action` when it is over, until `cancel`; then what there is.
pub(crate) async fn report(
    throttle: Arc<Throttle>,
    action: &'static str,
    least: u32,
    catalog: Catalog,
    cancel: CancellationToken,
) {
    loop {
        let now = tokio::select! {
            () = tokio::time::sleep(LOOK) => catalog.clock().now(),
            () = cancel.cancelled() => Timestamp::MAX,
        };
        for burst in throttle.take_bursts(now) {
            if burst.refusals < least {
                continue;
            }
            if let Err(error) = catalog.audit(burst.entry(action)).await {
                tracing::error!(%error, ?burst, action, "refusals could not be audited");
            }
        }
        if cancel.is_cancelled() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn guessing_is_stopped_for_a_while_and_for_that_origin_only() {
        let throttle = Throttle::default();
        let now = start();
        let (guesser, other) = (address("2001:db8::1"), address("192.0.2.2"));
        for _ in 0..MAX_REFUSALS {
            assert_eq!(throttle.wait(guesser, now), None);
            throttle.refused(guesser, now);
        }
        let later = now + SignedDuration::from_secs(10);
        assert_eq!(
            throttle.wait(address("2001:db8::2"), later),
            Some(SignedDuration::from_secs(50)),
            "another address of its network"
        );
        assert_eq!(throttle.wait(other, later), None);
        let later = now + WINDOW;
        for _ in 0..MAX_REFUSALS {
            assert_eq!(throttle.wait(guesser, later), None);
            throttle.refused(guesser, later);
        }
        assert_eq!(throttle.wait(guesser, later), Some(WINDOW));
    }

    #[test]
    fn a_burst_is_told_of_once_when_it_is_over() {
        let throttle = Throttle::default();
        let now = start();
        let guesser = address("192.0.2.1");
        for seconds in 0..90 {
            throttle.refused(guesser, now + SignedDuration::from_secs(seconds));
        }
        let last = now + SignedDuration::from_secs(89);
        assert_eq!(throttle.take_bursts(last), []);
        let burst = Burst {
            origin: Some(Origin::of(guesser)),
            first: now,
            last,
            refusals: 90,
        };
        let over = last + WINDOW;
        assert_eq!(throttle.take_bursts(over), [burst]);
        assert_eq!(throttle.take_bursts(over), []);
    }

    #[test]
    fn a_burst_that_goes_on_is_told_of_by_the_hour() {
        let throttle = Throttle::default();
        let now = start();
        for minutes in 0..=60 {
            let minute = SignedDuration::from_mins(minutes);
            throttle.refused(address("192.0.2.1"), now + minute);
        }
        let bursts = throttle.take_bursts(now + LONGEST_BURST);
        assert_eq!(bursts.len(), 1);
        assert_eq!(bursts[0].refusals, 61);
    }

    #[test]
    fn many_origins_do_not_get_around_it() {
        let throttle = Throttle::default();
        let now = start();
        let origin = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
        for number in 0..MAX_ORIGINS + MAX_OTHERS as usize {
            assert_eq!(throttle.wait(origin(number), now), None, "{number}");
            throttle.refused(origin(number), now);
        }
        assert!(throttle.wait(origin(MAX_ORIGINS * 2), now).is_some());
        assert_eq!(throttle.wait(origin(0), now), None, "it is told apart");
        let bursts = throttle.take_bursts(now + WINDOW);
        assert_eq!(bursts.len(), MAX_ORIGINS + 1);
        let others = bursts.iter().find(|burst| burst.origin.is_none()).unwrap();
        assert_eq!(others.refusals, MAX_OTHERS);
        assert_eq!(throttle.wait(origin(MAX_ORIGINS * 2), now), None);
    }
}
