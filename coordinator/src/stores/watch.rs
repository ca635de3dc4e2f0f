//! The watch over stores: whether one is away, since when, and when it came back.
//!
//! Jobs wait for a store that is away and say so only in the end. Somebody has to
//! look meanwhile: each store is asked every ten seconds for the length of an
//! object that is not there, the cheapest question that there is.

use std::time::Duration;

use futures::future;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Store, StoreError, Stores};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(10);
/// Before a look that failed is believed.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// A time in which a store was not there, or let us not in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When that was seen.
    pub since: Timestamp,
    /// When it was over; `None`: it is not.
    pub until: Option<Timestamp>,
    /// What was wrong at first.
    pub problem: String,
}

/// The last outage of one store.
#[derive(Debug, Default)]
pub(super) struct Reach(Mutex<Option<Outage>>);

impl Reach {
    pub(super) fn last(&self) -> Option<Outage> {
        self.0.lock().clone()
    }

    /// Notes what a look found; gives the outage that it began or ended.
    fn note(&self, found: Result<(), String>, now: Timestamp) -> Option<Outage> {
        let mut last = self.0.lock();
        let open = last.as_mut().filter(|outage| outage.until.is_none());
        match (open, found) {
            (Some(outage), Ok(())) => outage.until = Some(now),
            (None, Err(problem)) => {
                *last = Some(Outage {
                    since: now,
                    until: None,
                    problem,
                });
            }
            (Some(_), Err(_)) | (None, Ok(())) => return None,
        }
        last.clone()
    }
}

/// Watches the stores until `cancel`.
pub(crate) async fn watch(stores: Stores, cancel: CancellationToken) {
    let each = stores.iter().map(|(name, store)| watch_one(name, store));
    let all = future::join_all(each);
    cancel.run_until_cancelled(all).await;
}

async fn watch_one(name: &str, store: &Store) {
    loop {
        let found = look(store).await.map_err(|error| error.nameless());
        let now = store.client.clock().now();
        if let Some(outage) = store.reach.note(found, now) {
            tell(name, &outage);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn look(store: &Store) -> Result<(), StoreError> {
    if store.client.look().await.is_ok() {
        return Ok(());
    }
    tokio::time::sleep(SECOND_LOOK).await;
    store.client.look().await
}

fn tell(name: &str, outage: &Outage) {
    match outage.until {
        None => tracing::warn!(
            store = name,
            problem = outage.problem,
            "a store is away: jobs wait for it"
        ),
        Some(until) => tracing::warn!(
            store = name,
            away_seconds = until.duration_since(outage.since).as_secs(),
            "a store is there again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_once_and_ends_once() {
        let reach = Reach::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let away = || Err("no answer".to_owned());
        assert_eq!(reach.note(Ok(()), at(1)), None);
        let begun = reach.note(away(), at(2)).unwrap();
        assert_eq!((begun.since, begun.until), (at(2), None));
        assert_eq!(reach.note(Err("another".into()), at(3)), None);
        assert_eq!(reach.last().unwrap().problem, "no answer");
        let ended = reach.note(Ok(()), at(4)).unwrap();
        assert_eq!((ended.since, ended.until), (at(2), Some(at(4))));
        assert_eq!(reach.note(Ok(()), at(5)), None);
        assert_eq!(reach.last(), Some(ended));
        assert_eq!(reach.note(away(), at(6)).unwrap().since, at(6));
    }
}
