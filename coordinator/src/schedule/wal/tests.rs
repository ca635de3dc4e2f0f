//! Begun, changed, ended.

use jiff::Timestamp;
use strongroom_layout::AgentId;
use uuid::Uuid;

use super::*;
use crate::{
    model::{Actor, JobKind, JobState, TraceRef, agent::testing},
    policy::{Dataset, Policy},
};

fn policy(wal: &str) -> Policy {
    serde_json::from_str(&format!(
        r#"{{"name": "orders", "agents": {{"names": ["db-1"]}}, "store": "primary",
            "source": {{"postgres": {{"connection": "main", "method": "physical"}}}} {wal}}}"#
    ))
    .unwrap()
}

const STREAM: &str = r#", "wal": {}"#;
const PUSH: &str = r#", "wal": {"method": "push"}"#;

fn dataset(wal: &str) -> Dataset {
    let agent = testing::agent("db-1", 1, &[]);
    Dataset {
        name: DatasetName::new("orders", "db-1"),
        policy: policy(wal),
        agent,
        scheduled_since: Timestamp::UNIX_EPOCH,
        last_due: None,
        busy: false,
    }
}

fn job(new: &NewJob, state: JobState) -> Job {
    Job {
        id: JobId(Uuid::from_u128(77)),
        kind: JobKind::of(&new.work),
        dataset: new.dataset.clone(),
        agent: new.agent,
        agent_name: "db-1".into(),
        store: new.store.clone(),
        repository: new.repository.clone(),
        work: new.work.clone(),
        limits: new.limits.clone(),
        trace: TraceRef::random(),
        after: None,
        requested_by: Actor::Coordinator,
        created_at: Timestamp::UNIX_EPOCH,
        state,
        attempt: 0,
        failed_attempts: 0,
        started_at: None,
        cancel: None,
        snapshot: None,
        warning_count: 0,
        peak_resident_bytes: None,
        alarm: None,
    }
}

fn open() -> JobState {
    JobState::Pending {
        not_before: Timestamp::UNIX_EPOCH,
        failure: None,
    }
}

fn over() -> JobState {
    JobState::Succeeded {
        at: Timestamp::UNIX_EPOCH,
    }
}

/// The job that a dataset with this `wal` begins with.
fn wanted(wal: &str) -> NewJob {
    let plan = plan_wal(&[dataset(wal)], &[], &[]);
    assert_eq!((plan.create.len(), plan.cancel.len()), (1, 0));
    plan.create.into_iter().next().unwrap()
}

fn method(new: &NewJob) -> &WalMethod {
    match &new.work {
        Work::Wal(work) => &work.method,
        other => panic!("{other:?}"),
    }
}

/// Plans for one dataset, or none, with this last job.
fn planned(now: Option<&str>, last: Job) -> WalPlan {
    let datasets: Vec<_> = now.map(dataset).into_iter().collect();
    plan_wal(&datasets, &[last], &[testing::agent("db-1", 1, &[])])
}

#[test]
fn a_log_is_archived_once_a_policy_says_so_and_for_as_long() {
    let nothing = plan_wal(&[dataset("")], &[], &[]);
    assert!(nothing.create.is_empty());
    let stream = wanted(STREAM);
    assert!(matches!(method(&stream), WalMethod::Stream { .. }));
    assert_eq!(stream.repository, "primary/db-1");

    let running = planned(Some(STREAM), job(&stream, open()));
    assert!(running.create.is_empty() && running.cancel.is_empty());
    // After a day, or when an operator cancelled it.
    let again = planned(Some(STREAM), job(&stream, over()));
    assert_eq!(method(&again.create[0]), method(&stream));
}

#[test]
fn a_change_ends_the_job_and_drops_what_is_not_used_any_more() {
    let stream = wanted(STREAM);
    let ended = planned(Some(PUSH), job(&stream, open()));
    assert_eq!(ended.cancel, [(JobId(Uuid::from_u128(77)), CHANGED)]);
    assert!(ended.create.is_empty());

    let dropped = planned(Some(PUSH), job(&stream, over()));
    let WalMethod::Forget { slot } = method(&dropped.create[0]) else {
        panic!("{dropped:?}");
    };
    assert!(slot.starts_with("strongroom_orders_"));
    let begun = planned(Some(PUSH), job(&dropped.create[0], over()));
    assert_eq!(method(&begun.create[0]), &WalMethod::Push);

    // Another flush is no other slot.
    let slower = r#", "wal": {"flush": "9s"}"#;
    assert_eq!(planned(Some(slower), job(&stream, open())).cancel.len(), 1);
    let begun = planned(Some(slower), job(&stream, over()));
    assert!(matches!(
        method(&begun.create[0]),
        WalMethod::Stream {
            flush_seconds: 9,
            ..
        }
    ));
}

#[test]
fn what_no_policy_wants_any_more_is_ended_and_dropped() {
    let stream = wanted(STREAM);
    for now in [None, Some("")] {
        let ended = planned(now, job(&stream, open()));
        assert_eq!(ended.cancel, [(JobId(Uuid::from_u128(77)), UNWANTED)]);
        let dropped = planned(now, job(&stream, over()));
        assert!(matches!(
            method(&dropped.create[0]),
            WalMethod::Forget { .. }
        ));
        for state in [open(), over()] {
            let done = planned(now, job(&dropped.create[0], state));
            assert!(done.create.is_empty() && done.cancel.is_empty());
        }
        let pushed = planned(now, job(&wanted(PUSH), over()));
        assert!(pushed.create.is_empty());
    }
}

#[test]
fn nothing_is_asked_of_an_agent_that_is_gone() {
    let stream = job(&wanted(STREAM), over());
    let gone = plan_wal(&[], std::slice::from_ref(&stream), &[]);
    assert!(gone.create.is_empty());
    // A new agent of that name has no slot of the old one.
    let mut successor = dataset(PUSH);
    successor.agent.id = AgentId(Uuid::from_u128(2));
    let plan = plan_wal(&[successor], &[stream], &[]);
    assert_eq!(method(&plan.create[0]), &WalMethod::Push);
}

#[test]
fn a_job_that_was_told_to_end_is_not_told_again() {
    let mut running = job(&wanted(STREAM), open());
    running.cancel = Some(crate::model::CancelRequest {
        at: Timestamp::UNIX_EPOCH,
        by: Actor::Coordinator,
        reason: CHANGED.into(),
    });
    assert!(planned(Some(PUSH), running).cancel.is_empty());
}
