//! Index files that jobs are not shown, because the attempts that wrote them
//! have no snapshot.
//!
//! That a file is shown is never taken back: later snapshots may need what it
//! lists. Nothing is deleted, and a file that the catalog does not know, such as
//! one of a foreign `restic`, is shown.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use strongroom_layout::{AttemptRef, ObjectId};

use super::{
    Catalog, CatalogError,
    row::{Columns, micros},
};
use crate::model::{Actor, Job, NewAudit};

impl Catalog {
    /// The index files of a repository that are not shown to `reader`: it sees
    /// its own.
    pub async fn withheld_indexes(
        &self,
        repository: &str,
        reader: AttemptRef,
    ) -> Result<HashSet<ObjectId>, CatalogError> {
        let rows = sqlx::query(
            "SELECT id FROM objects
             WHERE repository = $1 AND kind = 'index' AND shown_at IS NULL
               AND NOT (job_id = $2 AND attempt = $3)",
        )
        .bind(repository)
        .bind(reader.job.to_string())
        .bind(i64::from(reader.attempt))
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| Columns::new("objects", row).parse("id"))
            .collect()
    }

    /// How many index files of ended attempts are withheld, by repository; those
    /// with none are left out.
    pub async fn withheld_counts(&self) -> Result<BTreeMap<String, u64>, CatalogError> {
        let rows = sqlx::query(
            "SELECT o.repository AS repository, COUNT(*) AS files
             FROM objects o LEFT JOIN jobs j ON j.id = o.job_id
             WHERE o.kind = 'index' AND o.shown_at IS NULL
               AND (j.id IS NULL OR o.attempt < j.attempt
                    OR j.state IN ('pending', 'succeeded', 'failed', 'cancelled'))
             GROUP BY o.repository",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                let row = Columns::new("objects", row);
                Ok((row.text("repository")?, row.number("files")?))
            })
            .collect()
    }

    /// The audit row of an attempt that ended with index files and no snapshot.
    pub(super) async fn audit_withheld(
        &self,
        connection: &mut AnyConnection,
        job: &Job,
        attempt: AttemptRef,
    ) -> Result<(), CatalogError> {
        let files: i64 = sqlx::query(
            "SELECT COUNT(*) FROM objects
             WHERE job_id = $1 AND attempt = $2 AND kind = 'index' AND shown_at IS NULL",
        )
        .bind(attempt.job.to_string())
        .bind(i64::from(attempt.attempt))
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
        if files == 0 {
            return Ok(());
        }
        let entry = NewAudit::ok(Actor::Coordinator, "index.withhold", &job.repository)
            .detail(serde_json::json!({ "attempt": attempt.to_string(), "files": files }))
            .trace(&job.trace.trace_id);
        self.audit_in(connection, entry).await
    }
}

/// A snapshot was found to be there: from now on the index files of the attempt
/// that wrote it are shown.
pub(super) async fn show_of_snapshot_in(
    connection: &mut AnyConnection,
    repository: &str,
    snapshot: ObjectId,
    now: Timestamp,
) -> Result<(), CatalogError> {
    sqlx::query(
        "UPDATE objects SET shown_at = $3
         WHERE repository = $1 AND kind = 'index' AND shown_at IS NULL
           AND EXISTS (SELECT 1 FROM snapshots s
                       WHERE s.repository = $1 AND s.id = $2
                         AND s.job_id = objects.job_id AND s.attempt = objects.attempt)",
    )
    .bind(repository)
    .bind(snapshot.to_string())
    .bind(micros(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// An attempt's snapshot is there: from now on its index files are shown.
pub(super) async fn show_in(
    connection: &mut AnyConnection,
    attempt: AttemptRef,
    now: Timestamp,
) -> Result<(), CatalogError> {
    sqlx::query(
        "UPDATE objects SET shown_at = $3
         WHERE job_id = $1 AND attempt = $2 AND kind = 'index' AND shown_at IS NULL",
    )
    .bind(attempt.job.to_string())
    .bind(i64::from(attempt.attempt))
    .bind(micros(now))
    .execute(connection)
    .await?;
    Ok(())
}
