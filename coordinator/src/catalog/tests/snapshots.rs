//! Snapshots and objects.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::{AttemptRef, ObjectId, ObjectKind, ObjectName};
use strongroom_spec::{FailureCode, Outcome};
use strongroom_wire::grant::RefusalReason;

use super::{
    Fixture, contract,
    fixture::{failure, operator, report, snapshot_id, success},
};
use crate::{
    catalog::{
        AuditFilter, CatalogError, Finished, Publication, PublishError, SnapshotCursor,
        SnapshotFilter,
    },
    jobs::Backoff,
    model::{Agent, AuditOutcome, DatasetName, Snapshot, StateWord},
};

contract!(
    a_snapshot_is_listed_once_its_report_is_there,
    a_snapshot_whose_agent_died_is_found_and_settled,
    a_late_report_confirms_nothing_and_is_audited_once,
    a_report_of_an_ended_attempt_changes_nothing,
    a_success_counts_only_with_a_snapshot_that_was_published,
    a_success_that_nobody_has_seen_is_not_recorded,
    a_snapshot_is_published_by_its_attempt_while_it_may,
    of_attempts_that_publish_at_once_none_passes_the_bound,
    no_time_is_later_than_the_coordinators_own,
    snapshots_are_in_the_order_of_the_coordinators_time,
    times_of_earlier_versions_come_into_the_coordinators,
    snapshots_are_listed_by_page_and_filter,
    a_snapshot_is_found_by_its_beginning,
    a_partial_snapshot_does_not_stand_for_a_whole_one,
    pins_come_and_go,
    the_first_kind_named_for_a_pack_counts,
    many_objects_at_once,
    locks_of_ended_attempts_are_found,
    a_lock_is_given_up_when_it_was_last_granted_long_ago,
);

async fn all(fixture: &Fixture) -> Vec<Snapshot> {
    let filter = SnapshotFilter::default();
    fixture.catalog.snapshots(&filter, 99).await.unwrap().items
}

async fn a_snapshot_is_listed_once_its_report_is_there(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    fixture.advance(7);
    let time = fixture.in_seconds(-5);
    fixture.publish(attempt, 1, time).await;
    assert!(all(&fixture).await.is_empty());
    let open = fixture.catalog.unconfirmed_snapshots().await.unwrap();
    assert!(open.is_empty(), "its attempt is still at work");
    fixture.finish(&agent, attempt, Ok(success(1))).await;
    let snapshot = all(&fixture).await.remove(0);
    assert_eq!(snapshot.id, snapshot_id(1));
    assert_eq!(snapshot.time, time);
    assert_eq!(snapshot.attempt, attempt);
    assert_eq!(snapshot.dataset, DatasetName::new("web", "web-1"));
    assert_eq!(Outcome::Backup(snapshot.result), success(1));
}

async fn a_snapshot_whose_agent_died_is_found_and_settled(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    for number in [1, 2] {
        let attempt = fixture.started(&agent, "web").await;
        fixture.publish(attempt, number, fixture.now()).await;
        fixture
            .finish(&agent, attempt, Err(failure(FailureCode::Internal, false)))
            .await;
        fixture.advance(60);
    }
    let open = catalog.unconfirmed_snapshots().await.unwrap();
    let ids: Vec<_> = open.iter().map(|it| it.id).collect();
    assert_eq!(ids, [snapshot_id(1), snapshot_id(2)]);
    let there = catalog.confirm_snapshot(&repository.name, ids[0]).await;
    there.unwrap();
    let absent = catalog.forget_unconfirmed(&repository.name, ids[1]).await;
    absent.unwrap();
    assert!(catalog.unconfirmed_snapshots().await.unwrap().is_empty());
    assert_eq!(all(&fixture).await.len(), 1);
    let kept = catalog.forget_unconfirmed(&repository.name, ids[0]).await;
    kept.unwrap();
    assert_eq!(
        all(&fixture).await.len(),
        1,
        "a confirmed one is not forgotten"
    );
}

