//! Attempts: dispatched, at work, ended in every way.

use jiff::SignedDuration;
use strongroom_layout::{AttemptRef, JobId};
use strongroom_spec::{FailureCode, JobSpec};
use uuid::Uuid;

use super::{
    Fixture, contract,
    fixture::{BOOT, failure, operator, report, snapshot_id, success},
};
use crate::{
    catalog::{AuditFilter, Finished, SnapshotFilter},
    jobs::{Backoff, Concurrency},
    model::{AuditOutcome, JobState, RepositoryState, StateWord},
};

contract!(
    a_job_goes_from_pending_to_succeeded,
    only_live_agents_get_jobs_and_each_once,
    the_next_backup_has_the_last_snapshot_as_parent,
    a_failed_attempt_is_repeated_after_a_while_and_then_fails,
    a_report_counts_once,
    a_fenced_attempt_changes_nothing,
    another_agents_attempt_is_not_touched,
    a_lease_that_ends_fences_the_attempt,
    heartbeats_keep_a_lease,
    a_coordinator_that_was_away_gives_every_lease_time,
    an_attempt_that_ignores_its_timeout_is_given_up,
    a_restarted_agent_loses_what_it_does_not_know,
    an_offer_that_was_lost_with_its_stream_is_made_again,
    an_undelivered_offer_costs_no_attempt,
    a_running_job_is_cancelled_by_its_agents_report,
    a_cancelled_job_whose_agent_vanished_ends_with_its_lease,
    the_next_deadline_is_the_nearest,
    a_grant_is_decided_by_the_attempts_state,
);

const BACKOFF: Backoff = Backoff {
    first: SignedDuration::from_secs(30),
    max: SignedDuration::from_mins(30),
};

async fn a_job_goes_from_pending_to_succeeded(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let job = fixture.backup(&agent, "web").await;
    let dispatched = fixture.dispatch(&agent).await.remove(0);
    assert_eq!(dispatched.id, job.id);
    assert_eq!(dispatched.attempt, 1);
    let lease = dispatched.state.lease().unwrap();
    assert_eq!(lease.boot_id, BOOT);
    assert_eq!(lease.expires_at, fixture.in_seconds(60));
    fixture.advance(1);
    let attempt = dispatched.attempt_ref().unwrap();
    let running = catalog.accept_attempt(agent.id, attempt).await.unwrap();
    assert_eq!(running.unwrap().state.word(), StateWord::Running);
    fixture.advance(2);
    fixture.publish(attempt, 7, fixture.now()).await;
    let mut end = report(attempt, Ok(success(7)));
    end.warning_count = 2;
    let finished = catalog.finish_attempt(agent.id, &end, true, &BACKOFF).await;
    let Finished::Recorded(done) = finished.unwrap() else {
        panic!("not recorded");
    };
    assert_eq!(done.state, JobState::Succeeded { at: fixture.now() });
    assert_eq!(done.shown_state(), "succeeded with warnings");
    assert_eq!(done.snapshot, Some(snapshot_id(7)));
    assert_eq!(*done, catalog.job(job.id).await.unwrap());
    let detail = catalog.job_detail(job.id).await.unwrap();
    assert_eq!(detail.result, Some(success(7)));
    assert_eq!(detail.warnings, end.warnings);
    assert_eq!(detail.attempts.len(), 1);
    assert_eq!(detail.attempts[0].ended_at, Some(fixture.now()));
    let listed = catalog
        .snapshots(&SnapshotFilter::default(), 9)
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 1);
    assert_eq!(listed.items[0].warning_count, 2);
    let repository = catalog.repository(&repository.name).await.unwrap();
    assert!(matches!(repository.state, RepositoryState::Ready { .. }));
    let filter = AuditFilter {
        object: Some(job.id.to_string()),
        ..AuditFilter::default()
    };
    let log = catalog.audit_log(&filter, 9).await.unwrap().items;
    let actions: Vec<_> = log.iter().rev().map(|it| it.action.as_str()).collect();
    assert_eq!(
        actions,
        ["job.create", "job.dispatch", "job.accept", "job.report"]
    );
    assert!(
        log.iter()
            .all(|it| it.trace_id.as_deref() == Some(&*job.trace.trace_id))
    );
}

