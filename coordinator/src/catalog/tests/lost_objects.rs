//! What a store has lost is noted, told of, and known until it is back.

use strongroom_layout::{AttemptRef, ObjectId, ObjectKind, ObjectName};
use strongroom_spec::{FailureCode, Warning, WarningCode};
use strongroom_wire::job::Report;

use super::{
    Fixture, contract,
    fixture::{failure, operator, report, snapshot_id, success},
};
use crate::{
    catalog::{AuditFilter, Finished},
    jobs::Backoff,
    model::{Agent, Comparison, LostObject, Repository},
};

contract!(
    what_a_success_relies_on_is_expected_and_nothing_else,
    losses_are_an_alarm_until_they_are_accepted_or_back,
    a_lost_snapshot_stands_for_nothing,
    an_agents_losses_are_told_with_the_snapshots_that_may_need_them,
    repositories_are_compared_day_by_day,
    what_was_accepted_and_gets_worse_is_an_alarm_again,
    what_is_asked_for_while_a_comparison_is_under_way_is_still_to_be_done,
);

const PACKS: [ObjectKind; 2] = [ObjectKind::DataPack, ObjectKind::TreePack];

fn pack(number: u8) -> ObjectName {
    ObjectName::data_pack(ObjectId([number; 32]))
}

async fn write(fixture: &Fixture, repository: &Repository, attempt: AttemptRef, packs: &[u8]) {
    let objects: Vec<_> = packs.iter().map(|number| (pack(*number), 100)).collect();
    let written = fixture
        .catalog
        .record_objects(&repository.name, attempt, &objects);
    written.await.unwrap();
}

/// A backup that wrote some packs and the snapshot `number`.
async fn back_up(
    fixture: &Fixture,
    agent: &Agent,
    repository: &Repository,
    packs: &[u8],
    number: u8,
) {
    let attempt = fixture.started(agent, "web").await;
    write(fixture, repository, attempt, packs).await;
    fixture.finish(agent, attempt, Ok(success(number))).await;
    fixture.advance(60);
}

async fn expected(
    fixture: &Fixture,
    repository: &Repository,
    kinds: &[ObjectKind],
    between: (Option<&str>, Option<&str>),
) -> Vec<u8> {
    let (after, last) = between;
    let rows = fixture
        .catalog
        .expected_objects(&repository.name, kinds, after, last, 99)
        .await;
    let first = |name: ObjectName| name.id().unwrap().0[0];
    rows.unwrap().iter().map(|row| first(row.name)).collect()
}

async fn what_a_success_relies_on_is_expected_and_nothing_else(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let failed = fixture.started(&agent, "web").await;
    write(&fixture, &repository, failed, &[1]).await;
    let lost = failure(FailureCode::Source, false);
    fixture.finish(&agent, failed, Err(lost)).await;
    back_up(&fixture, &agent, &repository, &[2, 3, 4], 20).await;
    let at_work = fixture.started(&agent, "web").await;
    write(&fixture, &repository, at_work, &[5]).await;

    let all = (None, None);
    assert_eq!(
        expected(&fixture, &repository, &PACKS, all).await,
        [2, 3, 4]
    );
    let (two, three) = (pack(2).path(), pack(3).path());
    let between = (Some(two.as_str()), Some(three.as_str()));
    assert_eq!(expected(&fixture, &repository, &PACKS, between).await, [3]);
    let snapshots = [ObjectKind::Snapshot];
    assert_eq!(expected(&fixture, &repository, &snapshots, all).await, [20]);
    // Published, and not confirmed yet.
    fixture.publish(at_work, 21, fixture.now()).await;
    assert_eq!(expected(&fixture, &repository, &snapshots, all).await, [20]);
}

fn lost(fixture: &Fixture, object: ObjectName, found: Option<u64>) -> LostObject {
    LostObject {
        path: object.path(),
        kind: object.kind(),
        length: 100,
        found,
        granted_at: fixture.now(),
        noticed_at: fixture.now(),
        accepted_at: None,
    }
}

async fn compared(fixture: &Fixture, repository: &Repository, lost: Vec<LostObject>) {
    let found = Comparison {
        lost_count: lost.len() as u64,
        lost,
        ..Comparison::default()
    };
    let before = fixture.catalog.last_comparison(&repository.name).await;
    let before = before.unwrap();
    fixture
        .catalog
        .record_comparison(&repository.name, before.map(|(at, _)| at), &found)
        .await
        .unwrap();
}