async fn a_late_report_confirms_nothing_and_is_audited_once(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    fixture.publish(attempt, 1, fixture.now()).await;
    fixture.advance(61);
    let backoff = Backoff::default();
    catalog.expire_leases(&backoff).await.unwrap();
    for number in [1, 1, 2] {
        let late = report(attempt, Ok(success(number)));
        let finished = catalog
            .finish_attempt(agent.id, &late, true, &backoff)
            .await;
        assert!(matches!(finished.unwrap(), Finished::Fenced { .. }));
    }
    assert!(all(&fixture).await.is_empty());
    let open = catalog.unconfirmed_snapshots().await.unwrap();
    assert_eq!(open.len(), 1, "the store is asked for it");
    assert_eq!(refused_reports(&fixture).await, 1);
}

async fn refused_reports(fixture: &Fixture) -> usize {
    let filter = AuditFilter {
        action: Some("job.report".into()),
        ..AuditFilter::default()
    };
    let log = fixture.catalog.audit_log(&filter, 99).await.unwrap().items;
    let refused = log.iter().filter(|it| it.outcome == AuditOutcome::Refused);
    refused.count()
}

async fn a_report_of_an_ended_attempt_changes_nothing(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let done = fixture.finish(&agent, attempt, Ok(success(1))).await;
    let snapshot = all(&fixture).await.remove(0);
    let Outcome::Backup(mut figures) = success(1) else {
        unreachable!("success is of a backup");
    };
    figures.bytes_total = 1 << 60;
    for outcome in [
        Ok(Outcome::Backup(figures)),
        Ok(success(2)),
        Err(failure(FailureCode::Store, true)),
    ] {
        let mut other = report(attempt, outcome);
        other.warning_count = 99;
        let finished = catalog
            .finish_attempt(agent.id, &other, true, &Backoff::default())
            .await;
        assert!(matches!(finished.unwrap(), Finished::Fenced { .. }));
    }
    assert_eq!(catalog.job(attempt.job).await.unwrap(), done);
    assert_eq!(all(&fixture).await, [snapshot]);
    assert_eq!(refused_reports(&fixture).await, 1);
}

async fn a_success_that_nobody_has_seen_is_not_recorded(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    fixture.publish(attempt, 1, fixture.now()).await;
    let report = report(attempt, Ok(success(1)));
    let enter = async |seen| {
        catalog
            .finish_attempt(agent.id, &report, seen, &Backoff::default())
            .await
            .unwrap()
    };
    assert_eq!(enter(false).await, Finished::Unseen);
    assert!(all(&fixture).await.is_empty());
    assert!(
        catalog
            .job(attempt.job)
            .await
            .unwrap()
            .state
            .lease()
            .is_some()
    );
    assert!(matches!(enter(true).await, Finished::Recorded(_)));
    assert_eq!(enter(false).await, Finished::Duplicate);
    // What ended badly nobody has to look for.
    let attempt = fixture.started(&agent, "web").await;
    let failed = super::fixture::report(attempt, Err(failure(FailureCode::Source, false)));
    let backoff = Backoff::default();
    let entered = catalog.finish_attempt(agent.id, &failed, false, &backoff);
    assert!(matches!(entered.await.unwrap(), Finished::Recorded(_)));
}

fn publication(attempt: AttemptRef, number: u8, time: Timestamp) -> Publication {
    let Outcome::Backup(result) = success(number) else {
        unreachable!("success is of a backup");
    };
    Publication {
        attempt,
        length: 300,
        result,
        time,
    }
}

