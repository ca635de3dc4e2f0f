//! Every change has its event, and whoever follows them misses none.

use std::collections::BTreeMap;

use futures::future::join_all;
use jiff::SignedDuration;
use strongroom_layout::{ObjectKind, ObjectName};
use strongroom_spec::FailureCode;

use super::{
    Fixture, contract,
    fixture::{failure, operator, policy, snapshot_id, success},
};
use crate::{
    catalog::{Catalog, CatalogError, Events},
    jobs::{Backoff, request},
    model::{Agent, Comparison, ContestSign, Event, EventKind, LostObject, NewJob},
};

contract!(
    every_transition_of_a_job_has_its_event,
    a_job_ends_and_waits_in_many_ways,
    a_snapshot_comes_goes_and_comes_back,
    agents_policies_and_repositories_change,
    what_is_rolled_back_has_no_event,
    numbers_have_no_holes_whoever_writes,
    events_are_read_behind_a_number,
    old_events_are_forgotten_and_numbers_go_on,
    what_a_newer_coordinator_wrote_is_passed_over,
);

/// All that there are.
async fn all(catalog: &Catalog) -> Vec<Event> {
    let all = catalog.events_after(0, 1000).await.unwrap();
    assert!(!all.gap);
    all.events
}

/// The kinds of those behind a number.
async fn kinds(fixture: &Fixture, after: u64) -> Vec<String> {
    let events = fixture.catalog.events_after(after, 1000).await.unwrap();
    events.events.into_iter().map(|event| event.kind).collect()
}

async fn last(fixture: &Fixture) -> u64 {
    fixture.catalog.newest_events(1).await.unwrap().last
}

async fn every_transition_of_a_job_has_its_event(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let begin = last(&fixture).await;
    let first = fixture.started(&agent, "web").await;
    let broken = failure(FailureCode::Store, true);
    fixture.finish(&agent, first, Err(broken.clone())).await;
    fixture.advance(3600);
    let second = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    let accepted = fixture.catalog.accept_attempt(agent.id, second).await;
    accepted.unwrap().unwrap();
    let job = fixture.finish(&agent, second, Ok(success(1))).await;

    let events = fixture.catalog.events_after(begin, 99).await.unwrap();
    let kinds: Vec<_> = events.events.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "job.created",
            "job.dispatched",
            "job.started",
            "job.waiting",
            "job.dispatched",
            "job.started",
            "snapshot.confirmed",
            "repository.ready",
            "job.succeeded",
        ]
    );
    let waiting = &events.events[3];
    assert_eq!(waiting.subject.job, Some(job.id));
    assert_eq!(waiting.subject.agent, Some(agent.id));
    assert_eq!(waiting.subject.dataset, job.dataset);
    assert_eq!(waiting.subject.policy.as_deref(), Some("web"));
    assert_eq!(waiting.subject.repository, Some(repository.name));
    assert_eq!(waiting.trace_id, Some(job.trace.trace_id));
    assert_eq!(waiting.detail["failure"]["message"], broken.message);
    assert_eq!(waiting.detail["attempt"], 1);
    assert_eq!(waiting.detail["agent"], "web-1");
    let ended = &events.events[8];
    assert_eq!(ended.at, fixture.now());
    assert_eq!(ended.subject.snapshot, Some(snapshot_id(1)));
    assert_eq!(ended.detail["warnings"], 1);
}

async fn a_job_ends_and_waits_in_many_ways(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let end = |kind: &'static str| ["job.created", "job.dispatched", "job.started", kind];

    // Its lease runs out.
    let begin = last(&fixture).await;
    let attempt = fixture.started(&agent, "web").await;
    fixture.advance(61);
    catalog.expire_leases(&Backoff::default()).await.unwrap();
    assert_eq!(kinds(&fixture, begin).await, end("job.waiting"));

    // Its offer does not arrive.
    let begin = last(&fixture).await;
    let attempt = attempt.job;
    let offered = fixture.dispatch(&agent).await[0].attempt_ref().unwrap();
    assert_eq!(offered.job, attempt);
    catalog.release_attempt(offered).await.unwrap();
    assert_eq!(
        kinds(&fixture, begin).await,
        ["job.dispatched", "job.waiting"]
    );

    // It is cancelled while it waits, and while it is at work.
    let begin = last(&fixture).await;
    catalog
        .cancel_job(attempt, &operator(), "no")
        .await
        .unwrap();
    assert_eq!(kinds(&fixture, begin).await, ["job.cancelled"]);
    let attempt = fixture.started(&agent, "web").await;
    let begin = last(&fixture).await;
    let cancelled = catalog.cancel_job(attempt.job, &operator(), "no").await;
    cancelled.unwrap();
    let stopped = failure(FailureCode::Cancelled, false);
    fixture.finish(&agent, attempt, Err(stopped)).await;
    assert_eq!(
        kinds(&fixture, begin).await,
        ["job.cancel-requested", "job.cancelled"]
    );

    // What it waits for fails.
    let first = fixture.started(&agent, "first").await;
    let second = NewJob {
        after: Some(first.job),
        ..request::backup(&policy("second"), &agent, operator())
    };
    catalog.create_job(&second).await.unwrap();
    let begin = last(&fixture).await;
    let broken = failure(FailureCode::Source, false);
    fixture.finish(&agent, first, Err(broken)).await;
    fixture.dispatch(&agent).await;
    assert_eq!(kinds(&fixture, begin).await, ["job.failed", "job.failed"]);

    // Its agent is gone for ever.
    fixture.started(&agent, "web").await;
    fixture.backup(&agent, "second").await;
    let begin = last(&fixture).await;
    catalog.revoke_agent(agent.id, &operator()).await.unwrap();
    assert_eq!(
        kinds(&fixture, begin).await,
        ["agent.revoked", "job.failed", "job.failed"]
    );
}