async fn audited(fixture: &Fixture, action: &str) -> Vec<serde_json::Value> {
    let filter = AuditFilter {
        action: Some(action.into()),
        ..AuditFilter::default()
    };
    let entries = fixture.catalog.audit_log(&filter, 99).await.unwrap();
    entries.items.into_iter().map(|it| it.detail).collect()
}

/// Objects and snapshots that are an alarm.
async fn alarm(fixture: &Fixture) -> Option<(u64, u64)> {
    let mut alarms = fixture.catalog.loss_alarms().await.unwrap();
    assert!(alarms.len() < 2);
    alarms.pop().map(|alarm| (alarm.objects, alarm.snapshots))
}

async fn losses_are_an_alarm_until_they_are_accepted_or_back(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    back_up(&fixture, &agent, &repository, &[1, 2], 20).await;
    let one = lost(&fixture, pack(1), None);
    for _ in 0..2 {
        compared(&fixture, &repository, vec![one.clone()]).await;
        fixture.advance(60);
    }
    // The second time is no news, and it was noticed the first time.
    assert_eq!(audited(&fixture, "repository.lost-objects").await.len(), 1);
    let noted = catalog.lost_objects(&repository.name).await.unwrap();
    assert_eq!(noted, std::slice::from_ref(&one));
    assert_eq!(alarm(&fixture).await, Some((1, 0)));

    let accepted = catalog.accept_losses(&repository.name, &operator()).await;
    assert_eq!(accepted.unwrap(), 1);
    assert_eq!(alarm(&fixture).await, None);
    // It stays listed; one more is an alarm of its own.
    let two = lost(&fixture, pack(2), Some(40));
    compared(&fixture, &repository, vec![one, two.clone()]).await;
    assert_eq!(alarm(&fixture).await, Some((1, 0)));
    assert_eq!(
        catalog.lost_objects(&repository.name).await.unwrap().len(),
        2
    );

    compared(&fixture, &repository, vec![two]).await;
    let back = audited(&fixture, "repository.found-objects").await;
    assert_eq!(back[0]["paths"], serde_json::json!([pack(1).path()]));
    assert_eq!(
        catalog.lost_objects(&repository.name).await.unwrap().len(),
        1
    );
    let (at, count) = catalog
        .last_comparison(&repository.name)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((at, count), (fixture.now(), 1));
}

async fn a_lost_snapshot_stands_for_nothing(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    back_up(&fixture, &agent, &repository, &[1], 20).await;
    back_up(&fixture, &agent, &repository, &[2], 21).await;
    let dataset = "web@web-1".parse().unwrap();
    let newest = |snapshot: &crate::model::Snapshot| snapshot.id;
    let latest = catalog.latest_snapshot(&dataset).await.unwrap();
    assert_eq!(latest.as_ref().map(newest), Some(snapshot_id(21)));
    let gone = lost(&fixture, ObjectName::snapshot(snapshot_id(21)), None);
    compared(&fixture, &repository, vec![gone]).await;
    assert_eq!(alarm(&fixture).await, Some((1, 1)));
    let latest = catalog.latest_snapshot(&dataset).await.unwrap();
    assert_eq!(latest.as_ref().map(newest), Some(snapshot_id(20)));
    let of_all = catalog.latest_snapshots().await.unwrap();
    assert_eq!(of_all.get(&dataset).map(newest), Some(snapshot_id(20)));
    let whole = catalog.latest_whole().await.unwrap();
    assert_eq!(whole.get(&dataset).copied(), latest.map(|it| it.time));
    let found = catalog.find_snapshot(&snapshot_id(21).to_string()).await;
    assert!(found.unwrap().lost_at.is_some());
    // The next backup compares with the one before.
    let job = fixture.backup(&agent, "web").await;
    let dispatched = fixture.dispatch(&agent).await;
    assert_eq!(dispatched[0].id, job.id);
    let strongroom_spec::JobSpec::Backup(work) = &dispatched[0].spec else {
        panic!("{:?}", dispatched[0].spec);
    };
    assert_eq!(work.parent, Some(snapshot_id(20)));
    compared(&fixture, &repository, vec![]).await;
    let latest = catalog.latest_snapshot(&dataset).await.unwrap();
    assert_eq!(latest.as_ref().map(newest), Some(snapshot_id(21)));
}