async fn a_snapshot_is_published_by_its_attempt_while_it_may(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let publish = async |attempt, number| {
        let publication = publication(attempt, number, fixture.now());
        match fixture.catalog.publish(&publication).await {
            Ok(()) => None,
            Err(PublishError::Refused(reason)) => Some(reason),
            Err(error) => panic!("{error}"),
        }
    };
    for number in 1..=4 {
        assert_eq!(publish(attempt, number).await, None);
    }
    assert_eq!(publish(attempt, 5).await, Some(RefusalReason::OverBudget));
    // An answer was lost.
    assert_eq!(publish(attempt, 1).await, None);
    let later = AttemptRef {
        attempt: 2,
        ..attempt
    };
    let ended = Some(RefusalReason::AttemptEnded);
    assert_eq!(publish(later, 6).await, ended);
    fixture.advance(61);
    assert_eq!(publish(attempt, 1).await, Some(RefusalReason::LeaseExpired));

    let agent = fixture.agent("web-2").await;
    fixture.repository(&agent).await;
    let one = fixture.started(&agent, "web").await;
    assert_eq!(publish(one, 7).await, None);
    fixture
        .finish(&agent, one, Err(failure(FailureCode::Internal, false)))
        .await;
    assert_eq!(publish(one, 8).await, ended);
    let two = fixture.started(&agent, "web").await;
    let others = Some(RefusalReason::AlreadyThere);
    assert_eq!(publish(two, 7).await, others);
}

async fn of_attempts_that_publish_at_once_none_passes_the_bound(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let publications: Vec<_> = (1..=12)
        .map(|number| publication(attempt, number, fixture.now()))
        .collect();
    let published = publications.iter().map(|it| fixture.catalog.publish(it));
    let published = futures::future::join_all(published).await;
    assert_eq!(published.iter().filter(|it| it.is_ok()).count(), 4);
}

async fn a_success_counts_only_with_a_snapshot_that_was_published(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    fixture.finish(&agent, attempt, Ok(success(1))).await;
    fixture.advance(60);
    // Another attempt's snapshot is no proof either.
    for claimed in [1, 2] {
        let attempt = fixture.started(&agent, "web").await;
        let lie = report(attempt, Ok(success(claimed)));
        let finished = catalog
            .finish_attempt(agent.id, &lie, true, &Backoff::default())
            .await;
        let Finished::Recorded(job) = finished.unwrap() else {
            panic!("not recorded");
        };
        assert_eq!(job.state.word(), StateWord::Pending, "it is tried again");
        assert_eq!(job.snapshot, None);
        let attempts = catalog.job_detail(job.id).await.unwrap().attempts;
        let failure = attempts[0].failure.as_ref().unwrap();
        assert!(failure.message.contains("never published"), "{failure:?}");
        catalog
            .cancel_job(job.id, &operator(), "seen")
            .await
            .unwrap();
    }
    assert_eq!(all(&fixture).await.len(), 1);
}

async fn snapshots_are_in_the_order_of_the_coordinators_time(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    // Its clock is an hour ahead at first, then right, then a day behind.
    for (number, ahead) in [(1, 3_600), (2, 0), (3, -86_400)] {
        let attempt = fixture.started(&agent, "web").await;
        fixture.advance(10);
        let time = fixture.in_seconds(ahead);
        fixture.publish(attempt, number, time).await;
        fixture.advance(10);
        fixture.finish(&agent, attempt, Ok(success(number))).await;
        fixture.advance(60);
    }
    let listed = all(&fixture).await;
    let ids: Vec<_> = listed.iter().map(|it| it.id).collect();
    assert_eq!(ids, [snapshot_id(3), snapshot_id(2), snapshot_id(1)]);
    let dataset = DatasetName::new("web", "web-1");
    let latest = fixture.catalog.latest_snapshot(&dataset).await.unwrap();
    assert_eq!(latest.unwrap().id, snapshot_id(3));
    // A moment is looked up in the same time.
    let filter = SnapshotFilter {
        before: Some(SnapshotCursor {
            time: fixture.in_seconds(-85),
            id: ObjectId([0xff; 32]),
        }),
        ..SnapshotFilter::default()
    };
    let then = fixture.catalog.snapshots(&filter, 1).await.unwrap().items;
    assert_eq!(then[0].id, snapshot_id(2));
}

