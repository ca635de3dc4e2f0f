//! Reports: how an attempt ended, by its agent's word.

use sqlx::AnyConnection;
use strongroom_layout::{AgentId, AttemptRef};
use strongroom_wire::job::{Report, Success};

use super::{
    Catalog, CatalogError,
    publications::{confirm_in, insert_in},
    row::{int, json},
};
use crate::{
    jobs::{Backoff, TransitionError, transition},
    model::{Actor, Job, JobState, NewAudit, Outcome},
};

/// What became of a report. In every case the agent may forget it.
#[derive(Debug, Clone, PartialEq)]
pub enum Finished {
    /// It counts; the job is now so.
    Recorded(Box<Job>),
    /// It was recorded before.
    Duplicate,
    /// It came too late or from the wrong agent and counts for nothing.
    Fenced {
        /// For the log.
        reason: String,
    },
}

impl Catalog {
    /// Records how an attempt ended. The same report twice is recorded once.
    pub async fn finish_attempt(
        &self,
        agent: AgentId,
        report: &Report,
        backoff: &Backoff,
    ) -> Result<Finished, CatalogError> {
        let attempt = report.attempt;
        let mut transaction = self.begin().await?;
        let Some(job) = self.own_job(&mut transaction, agent, attempt).await? else {
            let reason = format!("job {} is not one of this agent's", attempt.job);
            return Ok(Finished::Fenced { reason });
        };
        if reported(&mut transaction, attempt).await? == Some(report.report_id.to_string()) {
            return Ok(Finished::Duplicate);
        }
        // A snapshot that was published under its lease is there, whatever
        // became of the attempt since.
        let mut confirmed = false;
        if let Ok(Success::Backup(result)) = &report.outcome {
            confirmed = confirm_in(&mut transaction, attempt, result, report.warning_count).await?;
        }
        let finished = match transition::finish(job.clone(), report, backoff, self.now()) {
            Ok(job) => {
                self.record_report(&mut transaction, &job, report, confirmed)
                    .await?;
                Finished::Recorded(Box::new(job))
            }
            Err(TransitionError::Invalid(invalid)) => return Err(invalid.into()),
            Err(fenced @ TransitionError::Fenced { .. }) => {
                let reason = fenced.to_string();
                let entry = NewAudit::ok(Actor::Agent(agent), "job.report", &job.id)
                    .outcome(Outcome::Refused)
                    .detail(serde_json::json!({ "attempt": attempt.attempt, "reason": reason }))
                    .trace(&job.trace.trace_id);
                self.audit_in(&mut transaction, entry).await?;
                Finished::Fenced { reason }
            }
        };
        self.commit(transaction).await?;
        Ok(finished)
    }

    async fn record_report(
        &self,
        connection: &mut AnyConnection,
        job: &Job,
        report: &Report,
        confirmed: bool,
    ) -> Result<(), CatalogError> {
        let failure = report.outcome.as_ref().err();
        self.end_attempt(
            connection,
            job,
            report.attempt,
            failure,
            Some(report.report_id),
        )
        .await?;
        sqlx::query(
            "INSERT INTO job_reports (job_id, result, warnings, duration_ms)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (job_id) DO UPDATE SET
                 result = excluded.result, warnings = excluded.warnings,
                 duration_ms = excluded.duration_ms",
        )
        .bind(job.id.to_string())
        .bind(report.outcome.as_ref().ok().map(json))
        .bind(json(&report.warnings))
        .bind(int(report.duration_ms))
        .execute(&mut *connection)
        .await?;
        if let (Ok(Success::Backup(result)), JobState::Succeeded { at }) =
            (&report.outcome, &job.state)
        {
            if !confirmed {
                insert_in(connection, job, report.attempt, result, *at).await?;
                confirm_in(connection, report.attempt, result, report.warning_count).await?;
            }
            self.mark_ready_in(connection, &job.repository).await?;
        }
        self.audit_job(connection, job, Actor::Agent(job.agent), "job.report")
            .await
    }
}

async fn reported(
    connection: &mut AnyConnection,
    attempt: AttemptRef,
) -> Result<Option<String>, CatalogError> {
    let report: Option<Option<String>> =
        sqlx::query_scalar("SELECT report_id FROM job_attempts WHERE job_id = $1 AND attempt = $2")
            .bind(attempt.job.to_string())
            .bind(i64::from(attempt.attempt))
            .fetch_optional(connection)
            .await?;
    Ok(report.flatten())
}
