//! How much jobs were granted to write.

use sqlx::AnyConnection;
use strongroom_layout::{AttemptRef, JobId, ObjectName};

use super::{
    Catalog, CatalogError,
    objects::record_in,
    row::{Columns, int},
};
use crate::model::{
    Actor, AuditOutcome, Budget, EventKind, Job, NewAudit, NewEvent, Subject, Written,
};

impl Catalog {
    /// As [`record_objects`](Self::record_objects), for objects of which `new` are
    /// new, if the attempt's job stays within its budget; gives what the job was
    /// granted in all. `None`: it would not, and nothing is noted.
    pub async fn spend(
        &self,
        repository: &str,
        attempt: AttemptRef,
        objects: &[(ObjectName, u64)],
        new: Written,
        budget: Budget,
    ) -> Result<Option<Written>, CatalogError> {
        let mut transaction = self.0.backend.begin_appending().await?;
        // First of all: whoever else spends for this attempt waits here.
        sqlx::query(
            "UPDATE job_attempts
             SET put_objects = put_objects + $3, put_bytes = put_bytes + $4
             WHERE job_id = $1 AND attempt = $2",
        )
        .bind(attempt.job.to_string())
        .bind(i64::from(attempt.attempt))
        .bind(int(new.objects))
        .bind(int(new.bytes))
        .execute(&mut *transaction)
        .await?;
        let total = written_in(&mut transaction, attempt.job).await?;
        if !budget.admits(total) {
            transaction.rollback().await?;
            return Ok(None);
        }
        record_in(&mut transaction, repository, attempt, objects, self.now()).await?;
        transaction.commit().await?;
        Ok(Some(total))
    }

    /// The most that one of the last jobs of a dataset wrote that succeeded before
    /// this one: of the same sort, into the same repository. `None`: there was none.
    pub async fn largest_before(
        &self,
        job: &Job,
        looked_at: u32,
    ) -> Result<Option<u64>, CatalogError> {
        let row = sqlx::query(
            "SELECT CAST(MAX(x.bytes) AS BIGINT) AS bytes FROM (
                 SELECT (SELECT SUM(a.put_bytes) FROM job_attempts a WHERE a.job_id = j.id) AS bytes
                 FROM jobs j
                 WHERE j.dataset = $1 AND j.kind = $2 AND j.repository = $3
                   AND j.state = 'succeeded' AND j.id < $4
                 ORDER BY j.id DESC LIMIT $5) x",
        )
        .bind(job.dataset.as_ref().map(ToString::to_string))
        .bind(job.kind.as_str())
        .bind(job.repository.clone())
        .bind(job.id.to_string())
        .bind(i64::from(looked_at))
        .fetch_one(self.pool())
        .await?;
        Columns::new("job_attempts", &row).opt_number("bytes")
    }

    /// Says once what is odd about a job. Whether it was said now.
    pub async fn raise_alarm(&self, job: &Job, alarm: &str) -> Result<bool, CatalogError> {
        let mut transaction = self.begin().await?;
        let raised = sqlx::query("UPDATE jobs SET alarm = $2 WHERE id = $1 AND alarm IS NULL")
            .bind(job.id.to_string())
            .bind(alarm)
            .execute(&mut *transaction)
            .await?;
        if raised.rows_affected() == 0 {
            return Ok(false);
        }
        let event = NewEvent::new(EventKind::JobAlarmed, Subject::job(job))
            .detail(serde_json::json!({ "agent": job.agent_name, "alarm": alarm }))
            .trace(&job.trace.trace_id);
        self.event_in(&mut transaction, event).await?;
        let entry = NewAudit::ok(Actor::Coordinator, "job.alarm", &job.id)
            .outcome(AuditOutcome::Failed)
            .detail(serde_json::json!({
                "agent": job.agent_name, "dataset": job.dataset, "alarm": alarm,
            }))
            .trace(&job.trace.trace_id);
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(true)
    }
}

async fn written_in(connection: &mut AnyConnection, job: JobId) -> Result<Written, CatalogError> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(put_objects), 0) AS BIGINT) AS objects,
                CAST(COALESCE(SUM(put_bytes), 0) AS BIGINT) AS bytes
         FROM job_attempts WHERE job_id = $1",
    )
    .bind(job.to_string())
    .fetch_one(connection)
    .await?;
    let row = Columns::new("job_attempts", &row);
    Ok(Written {
        objects: row.number("objects")?,
        bytes: row.number("bytes")?,
    })
}