async fn times_of_earlier_versions_come_into_the_coordinators(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let mut between = Vec::new();
    for number in 1..=3 {
        let offered = fixture.now();
        let attempt = fixture.started(&agent, "web").await;
        fixture.advance(10);
        fixture.publish(attempt, number, fixture.now()).await;
        fixture.finish(&agent, attempt, Ok(success(number))).await;
        between.push((offered, fixture.now()));
        fixture.advance(60);
    }
    // A clock that was a day ahead, one that was a day behind, and one that was right.
    for (number, off) in [(1, 86_400), (2, -86_400), (3, -5)] {
        let taken = between[usize::from(number) - 1].1 + SignedDuration::from_secs(off);
        let statement = if number == 2 {
            "UPDATE snapshots SET taken_at = $1, published_at = $1 WHERE id = $2"
        } else {
            "UPDATE snapshots SET taken_at = $1 WHERE id = $2"
        };
        sqlx::query(statement)
            .bind(taken.as_microsecond())
            .bind(snapshot_id(number).to_string())
            .execute(fixture.catalog.writers())
            .await
            .unwrap();
    }
    let migration = include_str!("../../../migrations/0021_times_of_before.sql");
    sqlx::raw_sql(migration)
        .execute(fixture.catalog.writers())
        .await
        .unwrap();
    let listed = all(&fixture).await;
    let times: Vec<_> = listed.iter().rev().map(|it| (it.id, it.time)).collect();
    let right = between[2].1 - SignedDuration::from_secs(5);
    let wanted = [
        (snapshot_id(1), between[0].1),
        (snapshot_id(2), between[1].0),
        (snapshot_id(3), right),
    ];
    assert_eq!(times, wanted);
    let dataset = DatasetName::new("web", "web-1");
    let latest = fixture.catalog.latest_snapshot(&dataset).await.unwrap();
    assert_eq!(latest.unwrap().id, snapshot_id(3));
}

async fn no_time_is_later_than_the_coordinators_own(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let future: Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
    let dataset = DatasetName::new("web", "web-1");
    let first = fixture.now();
    backed_up(&fixture, &agent, "web", 1, future).await;
    assert_eq!(all(&fixture).await[0].time, first);
    // One whose clock is slow is the newest all the same.
    fixture.advance(60);
    backed_up(
        &fixture,
        &agent,
        "web",
        2,
        first - SignedDuration::from_hours(9),
    )
    .await;
    let latest = catalog.latest_snapshot(&dataset).await.unwrap().unwrap();
    assert_eq!(latest.id, snapshot_id(2));
    let all_latest = catalog.latest_snapshots().await.unwrap();
    assert_eq!(all_latest[&dataset].id, snapshot_id(2));
    fixture.advance(60);
    let next = fixture.started(&agent, "web").await;
    let state = catalog.attempt_state(next).await.unwrap().unwrap();
    assert_eq!(state.parent, Some(snapshot_id(2)));
}

/// Backs up with the given snapshot and time.
async fn backed_up(fixture: &Fixture, agent: &Agent, policy: &str, number: u8, time: Timestamp) {
    let attempt = fixture.started(agent, policy).await;
    fixture.publish(attempt, number, time).await;
    fixture.finish(agent, attempt, Ok(success(number))).await;
}

async fn a_partial_snapshot_does_not_stand_for_a_whole_one(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("db-1").await;
    fixture.repository(&agent).await;
    let whole = async || catalog.latest_whole().await.unwrap();
    let dataset = DatasetName::new("dumps", "db-1");
    let partial = async |number| {
        let attempt = fixture.started(&agent, "dumps").await;
        let Outcome::Backup(mut result) = success(number) else {
            unreachable!("success is of a backup");
        };
        result.partial = true;
        let end = Ok(Outcome::Backup(result));
        fixture.finish(&agent, attempt, end).await;
    };
    partial(1).await;
    assert!(whole().await.is_empty());
    fixture.advance(60);
    let time = fixture.now();
    backed_up(&fixture, &agent, "dumps", 2, time).await;
    fixture.advance(60);
    partial(3).await;
    assert_eq!(whole().await.get(&dataset), Some(&time));
    let latest = catalog.latest_snapshot(&dataset).await.unwrap().unwrap();
    assert!(latest.result.partial && latest.id == snapshot_id(3));
}

