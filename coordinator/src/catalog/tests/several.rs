//! Several coordinators on one Postgres.

use std::collections::HashSet;

use jiff::SignedDuration;
use strongroom_spec::FailureCode;

use super::{
    Fixture,
    fixture::{BOOT, failure, report},
};
use crate::{
    catalog::{Catalog, Finished},
    jobs::{Backoff, Concurrency, LiveAgent},
};

/// Another coordinator on the fixture's database.
async fn another(fixture: &Fixture) -> Catalog {
    let opened = Catalog::open(&fixture.url, fixture.clock.clone()).await;
    opened.unwrap()
}

#[tokio::test]
async fn a_job_is_dispatched_by_one_of_them_and_limits_hold_for_all() {
    let fixture = Fixture::postgres().await;
    let other = another(&fixture).await;
    let mut live = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let agent = fixture.agent(name).await;
        fixture.repository(&agent).await;
        fixture.backup(&agent, "web").await;
        live.push(LiveAgent {
            agent: agent.id,
            boot_id: BOOT,
        });
    }
    let limits = Concurrency {
        global: 3,
        ..Concurrency::default()
    };
    let lease = SignedDuration::from_mins(1);
    let (one, two) = tokio::join!(
        fixture.catalog.dispatch(&live, limits, lease),
        other.dispatch(&live, limits, lease)
    );
    let given: Vec<_> = [one.unwrap(), two.unwrap()].concat();
    let jobs: HashSet<_> = given.iter().map(|it| it.job.id).collect();
    assert_eq!((given.len(), jobs.len()), (3, 3));
}

#[tokio::test]
async fn an_attempt_ends_once_whoever_hears_of_it() {
    let fixture = Fixture::postgres().await;
    let other = another(&fixture).await;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    fixture.advance(60);
    let backoff = Backoff::default();
    let end = report(attempt, Err(failure(FailureCode::Store, true)));
    let (expired, finished) = tokio::join!(
        fixture.catalog.expire_leases(&backoff),
        other.finish_attempt(agent.id, &end, true, &backoff)
    );
    let recorded = matches!(finished.unwrap(), Finished::Recorded(_));
    let expired = expired.unwrap().len() == 1;
    assert!(recorded ^ expired, "the one or the other");
    let job = other.job(attempt.job).await.unwrap();
    assert_eq!(job.failed_attempts, 1);
}
