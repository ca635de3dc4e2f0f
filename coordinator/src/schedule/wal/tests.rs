//! Begun, changed, ended.

use jiff::Timestamp;
use strongroom_layout::AgentId;
use uuid::Uuid;

use super::*;
use crate::{
    model::{Actor, JobState, TraceRef, agent::testing},
    policy::{Dataset, Policy},
};

fn policy(wal: &str) -> Policy {
    serde_json::from_str(&format!(
        r#"{{"name": "orders", "agents": {{"names": ["db-1"]}}, "store": "primary",
            "source": {{"postgres": {{"connection": "main", "method": "physical"}}}} {wal}}}"#
    ))
    .unwrap()
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

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
        kind: new.spec.kind(),
        dataset: new.dataset.clone(),
        agent: new.agent,
        agent_name: "db-1".into(),
        store: new.store.clone(),
        repository: new.repository.clone(),
        spec: new.spec.clone(),
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
    let plan = plan_wal(&[dataset(wal)], WalJobs::default(), &[], NOW);
    assert_eq!((plan.create.len(), plan.cancel.len()), (1, 0));
    plan.create.into_iter().next().unwrap()
}

fn method(new: &NewJob) -> &WalMethod {
    match &new.spec {
        JobSpec::Wal(work) => &work.method,
        other => panic!("{other:?}"),
    }
}

/// Plans for one dataset, or none, with this last job.
fn planned(now: Option<&str>, last: Job) -> WalPlan {
    let datasets: Vec<_> = now.map(dataset).into_iter().collect();
    let jobs = WalJobs {
        latest: &[last],
        ..WalJobs::default()
    };
    plan_wal(&datasets, jobs, &[testing::agent("db-1", 1, &[])], NOW)
}