async fn a_snapshot_comes_goes_and_comes_back(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let mut unsettled = Vec::new();
    for number in [1, 2] {
        let attempt = fixture.started(&agent, "web").await;
        fixture.publish(attempt, number, fixture.now()).await;
        let died = failure(FailureCode::Internal, false);
        fixture.finish(&agent, attempt, Err(died)).await;
        unsettled.push(attempt.job);
    }
    let begin = last(&fixture).await;
    let name = &repository.name;
    let (there, missing) = (snapshot_id(1), snapshot_id(2));
    catalog.confirm_snapshot(name, there).await.unwrap();
    catalog.forget_unconfirmed(name, missing).await.unwrap();
    // There is no such thing any more, and one that is there stays.
    catalog.forget_unconfirmed(name, missing).await.unwrap();
    catalog.forget_unconfirmed(name, there).await.unwrap();

    let snapshot = catalog.find_snapshot(&there.to_string()).await.unwrap();
    for pinned in [true, false] {
        let done = catalog.pin_snapshot(&snapshot, pinned, &operator()).await;
        done.unwrap();
    }
    for lost in [vec![lost(&fixture, ObjectName::snapshot(there))], vec![]] {
        let found = Comparison {
            lost_count: lost.len() as u64,
            lost,
            ..Comparison::default()
        };
        let recorded = catalog.record_comparison(name, None, &found).await;
        recorded.unwrap();
    }
    catalog.accept_losses(name, &operator()).await.unwrap();

    let events = catalog.events_after(begin, 99).await.unwrap().events;
    let kinds: Vec<_> = events.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "snapshot.confirmed",
            "snapshot.dropped",
            "snapshot.pinned",
            "snapshot.unpinned",
            "snapshot.lost",
            "repository.lost-objects",
            "snapshot.found",
            "repository.found-objects",
            "repository.losses-accepted",
        ]
    );
    assert_eq!(events[0].subject.job, Some(unsettled[0]));
    assert_eq!(events[0].subject.snapshot, Some(there));
    assert_eq!(events[0].detail["agent"], "web-1");
    assert_eq!(events[1].subject.snapshot, Some(missing));
    assert_eq!(events[5].subject.repository.as_ref(), Some(name));
    assert_eq!(events[5].detail["count"], 1);
}

fn lost(fixture: &Fixture, object: ObjectName) -> LostObject {
    LostObject {
        path: object.path(),
        kind: ObjectKind::Snapshot,
        length: 100,
        found: None,
        granted_at: fixture.now(),
        noticed_at: fixture.now(),
        accepted_at: None,
    }
}

async fn agents_policies_and_repositories_change(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let labels = BTreeMap::from([("role".to_owned(), "db".to_owned())]);
    let change = (&labels, &[].into());
    for _ in 0..2 {
        // The second time nothing changes.
        let by = operator();
        let labelled = catalog.label_agent(agent.id, change, false, &by);
        labelled.await.unwrap();
    }
    for _ in 0..2 {
        let contested = catalog.contest_agent(agent.id, ContestSign::TwoSessions, vec![holder()]);
        contested.await.unwrap();
    }
    let trusted = catalog.trust_agent(agent.id, None, &operator()).await;
    trusted.unwrap();
    let mut web = policy("web");
    for _ in 0..2 {
        catalog
            .apply_policies(std::slice::from_ref(&web), &operator())
            .await
            .unwrap();
    }
    web.store = "other".into();
    catalog.apply_policies(&[web], &operator()).await.unwrap();
    catalog.delete_policy("web", &operator()).await.unwrap();
    assert_eq!(
        kinds(&fixture, 0).await,
        [
            "agent.enrolled",
            "repository.created",
            "agent.labelled",
            "agent.contested",
            "agent.trusted",
            "policy.created",
            "policy.changed",
            "policy.deleted",
        ]
    );
    let events = all(catalog).await;
    assert_eq!(events[0].detail["agent"], "web-1");
    assert_eq!(events[2].detail["labels"]["role"], "db");
    assert_eq!(events[5].subject.policy.as_deref(), Some("web"));
}

fn holder() -> crate::model::Holder {
    crate::model::Holder {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        serial: "01".into(),
        boot: None,
        version: None,
    }
}

