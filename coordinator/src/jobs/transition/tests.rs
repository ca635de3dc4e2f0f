//! Any sequence of events keeps a job's promises.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use strongroom_layout::{AgentId, AttemptRef, JobId, ObjectId};
use strongroom_spec::{
    CommandSource, Failure, FailureCode, JobKind, JobSpec, ListOutcome, Outcome, RestoreOutcome,
    Source,
};
use strongroom_wire::job::Report;
use uuid::Uuid;

use super::{abandon, accept, cancel, dispatch, finish, lose, release};
use crate::{
    jobs::Backoff,
    model::{Actor, CancelRequest, Job, JobLimits, JobState, StateWord, TraceRef},
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn job(max_attempts: u32) -> Job {
    Job {
        id: JobId(Uuid::nil()),
        kind: JobKind::Backup,
        dataset: None,
        agent: AgentId(Uuid::nil()),
        agent_name: "web-1".into(),
        store: "primary".into(),
        repository: "primary/web-1".into(),
        spec: JobSpec::Backup(strongroom_spec::BackupSpec {
            dataset: "p@web-1".into(),
            source: Source::Command(CommandSource { name: "c".into() }),
            parent: None,
            tags: Vec::new(),
        }),
        limits: JobLimits {
            max_attempts,
            ..JobLimits::default()
        },
        trace: TraceRef::random(),
        after: None,
        requested_by: Actor::Coordinator,
        created_at: NOW,
        state: JobState::Pending {
            not_before: NOW,
            failure: None,
        },
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

fn failure(retryable: bool) -> Failure {
    Failure {
        code: FailureCode::Store,
        message: "x".into(),
        retryable,
    }
}

fn report(attempt: u32, outcome: Result<Outcome, Failure>) -> Report {
    Report {
        report_id: Uuid::nil(),
        attempt: AttemptRef {
            job: JobId(Uuid::nil()),
            attempt,
        },
        outcome,
        warnings: Vec::new(),
        warning_count: 0,
        peak_resident_bytes: 0,
        duration_ms: 0,
    }
}

fn backed_up() -> Outcome {
    Outcome::Backup(strongroom_spec::BackupOutcome {
        snapshot: ObjectId([1; 32]),
        files: 0,
        directories: 0,
        files_unmodified: 0,
        bytes_read: 0,
        bytes_total: 0,
        bytes_new: 0,
        bytes_stored: 0,
        blobs_new: 0,
        packs_new: 0,
        cluster: None,
        partial: false,
    })
}

#[derive(Debug, Clone)]
enum Event {
    Dispatch,
    /// The number is how many attempts ago.
    Accept(u32),
    Release(u32),
    Succeed(u32),
    Fail(u32, bool),
    Lose,
    Cancel,
    Abandon,
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Dispatch),
        2 => (0u32..2).prop_map(Event::Accept),
        1 => (0u32..2).prop_map(Event::Release),
        1 => (0u32..2).prop_map(Event::Succeed),
        3 => (0u32..2, any::<bool>()).prop_map(|(ago, retryable)| Event::Fail(ago, retryable)),
        1 => Just(Event::Lose),
        1 => Just(Event::Cancel),
        1 => Just(Event::Abandon),
    ]
}

/// The job after an event, or `None` when the event is refused.
fn apply(job: &Job, event: &Event) -> Option<Job> {
    let ago = |ago: &u32| job.attempt.wrapping_sub(*ago);
    let backoff = Backoff::default();
    let job_now = job.clone();
    match event {
        Event::Dispatch => {
            let until = NOW + SignedDuration::from_secs(60);
            dispatch(job_now, Uuid::nil(), None, NOW, until).ok()
        }
        Event::Accept(n) => accept(job_now, ago(n), NOW).ok(),
        Event::Release(n) => release(job_now, ago(n), NOW).ok(),
        Event::Succeed(n) => finish(job_now, &report(ago(n), Ok(backed_up())), &backoff, NOW).ok(),
        Event::Fail(n, retryable) => {
            let report = report(ago(n), Err(failure(*retryable)));
            finish(job_now, &report, &backoff, NOW).ok()
        }
        Event::Lose => lose(job_now, failure(true), &backoff, NOW).ok(),
        Event::Cancel => {
            let request = CancelRequest {
                at: NOW,
                by: Actor::Coordinator,
                reason: "r".into(),
            };
            cancel(job_now, request).ok()
        }
        Event::Abandon => abandon(job_now, failure(false), NOW).ok(),
    }
}

/// Of the current attempt, not an older one.
fn is_current(event: &Event) -> bool {
    match event {
        Event::Accept(ago) | Event::Release(ago) | Event::Succeed(ago) | Event::Fail(ago, _) => {
            *ago == 0
        }
        _ => true,
    }
}

proptest! {
    #[test]
    fn any_sequence_of_events_keeps_the_promises(
        max_attempts in 1u32..4, events in prop::collection::vec(events(), 0..40),
    ) {
        let mut job = job(max_attempts);
        for event in &events {
            let Some(next) = apply(&job, event) else { continue };
            prop_assert!(!job.state.is_final(), "{:?} changed a job that had ended", event);
            prop_assert!(is_current(event), "{:?} of an older attempt counted", event);
            prop_assert!(next.attempt >= job.attempt);
            prop_assert!(next.failed_attempts <= max_attempts);
            prop_assert_eq!(next.attempt == job.attempt + 1, matches!(event, Event::Dispatch));
            prop_assert!(job.cancel.is_none() || next.cancel.is_some());
            let cancelled = next.state.word() == StateWord::Cancelled;
            prop_assert!(!cancelled || next.cancel.is_some());
            let pending = next.state.word() == StateWord::Pending;
            prop_assert!(!pending || next.cancel.is_none(), "a cancelled job does not wait");
            job = next;
        }
    }

    #[test]
    fn a_job_whose_attempts_all_fail_ends_after_as_many_as_allowed(max_attempts in 1u32..9) {
        let mut job = job(max_attempts);
        for _ in 0..max_attempts {
            prop_assert!(!job.state.is_final());
            job = apply(&job, &Event::Dispatch).unwrap();
            job = apply(&job, &Event::Fail(0, true)).unwrap();
        }
        prop_assert_eq!(job.state.word(), StateWord::Failed);
        prop_assert_eq!(job.attempt, max_attempts);
    }
}

#[test]
fn a_result_of_another_kind_fails_the_job() {
    let wrong = [
        Outcome::List(ListOutcome {
            entries: Vec::new(),
            truncated: false,
        }),
        Outcome::Restore(RestoreOutcome {
            server: None,
            files: 0,
            directories: 0,
            bytes_written: 0,
            files_kept: 0,
            bytes_fetched: 0,
            plan: Vec::new(),
            plan_count: 0,
            notes: Vec::new(),
        }),
    ];
    for success in wrong {
        let started = apply(&job(3), &Event::Dispatch).unwrap();
        let ended = finish(started, &report(1, Ok(success)), &Backoff::default(), NOW).unwrap();
        let JobState::Failed { failure, .. } = ended.state else {
            panic!("{ended:?}");
        };
        assert!(failure.message.contains("for a backup"), "{failure:?}");
    }
}

/// The archiving of a log.
fn push() -> JobSpec {
    JobSpec::Wal(strongroom_spec::WalSpec {
        dataset: "p@web-1".into(),
        connection: "main".into(),
        method: strongroom_spec::WalMethod::Push,
        limit: None,
        drop: true,
    })
}

/// A job that archives, whose attempt begins `now` and ends so much later.
fn archived_for(job: Job, seconds: i64, code: FailureCode) -> (Job, i64) {
    let began = match &job.state {
        JobState::Pending { not_before, .. } => *not_before,
        other => panic!("{other:?}"),
    };
    let until = began + SignedDuration::from_secs(60);
    let job = dispatch(job, Uuid::nil(), None, began, until).unwrap();
    let attempt = job.attempt;
    let job = accept(job, attempt, began).unwrap();
    let ended = began + SignedDuration::from_secs(seconds);
    let failure = Failure {
        code,
        ..failure(true)
    };
    let job = finish(
        job,
        &report(attempt, Err(failure)),
        &Backoff::default(),
        ended,
    )
    .unwrap();
    let JobState::Pending { not_before, .. } = &job.state else {
        panic!("{:?}", job.state);
    };
    let pause = not_before.duration_since(ended).as_secs();
    (job, pause)
}

#[test]
fn a_log_is_archived_again_at_once_unless_attempts_fail_in_a_row() {
    let mut archiving = job(1);
    archiving.kind = JobKind::Wal;
    archiving.spec = push();
    let mut pauses = |seconds, code| {
        let (next, pause) = archived_for(archiving.clone(), seconds, code);
        archiving = next;
        pause
    };
    // Its agent was restarted, however often.
    assert_eq!([0; 4].map(|_| pauses(1, FailureCode::Cancelled)), [0; 4]);
    // It was lost; that it is again and again may be its own doing.
    let lost = FailureCode::Fenced;
    assert_eq!([600; 4].map(|it| pauses(it, lost)), [0; 4]);
    assert_eq!([1; 4].map(|it| pauses(it, lost)), [0, 10, 20, 40]);
    assert_eq!(pauses(600, lost), 0);
    let source = FailureCode::Source;
    assert_eq!([1; 6].map(|it| pauses(it, source)), [5, 10, 20, 40, 60, 60]);
    // What was at work for a while was no failure in a row.
    assert_eq!(pauses(600, source), 5);
    assert_eq!(pauses(1, source), 10);
}

#[test]
fn a_log_that_the_agent_does_not_allow_to_be_archived_is_not_tried_for_ever() {
    let mut archiving = job(1);
    archiving.kind = JobKind::Wal;
    archiving.spec = push();
    let begun = apply(&archiving, &Event::Dispatch).unwrap();
    let refused = Failure {
        code: FailureCode::NotAllowed,
        ..failure(false)
    };
    let said = report(1, Err(refused.clone()));
    let ended = finish(begun, &said, &Backoff::default(), NOW).unwrap();
    let failed = JobState::Failed {
        at: NOW,
        failure: refused,
    };
    assert_eq!(ended.state, failed);
}

#[test]
fn accepting_twice_changes_nothing() {
    let started = apply(&job(1), &Event::Dispatch).unwrap();
    let once = accept(started, 1, NOW).unwrap();
    let later = NOW + SignedDuration::from_secs(9);
    assert_eq!(accept(once.clone(), 1, later).unwrap(), once);
}