async fn only_live_agents_get_jobs_and_each_once(fixture: Fixture) {
    let live = fixture.agent("web-1").await;
    let away = fixture.agent("web-2").await;
    for agent in [&live, &away] {
        fixture.repository(agent).await;
        fixture.backup(agent, "web").await;
    }
    let (one, two) = tokio::join!(fixture.dispatch(&live), fixture.dispatch(&live));
    assert_eq!(one.len() + two.len(), 1);
    assert!(fixture.dispatch(&live).await.is_empty());
    let none = fixture
        .catalog
        .dispatch(&[], Concurrency::default(), SignedDuration::from_secs(60))
        .await;
    assert!(none.unwrap().is_empty());
}

async fn the_next_backup_has_the_last_snapshot_as_parent(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    for (index, parent) in [(1, None), (2, Some(1)), (3, Some(2))] {
        fixture.advance(60);
        let attempt = fixture.started(&agent, "web").await;
        let job = fixture.catalog.job(attempt.job).await.unwrap();
        let JobSpec::Backup(work) = job.spec else {
            panic!("{job:?}");
        };
        assert_eq!(work.parent, parent.map(snapshot_id));
        fixture.finish(&agent, attempt, Ok(success(index))).await;
    }
    fixture.advance(60);
    let attempt = fixture.started(&agent, "another").await;
    let job = fixture.catalog.job(attempt.job).await.unwrap();
    let JobSpec::Backup(work) = job.spec else {
        panic!("{job:?}");
    };
    assert_eq!(work.parent, None, "of another dataset");
}

async fn a_failed_attempt_is_repeated_after_a_while_and_then_fails(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    fixture.backup(&agent, "web").await;
    for (number, delay) in [(1, 30), (2, 60)] {
        let attempt = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
        assert_eq!(attempt.attempt, number);
        let job = fixture
            .finish(&agent, attempt, Err(failure(FailureCode::Store, true)))
            .await;
        let JobState::Pending {
            not_before,
            failure,
        } = job.state
        else {
            panic!("{job:?}");
        };
        assert_eq!(not_before, fixture.in_seconds(delay));
        assert_eq!(failure.unwrap().code, FailureCode::Store);
        fixture.advance(delay - 1);
        assert!(fixture.dispatch(&agent).await.is_empty());
        fixture.advance(1);
    }
    let attempt = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    let job = fixture
        .finish(&agent, attempt, Err(failure(FailureCode::Store, true)))
        .await;
    assert_eq!(job.state.word(), StateWord::Failed);
    let detail = fixture.catalog.job_detail(job.id).await.unwrap();
    assert_eq!(detail.attempts.len(), 3);
    assert!(detail.attempts.iter().all(|it| it.failure.is_some()));
}

async fn a_report_counts_once(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let end = report(attempt, Err(failure(FailureCode::Store, true)));
    let finish = async || {
        let finished = fixture
            .catalog
            .finish_attempt(agent.id, &end, true, &BACKOFF);
        finished.await.unwrap()
    };
    assert!(matches!(finish().await, Finished::Recorded(_)));
    let after = fixture.catalog.job(attempt.job).await.unwrap();
    assert_eq!(finish().await, Finished::Duplicate);
    fixture.advance(3600);
    fixture.dispatch(&agent).await;
    assert_eq!(finish().await, Finished::Duplicate, "also when it goes on");
    assert_eq!(after.failed_attempts, 1);
}

async fn a_fenced_attempt_changes_nothing(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let old = fixture.started(&agent, "web").await;
    fixture.advance(61);
    assert_eq!(catalog.expire_leases(&BACKOFF).await.unwrap().len(), 1);
    let new = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    assert_eq!(new.attempt, 2);
    let before = catalog.job(new.job).await.unwrap();
    assert_eq!(catalog.accept_attempt(agent.id, old).await.unwrap(), None);
    let renewed = catalog
        .renew_leases(agent.id, &[old], fixture.in_seconds(60))
        .await;
    assert!(renewed.unwrap().is_empty());
    catalog.release_attempt(old).await.unwrap();
    let late = report(old, Ok(success(1)));
    let finished = catalog
        .finish_attempt(agent.id, &late, true, &BACKOFF)
        .await;
    assert!(matches!(finished.unwrap(), Finished::Fenced { .. }));
    assert_eq!(catalog.job(new.job).await.unwrap(), before);
    let filter = AuditFilter {
        action: Some("job.report".into()),
        ..AuditFilter::default()
    };
    let log = catalog.audit_log(&filter, 9).await.unwrap().items;
    assert_eq!(log[0].outcome, AuditOutcome::Refused);
}