async fn what_is_rolled_back_has_no_event(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let gone = fixture.agent("web-2").await;
    fixture
        .catalog
        .revoke_agent(gone.id, &operator())
        .await
        .unwrap();
    let before = last(&fixture).await;
    let job = |agent: &Agent| request::backup(&policy("web"), agent, operator());
    let refused = fixture
        .catalog
        .create_jobs(&[job(&agent), job(&gone)])
        .await;
    assert!(matches!(refused, Err(CatalogError::Conflict { .. })));
    assert_eq!(last(&fixture).await, before);
    // The number that it would have had is another's.
    fixture.backup(&agent, "web").await;
    let events = fixture.catalog.events_after(before, 9).await.unwrap();
    assert_eq!(events.events.len(), 1);
    assert_eq!(events.events[0].seq, before + 1);
}

/// Some write all at once, and one reads: it sees each number once, in order, while
/// others are still to be committed.
async fn numbers_have_no_holes_whoever_writes(fixture: Fixture) {
    const WRITERS: usize = 8;
    const EACH: usize = 6;
    let begin = last(&fixture).await;
    let write = |writer: usize| {
        let catalog = fixture.catalog.clone();
        async move {
            for number in 0..EACH {
                let policy = policy(&format!("p{writer}-{number}"));
                catalog
                    .apply_policies(&[policy], &operator())
                    .await
                    .unwrap();
            }
        }
    };
    let read = async {
        let mut seen = begin;
        while seen < begin + (WRITERS * EACH) as u64 {
            let read = fixture.catalog.events_after(seen, 5).await.unwrap();
            assert!(!read.gap);
            for event in read.events {
                assert_eq!(event.seq, seen + 1);
                seen = event.seq;
            }
        }
    };
    let reading = tokio::time::timeout(std::time::Duration::from_mins(1), read);
    let (_, read) = tokio::join!(join_all((0..WRITERS).map(write)), reading);
    read.unwrap();
    assert_eq!(last(&fixture).await, begin + (WRITERS * EACH) as u64);
}

async fn events_are_read_behind_a_number(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let none = Events {
        events: Vec::new(),
        next_after: 0,
        last: 0,
        gap: false,
    };
    assert_eq!(catalog.events_after(0, 9).await.unwrap(), none);
    assert_eq!(catalog.newest_events(9).await.unwrap(), none);
    for name in ["a", "b", "c"] {
        let applied = catalog.apply_policies(&[policy(name)], &operator()).await;
        applied.unwrap();
    }
    let seqs = |read: &Events| read.events.iter().map(|it| it.seq).collect::<Vec<_>>();
    let first = catalog.events_after(0, 2).await.unwrap();
    assert_eq!((seqs(&first), first.next_after), (vec![1, 2], 2));
    assert_eq!((first.last, first.gap), (3, false));
    let second = catalog.events_after(2, 2).await.unwrap();
    assert_eq!((seqs(&second), second.next_after), (vec![3], 3));
    let end = catalog.events_after(3, 2).await.unwrap();
    assert_eq!((seqs(&end), end.next_after, end.gap), (vec![], 3, false));
    let newest = catalog.newest_events(2).await.unwrap();
    assert_eq!((seqs(&newest), newest.gap), (vec![2, 3], false));
    // A catalog that was put back to what it was before.
    for beyond in [4, u64::MAX] {
        let read = catalog.events_after(beyond, 2).await.unwrap();
        assert_eq!((seqs(&read), read.next_after, read.gap), (vec![], 3, true));
    }
}

async fn old_events_are_forgotten_and_numbers_go_on(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let apply = async |name: &str| {
        let applied = catalog.apply_policies(&[policy(name)], &operator()).await;
        applied.unwrap();
    };
    for name in ["a", "b"] {
        apply(name).await;
    }
    fixture.clock.advance(SignedDuration::from_hours(20 * 24));
    apply("c").await;
    catalog.forget_events().await.unwrap();
    assert_eq!(all(catalog).await.len(), 3);

    fixture.clock.advance(SignedDuration::from_hours(11 * 24));
    catalog.forget_events().await.unwrap();
    let left = catalog.events_after(0, 9).await.unwrap();
    assert!(left.gap, "some were forgotten");
    assert_eq!(left.events.len(), 1);
    assert_eq!(left.events[0].seq, 3);
    assert!(!catalog.events_after(2, 9).await.unwrap().gap);
    assert!(!catalog.newest_events(9).await.unwrap().gap);

    // The newest stays however old it is.
    fixture.clock.advance(SignedDuration::from_hours(90 * 24));
    catalog.forget_events().await.unwrap();
    assert_eq!(last(&fixture).await, 3);
    apply("d").await;
    catalog.forget_events().await.unwrap();
    let left = catalog.events_after(3, 9).await.unwrap();
    assert_eq!(left.events[0].seq, 4);
    assert!(catalog.events_after(2, 9).await.unwrap().gap);
}

async fn what_a_newer_coordinator_wrote_is_passed_over(fixture: Fixture) {
    fixture.agent("web-1").await;
    sqlx::query("UPDATE events SET kind = 'moon.risen'")
        .execute(fixture.catalog.writers())
        .await
        .unwrap();
    assert_eq!(kinds(&fixture, 0).await, ["moon.risen"]);
    assert!("moon.risen".parse::<EventKind>().is_err());
}
