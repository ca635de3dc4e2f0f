//! Index files are shown once their attempt has a snapshot.

use std::collections::HashSet;

use strongroom_layout::{AttemptRef, JobId, ObjectId, ObjectName};
use strongroom_spec::{FailureCode, Outcome};
use uuid::Uuid;

use super::{
    Fixture, contract,
    fixture::{failure, snapshot_id, success},
};
use crate::{
    catalog::{AuditFilter, Publication},
    model::Repository,
};

contract!(
    index_files_are_shown_when_their_attempt_has_a_snapshot,
    index_files_without_a_snapshot_are_withheld_counted_and_audited,
    a_snapshot_that_is_found_later_shows_its_index_files,
);

/// Somebody who wrote nothing.
fn nobody() -> AttemptRef {
    AttemptRef {
        job: JobId(Uuid::nil()),
        attempt: 1,
    }
}

async fn write_index(fixture: &Fixture, repository: &Repository, attempt: AttemptRef, n: u8) {
    let objects = [(ObjectName::index(ObjectId([n; 32])), 100)];
    let written = fixture
        .catalog
        .record_objects(&repository.name, attempt, &objects);
    written.await.unwrap();
}

async fn publish(fixture: &Fixture, attempt: AttemptRef, number: u8) {
    let Outcome::Backup(result) = success(number) else {
        unreachable!("success is of a backup");
    };
    let time = fixture.now();
    let publication = Publication {
        attempt,
        length: 300,
        result,
        time,
    };
    fixture.catalog.publish(&publication).await.unwrap();
}

/// The first bytes of those that `reader` is not shown.
async fn withheld(fixture: &Fixture, repository: &Repository, reader: AttemptRef) -> Vec<u8> {
    let withheld = fixture.catalog.withheld_indexes(&repository.name, reader);
    let withheld: HashSet<ObjectId> = withheld.await.unwrap();
    let mut first: Vec<u8> = withheld.iter().map(|id| id.0[0]).collect();
    first.sort_unstable();
    first
}

async fn audited(fixture: &Fixture) -> Vec<serde_json::Value> {
    let filter = AuditFilter {
        action: Some("index.withhold".into()),
        ..AuditFilter::default()
    };
    let entries = fixture.catalog.audit_log(&filter, 99).await.unwrap();
    entries.items.into_iter().map(|it| it.detail).collect()
}

async fn index_files_are_shown_when_their_attempt_has_a_snapshot(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    write_index(&fixture, &repository, attempt, 1).await;
    assert_eq!(withheld(&fixture, &repository, nobody()).await, [1]);
    assert_eq!(withheld(&fixture, &repository, attempt).await, [0; 0]);
    // It is at work: nothing is amiss.
    assert!(fixture.catalog.withheld_counts().await.unwrap().is_empty());
    publish(&fixture, attempt, 1).await;
    assert_eq!(withheld(&fixture, &repository, nobody()).await, [1]);
    fixture.finish(&agent, attempt, Ok(success(1))).await;
    assert_eq!(withheld(&fixture, &repository, nobody()).await, [0; 0]);
    assert!(audited(&fixture).await.is_empty());
}

async fn index_files_without_a_snapshot_are_withheld_counted_and_audited(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    write_index(&fixture, &repository, attempt, 1).await;
    write_index(&fixture, &repository, attempt, 2).await;
    let failed = Err(failure(FailureCode::Internal, false));
    fixture.finish(&agent, attempt, failed).await;
    assert_eq!(withheld(&fixture, &repository, nobody()).await, [1, 2]);
    let counts = fixture.catalog.withheld_counts().await.unwrap();
    assert_eq!(counts.get(&repository.name), Some(&2));
    let audited = audited(&fixture).await;
    assert_eq!(audited.len(), 1);
    assert_eq!(audited[0]["files"], 2);
    // Another attempt's snapshot does not show them, whoever grants them again.
    let next = fixture.started(&agent, "web").await;
    write_index(&fixture, &repository, next, 2).await;
    write_index(&fixture, &repository, next, 3).await;
    publish(&fixture, next, 1).await;
    fixture.finish(&agent, next, Ok(success(1))).await;
    assert_eq!(withheld(&fixture, &repository, nobody()).await, [1, 2]);
}

async fn a_snapshot_that_is_found_later_shows_its_index_files(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let repository = fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    write_index(&fixture, &repository, attempt, 1).await;
    publish(&fixture, attempt, 1).await;
    let failed = Err(failure(FailureCode::Internal, false));
    fixture.finish(&agent, attempt, failed).await;
    assert_eq!(withheld(&fixture, &repository, nobody()).await, [1]);
    let confirm = fixture
        .catalog
        .confirm_snapshot(&repository.name, snapshot_id(1));
    confirm.await.unwrap();
    assert_eq!(withheld(&fixture, &repository, nobody()).await, [0; 0]);
}