async fn snapshots_are_listed_by_page_and_filter(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let a = fixture.agent("a").await;
    let b = fixture.agent("b").await;
    let start = fixture.now();
    for agent in [&a, &b] {
        fixture.repository(agent).await;
    }
    // Two of one time, so that a page may end between them.
    for (agent, policy, number, minute) in [
        (&a, "files", 1, 0),
        (&a, "files", 2, 1),
        (&b, "files", 3, 1),
        (&b, "logs", 4, 2),
    ] {
        let time = start + SignedDuration::from_mins(minute);
        fixture.advance(time.duration_since(fixture.now()).as_secs());
        backed_up(&fixture, agent, policy, number, time).await;
    }
    let mut filter = SnapshotFilter::default();
    let mut seen = Vec::new();
    loop {
        let page = catalog.snapshots(&filter, 2).await.unwrap();
        seen.extend(page.items.iter().map(|it| it.id));
        let Some(next) = page.next else { break };
        filter.before = Some(next.to_string().parse().unwrap());
    }
    assert_eq!(seen, [4, 2, 3, 1].map(snapshot_id));
    let count = async |filter| catalog.snapshots(&filter, 99).await.unwrap().items.len();
    let none = SnapshotFilter::default;
    let second = start + SignedDuration::from_mins(1);
    let before = second.to_string().parse().ok();
    assert_eq!(count(SnapshotFilter { before, ..none() }).await, 1);
    let policy = Some("files".into());
    assert_eq!(count(SnapshotFilter { policy, ..none() }).await, 3);
    let agent = Some(a.id);
    assert_eq!(count(SnapshotFilter { agent, ..none() }).await, 2);
    let repository = Some("primary/b".into());
    assert_eq!(
        count(SnapshotFilter {
            repository,
            ..none()
        })
        .await,
        2
    );
    let latest = catalog.latest_snapshots().await.unwrap();
    assert_eq!(latest.len(), 3);
    let dataset = DatasetName::new("files", "a");
    assert_eq!(latest[&dataset].id, snapshot_id(2));
    let found = catalog.latest_snapshot(&dataset).await.unwrap();
    assert_eq!(found.as_ref(), Some(&latest[&dataset]));
    let nothing = DatasetName::new("files", "c");
    assert_eq!(catalog.latest_snapshot(&nothing).await.unwrap(), None);
}

async fn a_snapshot_is_found_by_its_beginning(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    for number in [0x11, 0x12] {
        backed_up(&fixture, &agent, "web", number, fixture.now()).await;
    }
    let find = async |prefix: &str| fixture.catalog.find_snapshot(prefix).await;
    assert_eq!(find("11").await.unwrap().id, snapshot_id(0x11));
    let full = snapshot_id(0x12).to_string();
    assert_eq!(find(&full).await.unwrap().id, snapshot_id(0x12));
    let both = find("1").await.unwrap_err();
    assert!(matches!(both, CatalogError::Ambiguous { .. }));
    for none in ["2", "%", "_1"] {
        let error = find(none).await.unwrap_err();
        assert!(matches!(error, CatalogError::NotFound { .. }), "{none}");
    }
}

async fn pins_come_and_go(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    backed_up(&fixture, &agent, "web", 1, fixture.now()).await;
    let snapshot = all(&fixture).await.remove(0);
    assert!(!snapshot.pinned);
    for pinned in [true, false] {
        let changed = catalog.pin_snapshot(&snapshot, pinned, &operator()).await;
        assert_eq!(changed.unwrap().pinned, pinned);
        assert_eq!(all(&fixture).await[0].pinned, pinned);
    }
}

