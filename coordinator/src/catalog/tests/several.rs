//! Several coordinators on one Postgres.

use std::{collections::HashSet, time::Duration};

use jiff::SignedDuration;
use strongroom_spec::FailureCode;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Fixture,
    fixture::{BOOT, failure, operator, policy, report},
};
use crate::{
    catalog::{Catalog, Changes, Finished, PresenceChange},
    jobs::{Backoff, Concurrency, LiveAgent},
    model::Session,
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

async fn woken(changes: &mut Changes) -> bool {
    let changed = changes.changed();
    let changed = tokio::time::timeout(Duration::from_secs(20), changed);
    changed.await.is_ok()
}

/// Ends whoever listens, and says how many that were.
async fn cut_off_listeners(fixture: &Fixture) -> u64 {
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let cut = sqlx::query(cut).fetch_all(fixture.catalog.writers()).await;
    cut.unwrap().len() as u64
}

/// What others wrote is heard of within a moment, and again when the connection on which
/// it is heard of was lost.
#[tokio::test]
async fn one_is_woken_by_what_another_writes() {
    let fixture = Fixture::postgres().await;
    let other = another(&fixture).await;
    let mut changes = other.changes();
    let stop = CancellationToken::new();
    let listening = tokio::spawn(other.clone().listen(stop.clone()));
    // It listens: whoever waits looks once.
    assert!(woken(&mut changes).await);
    for name in ["a", "b"] {
        let (policies, by) = ([policy(name)], operator());
        let applied = fixture.catalog.apply_policies(&policies, &by);
        applied.await.unwrap();
        assert!(woken(&mut changes).await);
        assert_eq!(cut_off_listeners(&fixture).await, 1);
        // There is another connection: something may have been missed.
        assert!(woken(&mut changes).await);
    }
    assert_eq!(other.newest_events(1).await.unwrap().last, 2);
    stop.cancel();
    listening.await.unwrap();
}

/// The last that is known of an agent is what its newest session says, whoever has it.
#[tokio::test]
async fn an_agent_moves_from_one_to_another() {
    let fixture = Fixture::postgres().await;
    let other = another(&fixture).await;
    let agent = fixture.agent("web-1").await;
    for (number, catalog) in [&fixture.catalog, &other].into_iter().enumerate() {
        let directory = Uuid::from_u128(number as u128);
        catalog.coordinator_starts(directory).await.unwrap();
    }
    let session = |number: u128| Session {
        agent: agent.id,
        id: Uuid::from_u128(number),
        boot: BOOT,
        since: fixture.now(),
    };
    let first = PresenceChange {
        begun: vec![session(1)],
        ..PresenceChange::default()
    };
    fixture.catalog.write_presence(&first).await.unwrap();
    let seen = other.sessions_elsewhere().await.unwrap();
    assert_eq!(seen[0].instance, fixture.catalog.instance());
    fixture.advance(5);
    let second = PresenceChange {
        begun: vec![session(2)],
        ..PresenceChange::default()
    };
    other.write_presence(&second).await.unwrap();
    let left = PresenceChange {
        ended: vec![(session(1), fixture.now())],
        told: vec![(agent.id, false)],
        ..PresenceChange::default()
    };
    let before = other.newest_events(1).await.unwrap().last;
    fixture.catalog.write_presence(&left).await.unwrap();
    let seen = fixture.catalog.sessions_elsewhere().await.unwrap();
    assert_eq!(seen[0].session, session(2));
    assert_eq!(seen[0].instance, other.instance());
    assert_eq!(other.sessions_elsewhere().await.unwrap(), []);
    // It has not gone.
    assert_eq!(other.newest_events(1).await.unwrap().last, before);
}