async fn another_agents_attempt_is_not_touched(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let thief = fixture.agent("web-2").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let before = catalog.job(attempt.job).await.unwrap();
    let accepted = catalog.accept_attempt(thief.id, attempt).await.unwrap();
    assert_eq!(accepted, None);
    let renewed = catalog
        .renew_leases(thief.id, &[attempt], fixture.in_seconds(999))
        .await;
    assert!(renewed.unwrap().is_empty());
    let end = report(attempt, Ok(success(1)));
    let finished = catalog.finish_attempt(thief.id, &end, true, &BACKOFF).await;
    assert!(matches!(finished.unwrap(), Finished::Fenced { .. }));
    let unknown = AttemptRef {
        job: JobId(Uuid::nil()),
        attempt: 1,
    };
    let finished = catalog
        .finish_attempt(agent.id, &report(unknown, Ok(success(1))), true, &BACKOFF)
        .await;
    assert!(matches!(finished.unwrap(), Finished::Fenced { .. }));
    assert_eq!(catalog.job(attempt.job).await.unwrap(), before);
}

async fn a_lease_that_ends_fences_the_attempt(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    fixture.advance(59);
    assert!(catalog.expire_leases(&BACKOFF).await.unwrap().is_empty());
    fixture.advance(1);
    let lost = catalog.expire_leases(&BACKOFF).await.unwrap().remove(0);
    assert_eq!(lost.id, attempt.job);
    let JobState::Pending {
        not_before,
        failure,
    } = &lost.state
    else {
        panic!("{lost:?}");
    };
    assert_eq!(
        *not_before,
        fixture.now(),
        "the first loss is repeated at once"
    );
    let failure = failure.as_ref().unwrap();
    assert_eq!(failure.code, FailureCode::Fenced);
    assert!(failure.message.contains("web-1"), "{failure:?}");
    assert!(catalog.expire_leases(&BACKOFF).await.unwrap().is_empty());
    let detail = catalog.job_detail(attempt.job).await.unwrap();
    assert_eq!(detail.attempts[0].ended_at, Some(fixture.now()));
}

async fn heartbeats_keep_a_lease(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    fixture.backup(&agent, "web").await;
    let attempt = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    for _ in 0..5 {
        fixture.advance(50);
        let until = fixture.in_seconds(60);
        let renewed = catalog.renew_leases(agent.id, &[attempt], until).await;
        assert_eq!(renewed.unwrap(), [attempt]);
        assert!(catalog.expire_leases(&BACKOFF).await.unwrap().is_empty());
    }
    let job = catalog.job(attempt.job).await.unwrap();
    assert_eq!(
        job.state.word(),
        StateWord::Running,
        "what is at work was accepted"
    );
    fixture.advance(90);
    let renewed = catalog
        .renew_leases(agent.id, &[attempt], fixture.in_seconds(60))
        .await;
    assert_eq!(renewed.unwrap(), [attempt], "late, but nobody fenced it");
}

async fn a_coordinator_that_was_away_gives_every_lease_time(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    fixture.advance(3600);
    catalog.extend_leases(fixture.in_seconds(60)).await.unwrap();
    assert!(catalog.expire_leases(&BACKOFF).await.unwrap().is_empty());
    let job = fixture.finish(&agent, attempt, Ok(success(1))).await;
    assert_eq!(job.state.word(), StateWord::Succeeded);
}

async fn an_attempt_that_ignores_its_timeout_is_given_up(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    // The policy's timeout is an hour.
    fixture.advance(3600);
    let renew = async |seconds| {
        let until = fixture.in_seconds(seconds);
        let renewed = catalog.renew_leases(agent.id, &[attempt], until).await;
        assert_eq!(renewed.unwrap(), [attempt]);
    };
    renew(600).await;
    assert!(catalog.expire_leases(&BACKOFF).await.unwrap().is_empty());
    fixture.advance(61);
    renew(600).await;
    let given_up = catalog.expire_leases(&BACKOFF).await.unwrap().remove(0);
    let JobState::Pending { failure, .. } = given_up.state else {
        panic!("{given_up:?}");
    };
    assert_eq!(failure.unwrap().code, FailureCode::Timeout);
}