#[test]
fn a_log_is_archived_once_a_policy_says_so_and_for_as_long() {
    let nothing = plan_wal(&[dataset("")], WalJobs::default(), &[], NOW);
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
    // Which comes first of these does not matter, but the last is the newest.
    assert_eq!(method(&dropped.create[1]), &WalMethod::Push);
    for state in [open(), over()] {
        let begun = planned(Some(PUSH), job(&dropped.create[0], state));
        assert_eq!(method(&begun.create[0]), &WalMethod::Push);
    }

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
    let jobs = WalJobs {
        latest: std::slice::from_ref(&stream),
        ..WalJobs::default()
    };
    let gone = plan_wal(&[], jobs, &[], NOW);
    assert!(gone.create.is_empty());
    // A new agent of that name has no slot of the old one.
    let mut successor = dataset(PUSH);
    successor.agent.id = AgentId(Uuid::from_u128(2));
    let plan = plan_wal(&[successor], jobs, &[], NOW);
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

/// As [`dataset`], at another connection.
fn moved(wal: &str, connection: &str) -> Dataset {
    let mut dataset = dataset(wal);
    let json = serde_json::to_string(&dataset.policy).unwrap();
    let other = format!("\"connection\":\"{connection}\"");
    let json = json.replace("\"connection\":\"main\"", &other);
    dataset.policy = serde_json::from_str(&json).unwrap();
    dataset
}

fn connections(plan: &WalPlan) -> Vec<(&str, bool)> {
    let works = plan.create.iter().map(|new| match &new.spec {
        JobSpec::Wal(work) => (work.connection.as_str(), work.forgets()),
        other => panic!("{other:?}"),
    });
    works.collect()
}

/// Else the slot would stay on the server for ever, and fill its disk.
#[test]
fn a_connection_that_was_renamed_keeps_its_slot() {
    let stream = job(&wanted(STREAM), over());
    let agents = [testing::agent("db-1", 1, &[])];
    let there = [moved(STREAM, "renamed")];
    let slot = |gone: &[(AgentId, String)]| {
        let jobs = WalJobs {
            latest: std::slice::from_ref(&stream),
            gone,
            ..WalJobs::default()
        };
        let plan = plan_wal(&there, jobs, &agents, NOW);
        let begun = plan.create.iter().find_map(|new| match &new.spec {
            JobSpec::Wal(work) if !work.forgets() => work.slot().map(str::to_owned),
            _ => None,
        });
        (plan.create.len(), begun.unwrap())
    };
    let JobSpec::Wal(before) = &stream.spec else {
        panic!("{stream:?}");
    };
    let before = before.slot().unwrap();
    let (jobs, kept) = slot(&[(agents[0].id, "main".into())]);
    assert_eq!((jobs, kept.as_str()), (1, before));
    // While the old one is there, its slot is dropped there.
    let (jobs, other) = slot(&[(agents[0].id, "another".into())]);
    assert_eq!(jobs, 2);
    assert_ne!(other, before);
}

#[test]
fn what_is_left_at_an_old_connection_does_not_hold_up_the_new_one() {
    let agents = [testing::agent("db-1", 1, &[])];
    let there = [moved(STREAM, "other")];
    let last = job(&wanted(STREAM), over());
    let jobs = WalJobs {
        latest: std::slice::from_ref(&last),
        ..WalJobs::default()
    };
    let plan = plan_wal(&there, jobs, &agents, NOW);
    assert_eq!(connections(&plan), [("main", true), ("other", false)]);
    let slots = plan.create.iter().map(|new| match &new.spec {
        JobSpec::Wal(work) => work.slot().unwrap(),
        other => panic!("{other:?}"),
    });
    let slots: Vec<_> = slots.collect();
    // Both may lead to one server.
    assert_ne!(slots[0], slots[1]);

    // Its server does not answer, and it waits for its next attempt.
    let forgetting = [job(&plan.create[0], open())];
    let streaming = job(&plan.create[1], open());
    let jobs = WalJobs {
        latest: std::slice::from_ref(&streaming),
        forgetting: &forgetting,
        gone: &[],
    };
    let still = plan_wal(&there, jobs, &agents, NOW);
    assert!(still.create.is_empty() && still.cancel.is_empty());
    // Nor if nothing else was made then.
    let jobs = WalJobs {
        latest: &forgetting,
        forgetting: &forgetting,
        gone: &[],
    };
    let begun = plan_wal(&there, jobs, &agents, NOW);
    assert_eq!(connections(&begun), [("other", false)]);
    // Back again, the slot is not dropped while it is used.
    let back = plan_wal(&[dataset(STREAM)], jobs, &agents, NOW);
    assert_eq!(back.cancel, [(forgetting[0].id, WANTED_AGAIN)]);
    assert!(back.create.is_empty());
}

#[test]
fn a_slot_that_was_named_otherwise_is_kept() {
    let mut before = wanted(STREAM);
    let JobSpec::Wal(work) = &mut before.spec else {
        panic!("{before:?}");
    };
    work.method = WalMethod::Stream {
        slot: "of_old".into(),
        flush_seconds: 5,
    };
    let running = planned(Some(STREAM), job(&before, open()));
    assert!(running.create.is_empty() && running.cancel.is_empty());
    let again = planned(Some(STREAM), job(&before, over()));
    assert_eq!(again.create.len(), 1);
    assert_eq!(method(&again.create[0]), method(&before));
}

#[test]
fn what_the_agent_refused_is_begun_anew_when_it_allows_something_else() {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let refused = job(
        &wanted(STREAM),
        JobState::Failed {
            at: at(10),
            failure: strongroom_spec::Failure {
                code: FailureCode::NotAllowed,
                message: "no".into(),
                retryable: false,
            },
        },
    );
    let begins = |wal: &str, told: Option<i64>, sources: &[&str], now: i64| {
        let mut dataset = dataset(wal);
        dataset.agent.told_at = told.map(at);
        dataset.agent.facts.consent = Some(strongroom_wire::session::Consent {
            sources: sources.iter().map(ToString::to_string).collect(),
            read_paths: vec![],
            restore_paths: vec![],
            commands: vec![],
        });
        let jobs = WalJobs {
            latest: std::slice::from_ref(&refused),
            ..WalJobs::default()
        };
        let plan = plan_wal(&[dataset], jobs, &[], at(now));
        assert!(plan.cancel.is_empty());
        plan.create.len()
    };
    let allowed = &["files", "postgres"];
    assert_eq!(begins(STREAM, None, allowed, 11), 0);
    assert_eq!(begins(STREAM, Some(12), allowed, 13), 1);
    // What it said is that it does not.
    assert_eq!(begins(STREAM, Some(12), &["files"], 13), 0);
    // Rarely, whatever it said.
    assert_eq!(begins(STREAM, None, &["files"], 7 * 3600), 1);
    // The policy asks for something else.
    assert_eq!(begins(r#", "wal": {"flush": "9s"}"#, None, allowed, 11), 1);
}
