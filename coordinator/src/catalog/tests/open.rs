//! Opening: versions, locks, servers that are not there.

use sqlx::Connection;
use strongroom_runtime::clock::ManualClock;

use super::{Fixture, contract};
use crate::catalog::{Catalog, CatalogError};

contract!(
    what_was_written_is_there_when_opened_again,
    a_newer_catalog_is_refused_with_both_versions,
    changes_wake_those_who_wait,
);

async fn what_was_written_is_there_when_opened_again(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let Fixture {
        catalog,
        clock,
        url,
        directory,
    } = fixture;
    catalog.close().await;
    drop(catalog);
    let again = Catalog::open(&url, clock).await.unwrap();
    assert_eq!(again.agents().await.unwrap(), [agent]);
    drop(directory);
}

async fn a_newer_catalog_is_refused_with_both_versions(fixture: Fixture) {
    let Fixture {
        catalog,
        clock,
        url,
        directory,
    } = fixture;
    catalog.close().await;
    drop(catalog);
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    for statement in [
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         SELECT 9999, 'later', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        "UPDATE meta SET value = '99.1.2' WHERE key = 'written_by'",
    ] {
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();
    let error = Catalog::open(&url, clock).await.unwrap_err();
    assert!(matches!(error, CatalogError::Newer { found: 9999, .. }));
    let text = error.to_string();
    assert!(text.contains("99.1.2"), "{text}");
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    drop(directory);
}

async fn changes_wake_those_who_wait(fixture: Fixture) {
    let mut changes = fixture.catalog.changes();
    fixture.invite("t1", None).await;
    fixture.invite("t2", None).await;
    changes.changed().await;
    let more = tokio::select! {
        biased;
        () = changes.changed() => true,
        () = std::future::ready(()) => false,
    };
    assert!(!more, "two changes before a wait are one");
}

#[tokio::test]
async fn a_second_coordinator_on_the_same_file_is_refused() {
    let fixture = Fixture::sqlite().await;
    let error = Catalog::open(&fixture.url, fixture.clock.clone())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, CatalogError::InUse { .. }), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    assert!(text.contains("stop that one first"), "{text}");
}

#[tokio::test]
async fn a_file_whose_name_needs_escaping_is_opened_as_it_is() {
    let fixture = Fixture::sqlite().await;
    let file = fixture.directory().unwrap().join("a b#c%20?d.db");
    let url = format!("sqlite:{}", file.display());
    let catalog = Catalog::open(&url, fixture.clock.clone()).await.unwrap();
    assert!(file.exists());
    catalog.close().await;
}

#[tokio::test]
async fn only_the_coordinators_user_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let fixture = Fixture::sqlite().await;
    fixture.invite("t1", None).await;
    let files = std::fs::read_dir(fixture.directory().unwrap()).unwrap();
    let modes: Vec<_> = files
        .map(|file| file.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert!(modes.len() >= 2);
    assert!(modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let fixture = Fixture::sqlite().await;
    let file = fixture.directory().unwrap().join("notes.txt");
    let notes = "these are notes and not a database ".repeat(99);
    std::fs::write(&file, &notes).unwrap();
    let error = Catalog::open(&format!("sqlite:{}", file.display()), fixture.clock.clone())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("notes.txt"), "{text}");
    assert!(text.contains("not a database"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), notes);
}

#[tokio::test]
async fn what_cannot_be_opened_is_named_without_its_password() {
    let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
    let open = async |url: &str| Catalog::open(url, clock.clone()).await.unwrap_err();
    // Nothing listens on port 1.
    let error = open("postgres://strongroom:hunter2@127.0.0.1:1/strongroom?password=hunter2").await;
    let text = error.to_string();
    assert!(matches!(error, CatalogError::Unreachable { .. }), "{text}");
    assert!(text.contains("127.0.0.1:1/strongroom"), "{text}");
    assert!(!format!("{error:?} {text}").contains("hunter2"), "{text}");
    for url in [
        "mysql://u:hunter2@h/d",
        "sqlite:",
        "sqlite::memory:",
        "/var/lib/x.db",
    ] {
        let text = open(url).await.to_string();
        assert!(text.contains("sqlite:PATH"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let text = open("sqlite:/nowhere/at/all/catalog.db").await.to_string();
    assert!(text.contains("/nowhere/at/all/catalog.db.lock"), "{text}");
}