async fn the_first_kind_named_for_a_pack_counts(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await.name;
    let attempt = fixture.started(&agent, "web").await;
    let id = snapshot_id(5);
    let data = ObjectName::data_pack(id);
    let tree = ObjectName::tree_pack(id);
    let record = async |name, length| {
        let recorded = catalog
            .record_objects(&repository, attempt, &[(name, length)])
            .await;
        recorded.unwrap();
    };
    record(data, 100).await;
    record(tree, 7).await;
    let known = catalog.known_objects(&repository, &[tree]).await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].name, data);
    assert_eq!(known[0].length, 100);
    assert_eq!(known[0].attempt, attempt);
    let names = [ObjectName::Config, ObjectName::index(id)];
    let known = catalog.known_objects(&repository, &names).await.unwrap();
    assert!(known.is_empty());
    record(ObjectName::Config, 1).await;
    let known = catalog.known_objects(&repository, &names).await.unwrap();
    assert_eq!(known[0].name, ObjectName::Config);
}

async fn many_objects_at_once(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await.name;
    let attempt = fixture.started(&agent, "web").await;
    let objects: Vec<_> = (0..200)
        .map(|number| {
            (
                ObjectName::data_pack(snapshot_id(number)),
                u64::from(number),
            )
        })
        .collect();
    let (one, two) = tokio::join!(
        catalog.record_objects(&repository, attempt, &objects),
        catalog.record_objects(&repository, attempt, &objects[50..])
    );
    one.unwrap();
    two.unwrap();
    let names: Vec<_> = objects.iter().map(|(name, _)| *name).collect();
    let known = catalog.known_objects(&repository, &names).await.unwrap();
    assert_eq!(known.len(), 200);
    let data = catalog
        .objects_of_attempt(attempt, ObjectKind::DataPack)
        .await
        .unwrap();
    assert_eq!(data.len(), 200);
    catalog
        .forget_objects(&repository, &names[..150])
        .await
        .unwrap();
    let known = catalog.known_objects(&repository, &names).await.unwrap();
    assert_eq!(known.len(), 50);
}

async fn locks_of_ended_attempts_are_found(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await.name;
    let attempt = fixture.started(&agent, "web").await;
    let lock = ObjectName::lock(snapshot_id(3));
    let objects = [(lock, 9), (ObjectName::index(snapshot_id(4)), 9)];
    catalog
        .record_objects(&repository, attempt, &objects)
        .await
        .unwrap();
    let abandoned = async || {
        let stale = fixture.in_seconds(-1800);
        catalog.abandoned_locks(stale).await.unwrap()
    };
    assert!(abandoned().await.is_empty());
    fixture.finish(&agent, attempt, Ok(success(1))).await;
    let abandoned = abandoned().await;
    assert_eq!(abandoned.len(), 1);
    assert_eq!(
        (abandoned[0].name, &abandoned[0].repository),
        (lock, &repository)
    );
    assert_eq!(
        catalog.locks_of(&repository).await.unwrap(),
        HashSet::from([snapshot_id(3)])
    );
    catalog.forget_objects(&repository, &[lock]).await.unwrap();
    let stale = fixture.in_seconds(-1800);
    assert!(catalog.abandoned_locks(stale).await.unwrap().is_empty());
    assert!(catalog.locks_of(&repository).await.unwrap().is_empty());
}

async fn a_lock_is_given_up_when_it_was_last_granted_long_ago(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await.name;
    let attempt = fixture.started(&agent, "web").await;
    let lock = ObjectName::lock(snapshot_id(3));
    let abandoned = async || {
        let stale = fixture.in_seconds(-1800);
        catalog.abandoned_locks(stale).await.unwrap().len()
    };
    for (waited, expected) in [(0, 0), (1200, 0), (1200, 0)] {
        fixture.advance(waited);
        let twice = [(lock, 9), (lock, 9)];
        let granted = catalog.record_objects(&repository, attempt, &twice);
        granted.await.unwrap();
        assert_eq!(abandoned().await, expected);
    }
    fixture.advance(1801);
    assert_eq!(abandoned().await, 1);
}
