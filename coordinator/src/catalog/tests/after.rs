//! Jobs that wait for another one's success.

use strongroom_spec::FailureCode;

use super::{
    Fixture, contract,
    fixture::{failure, operator, policy, success},
};
use crate::{
    jobs::request,
    model::{Agent, Job, JobState, NewJob},
};

contract!(
    a_job_waits_until_the_one_before_has_succeeded,
    a_job_fails_when_the_one_before_has_failed,
    a_job_fails_when_the_one_before_is_cancelled,
);

/// A backup, and another one that comes after it.
async fn both(fixture: &Fixture, agent: &Agent) -> (Job, Job) {
    fixture.repository(agent).await;
    let first = fixture.backup(agent, "first").await;
    let new = NewJob {
        after: Some(first.id),
        ..request::backup(&policy("second"), agent, operator())
    };
    let second = fixture.catalog.create_job(&new).await.unwrap().job;
    assert_eq!(fixture.catalog.job(second.id).await.unwrap(), second);
    assert_eq!(second.after, Some(first.id));
    (first, second)
}

async fn a_job_waits_until_the_one_before_has_succeeded(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let (first, second) = both(&fixture, &agent).await;
    let dispatched = fixture.dispatch(&agent).await;
    assert_eq!(ids(&dispatched), [first.id]);
    let attempt = dispatched[0].attempt_ref().unwrap();
    assert!(fixture.dispatch(&agent).await.is_empty());
    fixture.finish(&agent, attempt, Ok(success(1))).await;
    assert_eq!(ids(&fixture.dispatch(&agent).await), [second.id]);
}

fn ids(jobs: &[Job]) -> Vec<strongroom_layout::JobId> {
    jobs.iter().map(|job| job.id).collect()
}

async fn a_job_fails_when_the_one_before_has_failed(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let (first, second) = both(&fixture, &agent).await;
    let attempt = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    let broken = failure(FailureCode::Source, false);
    fixture.finish(&agent, attempt, Err(broken)).await;
    given_up(&fixture, &agent, &first, &second, "failed").await;
}

async fn a_job_fails_when_the_one_before_is_cancelled(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let (first, second) = both(&fixture, &agent).await;
    let by = operator();
    fixture
        .catalog
        .cancel_job(first.id, &by, "enough")
        .await
        .unwrap();
    given_up(&fixture, &agent, &first, &second, "cancelled").await;
}

async fn given_up(fixture: &Fixture, agent: &Agent, first: &Job, second: &Job, state: &str) {
    assert!(fixture.dispatch(agent).await.is_empty());
    let second = fixture.catalog.job(second.id).await.unwrap();
    let JobState::Failed { failure, .. } = &second.state else {
        panic!("{second:?}");
    };
    assert!(!failure.retryable);
    for part in ["nothing was begun", &first.id.to_string(), state] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert_eq!(second.attempt, 0);
}
