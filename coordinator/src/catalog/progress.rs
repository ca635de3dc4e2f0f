//! How far attempts at work are, as it was a few seconds ago: for other coordinators, and
//! for this one after a restart.

use std::collections::HashMap;

use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use strongroom_layout::{AttemptRef, JobId};
use strongroom_wire::session::Progress;

use super::{
    Catalog, CatalogError,
    objects::ROWS_PER_STATEMENT,
    row::{Columns, int, micros, read_all},
};
use crate::model::NotedProgress;

impl Catalog {
    /// Notes how far attempts are, all in one transaction; not of those that have ended.
    /// Wakes nobody.
    pub async fn write_progress(&self, noted: &[NotedProgress]) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        for each in noted {
            write_in(&mut transaction, each).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// How far those of these attempts are of which that was noted.
    pub async fn noted_progress(
        &self,
        attempts: &[AttemptRef],
    ) -> Result<HashMap<AttemptRef, NotedProgress>, CatalogError> {
        let mut noted = HashMap::new();
        for chunk in attempts.chunks(ROWS_PER_STATEMENT) {
            let places: Vec<_> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT * FROM attempt_progress WHERE job_id IN ({})",
                places.join(", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for attempt in chunk {
                query = query.bind(attempt.job.to_string());
            }
            let rows = query.fetch_all(self.pool()).await?;
            let rows = read_all(&rows, read)?;
            noted.extend(rows.into_iter().map(|it| (it.progress.attempt, it)));
        }
        Ok(noted)
    }
}

/// An attempt that has ended is no farther anywhere.
pub(super) async fn forget_in(
    connection: &mut AnyConnection,
    job: JobId,
) -> Result<(), CatalogError> {
    sqlx::query("DELETE FROM attempt_progress WHERE job_id = $1")
        .bind(job.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_in(
    connection: &mut AnyConnection,
    noted: &NotedProgress,
) -> Result<(), CatalogError> {
    let progress = &noted.progress;
    sqlx::query(
        "INSERT INTO attempt_progress (job_id, attempt, at, stage, files, bytes, total_files,
                                       total_bytes, bytes_stored, warnings)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
         WHERE EXISTS (SELECT 1 FROM jobs
                       WHERE id = $1 AND attempt = $2 AND state IN ('dispatched', 'running'))
         ON CONFLICT (job_id, attempt) DO UPDATE SET
             at = excluded.at, stage = excluded.stage, files = excluded.files,
             bytes = excluded.bytes, total_files = excluded.total_files,
             total_bytes = excluded.total_bytes, bytes_stored = excluded.bytes_stored,
             warnings = excluded.warnings",
    )
    .bind(progress.attempt.job.to_string())
    .bind(i64::from(progress.attempt.attempt))
    .bind(micros(noted.at))
    .bind(progress.stage.clone())
    .bind(int(progress.files))
    .bind(int(progress.bytes))
    .bind(progress.total_files.map(int))
    .bind(progress.total_bytes.map(int))
    .bind(int(progress.bytes_stored))
    .bind(int(progress.warnings))
    .execute(connection)
    .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<NotedProgress, CatalogError> {
    let row = Columns::new("attempt_progress", row);
    Ok(NotedProgress {
        at: row.time("at")?,
        progress: Progress {
            attempt: AttemptRef {
                job: row.parse("job_id")?,
                attempt: row.number("attempt")?,
            },
            stage: row.text("stage")?,
            files: row.number("files")?,
            bytes: row.number("bytes")?,
            total_files: row.opt_number("total_files")?,
            total_bytes: row.opt_number("total_bytes")?,
            bytes_stored: row.number("bytes_stored")?,
            warnings: row.number("warnings")?,
        },
    })
}
