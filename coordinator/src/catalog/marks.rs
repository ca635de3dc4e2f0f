//! What happened to a job: its entries in the audit log, and the stages it came to.

use sqlx::any::AnyRow;
use strongroom_layout::JobId;
use strongroom_wire::session::Progress;

use super::{
    Catalog, CatalogError, audit,
    row::{Columns, int, micros, read_all},
};
use crate::model::{AuditRow, JobMark};

/// Marks that are kept of one attempt: whoever comes to a new stage all the time
/// fills no catalog.
const MAX_MARKS: i64 = 200;

/// Events, and stages, of one job that are read; of older stages none are kept.
const MAX_EVENTS: i64 = 2_000;

impl Catalog {
    /// Attempts have come to another stage. Wakes nobody.
    pub async fn note_marks(&self, progress: &[Progress]) -> Result<(), CatalogError> {
        for each in progress {
            sqlx::query(
                "INSERT INTO job_marks (job_id, attempt, at, stage, files, bytes)
                 SELECT $1, $2, $3, $4, $5, $6
                 WHERE EXISTS (SELECT 1 FROM jobs WHERE id = $1)
                   AND (SELECT COUNT(*) FROM job_marks WHERE job_id = $1 AND attempt = $2) < $7",
            )
            .bind(each.attempt.job.to_string())
            .bind(i64::from(each.attempt.attempt))
            .bind(micros(self.now()))
            .bind(each.stage.clone())
            .bind(int(each.files))
            .bind(int(each.bytes))
            .bind(MAX_MARKS)
            .execute(self.writers())
            .await?;
            self.forget_marks(each.attempt.job).await?;
        }
        Ok(())
    }

    /// A job that is tried again and again fills no catalog either.
    async fn forget_marks(&self, id: JobId) -> Result<(), CatalogError> {
        sqlx::query(
            "DELETE FROM job_marks WHERE job_id = $1 AND at <
               (SELECT at FROM job_marks WHERE job_id = $1
                ORDER BY at DESC LIMIT 1 OFFSET $2)",
        )
        .bind(id.to_string())
        .bind(MAX_EVENTS - 1)
        .execute(self.writers())
        .await?;
        Ok(())
    }

    /// The last stages that a job's attempts came to, oldest first.
    pub async fn job_marks(&self, id: JobId) -> Result<Vec<JobMark>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM job_marks WHERE job_id = $1 ORDER BY at DESC, attempt DESC LIMIT $2",
        )
        .bind(id.to_string())
        .bind(MAX_EVENTS)
        .fetch_all(self.pool())
        .await?;
        let mut marks = read_all(&rows, read)?;
        marks.reverse();
        Ok(marks)
    }

    /// The last that the audit log has of a job, oldest first.
    pub async fn job_events(&self, id: JobId) -> Result<Vec<AuditRow>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM audit WHERE object = $1 ORDER BY id DESC LIMIT $2")
            .bind(id.to_string())
            .bind(MAX_EVENTS)
            .fetch_all(self.pool())
            .await?;
        let mut events = read_all(&rows, audit::read)?;
        events.reverse();
        Ok(events)
    }
}

fn read(row: &AnyRow) -> Result<JobMark, CatalogError> {
    let row = Columns::new("job_marks", row);
    Ok(JobMark {
        attempt: row.number("attempt")?,
        at: row.time("at")?,
        stage: row.text("stage")?,
        files: row.number("files")?,
        bytes: row.number("bytes")?,
    })
}