async fn a_restarted_agent_loses_what_it_does_not_know(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    catalog
        .mark_repository_ready(&repository.name)
        .await
        .unwrap();
    let lost = fixture.started(&agent, "a").await;
    let in_outbox = fixture.started(&agent, "b").await;
    let reboot = Uuid::from_u128(99);
    let ended = catalog
        .reconcile_attempts(agent.id, reboot, &[in_outbox], &BACKOFF)
        .await
        .unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].id, lost.job);
    assert_eq!(ended[0].failed_attempts, 1);
    assert_eq!(ended[0].state.word(), StateWord::Pending);
    let job = fixture.finish(&agent, in_outbox, Ok(success(1))).await;
    assert_eq!(job.state.word(), StateWord::Succeeded);
}

async fn an_offer_that_was_lost_with_its_stream_is_made_again(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    fixture.backup(&agent, "web").await;
    let first = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    let ended = catalog
        .reconcile_attempts(agent.id, BOOT, &[], &BACKOFF)
        .await
        .unwrap();
    assert!(ended.is_empty(), "the agent never had it");
    let again = fixture.dispatch(&agent).await.remove(0);
    assert_eq!(again.id, first.job);
    assert_eq!((again.attempt, again.failed_attempts), (2, 0));
}

async fn an_undelivered_offer_costs_no_attempt(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    fixture.backup(&agent, "web").await;
    for number in 1..=9 {
        let attempt = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
        assert_eq!(attempt.attempt, number);
        fixture.catalog.release_attempt(attempt).await.unwrap();
    }
    let attempt = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    let job = fixture
        .finish(&agent, attempt, Err(failure(FailureCode::Store, true)))
        .await;
    assert_eq!(job.state.word(), StateWord::Pending, "the first of three");
}

async fn a_running_job_is_cancelled_by_its_agents_report(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let asked = catalog
        .cancel_job(attempt.job, &operator(), "too slow")
        .await;
    let asked = asked.unwrap();
    assert_eq!(asked.state.word(), StateWord::Running);
    assert_eq!(asked.cancel.unwrap().reason, "too slow");
    let state = catalog.attempt_state(attempt).await.unwrap().unwrap();
    assert!(state.cancelled);
    let job = fixture
        .finish(&agent, attempt, Err(failure(FailureCode::Cancelled, true)))
        .await;
    assert_eq!(job.state.word(), StateWord::Cancelled);
    assert!(fixture.dispatch(&agent).await.is_empty());
}

async fn a_cancelled_job_whose_agent_vanished_ends_with_its_lease(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    catalog
        .cancel_job(attempt.job, &operator(), "x")
        .await
        .unwrap();
    fixture.advance(60);
    let ended = catalog.expire_leases(&BACKOFF).await.unwrap();
    assert_eq!(ended[0].state.word(), StateWord::Cancelled);
}

async fn the_next_deadline_is_the_nearest(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    catalog
        .mark_repository_ready(&repository.name)
        .await
        .unwrap();
    assert_eq!(catalog.next_deadline().await.unwrap(), None);
    let a = fixture.started(&agent, "a").await;
    fixture.started(&agent, "b").await;
    assert_eq!(
        catalog.next_deadline().await.unwrap(),
        Some(fixture.in_seconds(60))
    );
    fixture
        .finish(&agent, a, Err(failure(FailureCode::Store, true)))
        .await;
    assert_eq!(
        catalog.next_deadline().await.unwrap(),
        Some(fixture.in_seconds(30))
    );
}

async fn a_grant_is_decided_by_the_attempts_state(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let first = fixture.started(&agent, "web").await;
    let state = catalog.attempt_state(first).await.unwrap().unwrap();
    assert!(state.creates_repository);
    assert!(state.holds_lease(fixture.now()));
    assert!(!state.holds_lease(fixture.in_seconds(60)));
    assert_eq!(state.agent, agent.id);
    assert_eq!(state.repository.unwrap().prefix, repository.prefix);
    fixture.finish(&agent, first, Ok(success(1))).await;
    let ended = catalog.attempt_state(first).await.unwrap().unwrap();
    assert!(!ended.holds_lease(fixture.now()));
    fixture.advance(60);
    let second = fixture.started(&agent, "web").await;
    let state = catalog.attempt_state(second).await.unwrap().unwrap();
    assert!(!state.creates_repository);
    assert_eq!(state.parent, Some(snapshot_id(1)));
    let newer = AttemptRef {
        attempt: 2,
        ..second
    };
    let state = catalog.attempt_state(newer).await.unwrap().unwrap();
    assert!(
        !state.holds_lease(fixture.now()),
        "there is no such attempt"
    );
    let nothing = AttemptRef {
        job: JobId(Uuid::nil()),
        attempt: 1,
    };
    assert!(catalog.attempt_state(nothing).await.unwrap().is_none());
}
