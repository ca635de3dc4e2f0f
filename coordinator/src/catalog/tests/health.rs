//! A database that fails for a while, and comes back.

use sqlx::Executor as _;

use super::Fixture;

/// Lets the file grow no more on the connection that writes, as on a full disk.
async fn fill(fixture: &Fixture) {
    let writers = fixture.catalog.0.backend.writers();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(writers)
        .await
        .unwrap();
    let full = format!("PRAGMA max_page_count = {pages}");
    writers.execute(sqlx::AssertSqlSafe(full)).await.unwrap();
}

async fn grow(fixture: &Fixture) -> Result<(), String> {
    for number in 0..200 {
        let token = crate::model::NewJoinToken {
            id: format!("{number}-{}", uuid::Uuid::new_v4()),
            secret: crate::model::SecretHash::of("secret"),
            labels: (0..30)
                .map(|label| (format!("role-{label}"), "x".repeat(60)))
                .collect(),
            agent_name: None,
            expires_at: fixture.in_seconds(60),
        };
        let by = super::fixture::operator();
        let made = fixture.catalog.create_join_token(&token, &by).await;
        made.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_disk_that_was_full_for_a_moment_is_written_again() {
    let fixture = Fixture::sqlite().await;
    fixture.catalog.health().await.unwrap();
    fill(&fixture).await;
    let error = grow(&fixture).await.unwrap_err();
    assert!(error.contains("full"), "{error}");
    assert!(error.contains("make room"), "{error}");
    // The connection is another one, whose file may grow: there is room again.
    grow(&fixture).await.unwrap();
    fixture.catalog.look_again().await;
    fixture.catalog.health().await.unwrap();
    fixture.agent("web-1").await;
}

#[tokio::test]
async fn a_catalog_that_cannot_be_written_is_not_healthy_and_says_where_it_lies() {
    let fixture = Fixture::sqlite().await;
    fixture.catalog.health().await.unwrap();
    let writers = fixture.catalog.0.backend.writers();
    writers.execute("PRAGMA query_only = ON").await.unwrap();
    // So soon nobody looks again.
    fixture.catalog.health().await.unwrap();
    fixture.catalog.look_again().await;
    let problem = fixture.catalog.health().await.unwrap_err();
    let directory = fixture.directory().unwrap().display().to_string();
    assert!(problem.contains(&directory), "{problem}");
    writers.execute("PRAGMA query_only = OFF").await.unwrap();
    fixture.catalog.look_again().await;
    fixture.catalog.health().await.unwrap();
}

#[tokio::test]
async fn a_server_that_restarts_is_written_again() {
    let fixture = Fixture::postgres().await;
    fixture.agent("web-1").await;
    // As a restart ends them, in the middle of a transaction too.
    let open = fixture.catalog.begin().await.unwrap();
    let ended: Result<Vec<bool>, _> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_all(fixture.catalog.pool())
    .await;
    assert!(!ended.unwrap().is_empty());
    drop(open);
    fixture.agent("web-2").await;
    assert_eq!(fixture.catalog.agents().await.unwrap().len(), 2);
    fixture.catalog.health().await.unwrap();
}
