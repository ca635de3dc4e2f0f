//! Snapshots and objects.

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::{AttemptRef, ObjectKind, ObjectName};
use strongroom_wire::job::{FailureCode, Success};

use super::{
    Fixture, contract,
    fixture::{failure, operator, report, snapshot_id, success},
};
use crate::{
    catalog::{CatalogError, Finished, Publication, SnapshotFilter},
    jobs::Backoff,
    model::{Agent, DatasetName, Snapshot},
};

contract!(
    a_snapshot_is_listed_once_its_report_is_there,
    a_snapshot_whose_agent_died_is_found_and_settled,
    a_late_report_still_confirms_what_was_published,
    snapshots_are_listed_by_page_and_filter,
    a_snapshot_is_found_by_its_beginning,
    pins_come_and_go,
    the_first_kind_named_for_a_pack_counts,
    many_objects_at_once,
    locks_of_ended_attempts_are_found,
);

async fn publish(fixture: &Fixture, attempt: AttemptRef, number: u8, time: Timestamp) {
    let Success::Backup(result) = success(number) else {
        unreachable!("success is of a backup");
    };
    let publication = Publication {
        attempt,
        result,
        time,
    };
    fixture.catalog.publish(&publication).await.unwrap();
}

async fn all(fixture: &Fixture) -> Vec<Snapshot> {
    let filter = SnapshotFilter::default();
    fixture.catalog.snapshots(&filter, 99).await.unwrap().items
}

async fn a_snapshot_is_listed_once_its_report_is_there(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let time = fixture.in_seconds(-7);
    publish(&fixture, attempt, 1, time).await;
    assert!(all(&fixture).await.is_empty());
    let open = fixture.catalog.unconfirmed_snapshots().await.unwrap();
    assert!(open.is_empty(), "its attempt is still at work");
    fixture.finish(&agent, attempt, Ok(success(1))).await;
    let snapshot = all(&fixture).await.remove(0);
    assert_eq!(snapshot.id, snapshot_id(1));
    assert_eq!(snapshot.time, time);
    assert_eq!(snapshot.attempt, attempt);
    assert_eq!(snapshot.dataset, DatasetName::new("web", "web-1"));
    assert_eq!(Success::Backup(snapshot.result), success(1));
}

async fn a_snapshot_whose_agent_died_is_found_and_settled(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    for number in [1, 2] {
        let attempt = fixture.started(&agent, "web").await;
        publish(&fixture, attempt, number, fixture.now()).await;
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

async fn a_late_report_still_confirms_what_was_published(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    publish(&fixture, attempt, 1, fixture.now()).await;
    fixture.advance(61);
    let backoff = Backoff::default();
    catalog.expire_leases(&backoff).await.unwrap();
    let late = report(attempt, Ok(success(1)));
    let finished = catalog.finish_attempt(agent.id, &late, &backoff).await;
    assert!(matches!(finished.unwrap(), Finished::Fenced { .. }));
    assert_eq!(all(&fixture).await.len(), 1, "it is in the store");
    let unpublished = report(attempt, Ok(success(2)));
    let finished = catalog
        .finish_attempt(agent.id, &unpublished, &backoff)
        .await;
    assert!(matches!(finished.unwrap(), Finished::Fenced { .. }));
    assert_eq!(all(&fixture).await.len(), 1, "this one was never granted");
}

/// Backs up with the given snapshot and time.
async fn backed_up(fixture: &Fixture, agent: &Agent, policy: &str, number: u8, time: Timestamp) {
    let attempt = fixture.started(agent, policy).await;
    publish(fixture, attempt, number, time).await;
    fixture.finish(agent, attempt, Ok(success(number))).await;
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
    assert!(catalog.abandoned_locks().await.unwrap().is_empty());
    fixture.finish(&agent, attempt, Ok(success(1))).await;
    let abandoned = catalog.abandoned_locks().await.unwrap();
    assert_eq!(abandoned.len(), 1);
    assert_eq!(
        (abandoned[0].name, &abandoned[0].repository),
        (lock, &repository)
    );
    catalog.forget_objects(&repository, &[lock]).await.unwrap();
    assert!(catalog.abandoned_locks().await.unwrap().is_empty());
}
