//! What jobs were granted to write.

use std::num::NonZeroU64;

use strongroom_layout::{AttemptRef, ObjectName};
use strongroom_spec::FailureCode;

use super::{
    Fixture, contract,
    fixture::{failure, snapshot_id, success},
};
use crate::{
    catalog::AuditFilter,
    model::{Agent, Budget, Written},
};

contract!(
    a_job_spends_its_budget_over_all_its_attempts,
    two_that_spend_at_once_do_not_spend_twice,
    the_most_that_a_job_before_wrote_is_found,
    an_alarm_is_raised_once,
);

/// A budget of so many bytes.
fn bytes(bytes: u64) -> Budget {
    Budget {
        bytes,
        objects: 100,
        bytes_per_object: NonZeroU64::MAX,
    }
}

/// Asks for a new pack of so many bytes; what the job has written then.
async fn spend(
    fixture: &Fixture,
    attempt: AttemptRef,
    number: u8,
    length: u64,
    budget: Budget,
) -> Option<Written> {
    let objects = [(ObjectName::data_pack(snapshot_id(number)), length)];
    let new = Written::default().and(length);
    let spent = fixture
        .catalog
        .spend("primary/web-1", attempt, &objects, new, budget);
    spent.await.unwrap()
}

async fn a_job_spends_its_budget_over_all_its_attempts(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await.name;
    let first = fixture.started(&agent, "web").await;
    let budget = bytes(100);
    let spent = spend(&fixture, first, 1, 60, budget).await;
    assert_eq!(
        spent,
        Some(Written {
            objects: 1,
            bytes: 60
        })
    );
    assert_eq!(spend(&fixture, first, 2, 41, budget).await, None);
    fixture
        .finish(&agent, first, Err(failure(FailureCode::Store, true)))
        .await;
    fixture.advance(3600);
    let second = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    assert_eq!((second.job, second.attempt), (first.job, 2));
    assert_eq!(spend(&fixture, second, 3, 41, budget).await, None);
    let spent = spend(&fixture, second, 4, 40, budget).await;
    assert_eq!(
        spent,
        Some(Written {
            objects: 2,
            bytes: 100
        })
    );
    // What was refused was not noted.
    let names = [1, 2, 3, 4].map(|number| ObjectName::data_pack(snapshot_id(number)));
    let known = catalog.known_objects(&repository, &names).await.unwrap();
    let mut known: Vec<_> = known.iter().map(|row| row.name).collect();
    known.sort_unstable();
    assert_eq!(known, [names[0], names[3]]);
}

async fn two_that_spend_at_once_do_not_spend_twice(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let budget = bytes(100);
    let (one, two) = tokio::join!(
        spend(&fixture, attempt, 1, 60, budget),
        spend(&fixture, attempt, 2, 60, budget),
    );
    assert!(one.is_some() ^ two.is_some(), "{one:?} {two:?}");
}

async fn backed_up(fixture: &Fixture, agent: &Agent, policy: &str, number: u8, length: u64) {
    let attempt = fixture.started(agent, policy).await;
    let spent = spend(fixture, attempt, number, length, bytes(u64::MAX)).await;
    assert!(spent.is_some());
    fixture.finish(agent, attempt, Ok(success(number))).await;
    fixture.advance(60);
}

async fn the_most_that_a_job_before_wrote_is_found(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let first = fixture.started(&agent, "web").await;
    let job = catalog.job(first.job).await.unwrap();
    assert_eq!(catalog.largest_before(&job, 3).await.unwrap(), None);
    fixture.finish(&agent, first, Ok(success(1))).await;
    for (number, length) in [(2, 70), (3, 30), (4, 50), (5, 20)] {
        backed_up(&fixture, &agent, "web", number, length).await;
    }
    backed_up(&fixture, &agent, "other", 6, 1_000).await;
    // One that fails explains nothing.
    let failed = fixture.started(&agent, "web").await;
    spend(&fixture, failed, 7, 2_000, bytes(u64::MAX)).await;
    fixture
        .finish(&agent, failed, Err(failure(FailureCode::Source, false)))
        .await;
    let last = fixture.started(&agent, "web").await;
    let job = catalog.job(last.job).await.unwrap();
    assert_eq!(catalog.largest_before(&job, 3).await.unwrap(), Some(50));
    assert_eq!(catalog.largest_before(&job, 4).await.unwrap(), Some(70));
}

async fn an_alarm_is_raised_once(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let job = catalog.job(attempt.job).await.unwrap();
    assert!(catalog.raise_alarm(&job, "far too much").await.unwrap());
    assert!(!catalog.raise_alarm(&job, "still more").await.unwrap());
    let done = fixture.finish(&agent, attempt, Ok(success(1))).await;
    assert_eq!(done.alarm.as_deref(), Some("far too much"));
    let kept = catalog.job(job.id).await.unwrap();
    assert_eq!(kept.alarm.as_deref(), Some("far too much"));
    let filter = AuditFilter {
        action: Some("job.alarm".into()),
        ..AuditFilter::default()
    };
    assert_eq!(catalog.audit_log(&filter, 9).await.unwrap().items.len(), 1);
}