async fn an_agents_losses_are_told_with_the_snapshots_that_may_need_them(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    back_up(&fixture, &agent, &repository, &[1], 20).await;
    back_up(&fixture, &agent, &repository, &[2], 21).await;
    compared(&fixture, &repository, vec![]).await;
    let warning = |path: String| Warning {
        code: WarningCode::ObjectsLost,
        path: path.into(),
        cause: "gone".into(),
        accepted: false,
    };
    let attempt = fixture.started(&agent, "web").await;
    fixture.publish(attempt, 22, fixture.now()).await;
    let said = Report {
        warnings: vec![
            warning(pack(1).path()),
            warning(pack(2).path()),
            // The catalog never heard of it.
            warning(pack(9).path()),
            warning("data".into()),
            warning("data/../config".into()),
        ],
        ..report(attempt, Ok(success(22)))
    };
    let backoff = Backoff::default();
    let finished = fixture
        .catalog
        .finish_attempt(agent.id, &said, true, &backoff);
    assert!(matches!(finished.await.unwrap(), Finished::Recorded(_)));
    let told = fixture.catalog.job_detail(attempt.job).await.unwrap();
    let causes: Vec<_> = told
        .warnings
        .into_iter()
        .map(|warning| warning.cause)
        .collect();
    let (first, second) = (snapshot_id(20).short(), snapshot_id(21).short());
    let both = format!("gone. It may be needed by {second}, {first}");
    let later = format!("gone. It may be needed by {second}");
    assert_eq!(causes, [&both, &later, &both, "gone", "gone"]);
    // And the store is compared at once.
    let due = fixture
        .catalog
        .repositories_to_compare(fixture.in_seconds(-86_400));
    assert_eq!(due.await.unwrap().len(), 1);
}

async fn repositories_are_compared_day_by_day(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let due = async || {
        let before = fixture.in_seconds(-86_400);
        let due = fixture.catalog.repositories_to_compare(before).await;
        due.unwrap().len()
    };
    // Nothing was written to it.
    assert_eq!(due().await, 0);
    // What has just come into being has lost nothing.
    back_up(&fixture, &agent, &repository, &[1], 20).await;
    assert_eq!(due().await, 0);
    fixture.advance(86_401);
    assert_eq!(due().await, 1);
    compared(&fixture, &repository, vec![]).await;
    assert_eq!(due().await, 0);
    fixture.advance(86_401);
    assert_eq!(due().await, 1);
}

async fn what_was_accepted_and_gets_worse_is_an_alarm_again(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    back_up(&fixture, &agent, &repository, &[1, 2], 20).await;
    compared(
        &fixture,
        &repository,
        vec![lost(&fixture, pack(1), Some(40))],
    )
    .await;
    let accepted = fixture
        .catalog
        .accept_losses(&repository.name, &operator())
        .await;
    assert_eq!(accepted.unwrap(), 1);
    compared(
        &fixture,
        &repository,
        vec![lost(&fixture, pack(1), Some(40))],
    )
    .await;
    assert_eq!(alarm(&fixture).await, None);
    compared(&fixture, &repository, vec![lost(&fixture, pack(1), None)]).await;
    assert_eq!(alarm(&fixture).await, Some((1, 0)));
    // Of more than are noted, nobody knows which are back.
    let found = Comparison {
        lost: vec![lost(&fixture, pack(2), None)],
        lost_count: 9,
        ..Comparison::default()
    };
    let record = fixture
        .catalog
        .record_comparison(&repository.name, Some(fixture.now()), &found);
    record.await.unwrap();
    assert_eq!(alarm(&fixture).await, Some((9, 0)));
}

async fn what_is_asked_for_while_a_comparison_is_under_way_is_still_to_be_done(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    back_up(&fixture, &agent, &repository, &[1], 20).await;
    compared(&fixture, &repository, vec![]).await;
    let before = catalog.last_comparison(&repository.name).await.unwrap();
    catalog.ask_for_comparison(&repository.name).await.unwrap();
    let found = Comparison::default();
    let record = catalog.record_comparison(&repository.name, before.map(|it| it.0), &found);
    record.await.unwrap();
    let still = catalog.last_comparison(&repository.name).await.unwrap();
    assert_eq!(still, None);
    compared(&fixture, &repository, vec![]).await;
    let done = catalog.last_comparison(&repository.name).await.unwrap();
    assert_eq!(done, Some((fixture.now(), 0)));
}
