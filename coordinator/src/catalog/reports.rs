//! Reports: how an attempt ended, by its agent's word.

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::{AgentId, AttemptRef, ObjectId};
use strongroom_spec::{BackupOutcome, Failure, FailureCode, JobKind, Outcome};
use strongroom_wire::job::Report;

use super::{
    Catalog, CatalogError,
    lost_objects::name_snapshots_in,
    publications::is_published_in,
    row::{int, json, micros},
    wal::warn_of_end_in,
    withheld::show_in,
};
use crate::{
    jobs::{Backoff, TransitionError, transition},
    model::{Actor, AuditOutcome, Job, JobState, NewAudit},
};

/// What became of a report. In every case but [`Unseen`](Self::Unseen) the agent may
/// forget it.
#[derive(Debug, Clone, PartialEq)]
pub enum Finished {
    /// It counts; the job is now so.
    Recorded(Box<Job>),
    /// It was recorded before.
    Duplicate,
    /// It would count, but nobody has looked into the store for what it says: look,
    /// and report again.
    Unseen,
    /// It came too late or from the wrong agent and counts for nothing.
    Fenced {
        /// For the log.
        reason: String,
    },
}

impl Catalog {
    /// Records how an attempt ended. The same report twice is recorded once, and
    /// nothing changes an attempt that has ended. A success counts only with a
    /// snapshot that this attempt published and that the caller has `seen` in the
    /// store.
    pub async fn finish_attempt(
        &self,
        agent: AgentId,
        report: &Report,
        seen: bool,
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
        // What the report says counts only as far as it can be true.
        let mut believed = report.clone();
        believed.no_later_than(self.now(), job.state.lease().map(|it| it.dispatched_at));
        // Out of the outbox of an earlier version, where what came of both was one.
        if let (JobKind::Upload, Ok(Outcome::Backup(made))) = (job.kind, &report.outcome) {
            believed.outcome = Ok(Outcome::Upload(made.clone()));
        }
        if let Some(result) = made(report)
            && !is_published_in(&mut transaction, attempt, result.snapshot).await?
        {
            believed.outcome = Err(never_published(result.snapshot));
        }
        warn_of_end_in(&mut transaction, &job, &mut believed).await?;
        let finished = match transition::finish(job.clone(), &believed, backoff, self.now()) {
            Ok(_) if !seen && made(&believed).is_some() => {
                return Ok(Finished::Unseen);
            }
            Ok(ended) => {
                name_snapshots_in(&mut transaction, &job, &mut believed.warnings, self.now())
                    .await?;
                self.record_report(&mut transaction, &ended, &believed)
                    .await?;
                Finished::Recorded(Box::new(ended))
            }
            Err(TransitionError::Invalid(invalid)) => return Err(invalid.into()),
            Err(fenced @ TransitionError::Fenced { .. }) => {
                let reason = fenced.to_string();
                if note_contradiction(&mut transaction, attempt, self.now()).await? {
                    let entry = NewAudit::ok(Actor::Agent(agent), "job.report", &job.id)
                        .outcome(AuditOutcome::Refused)
                        .detail(serde_json::json!({
                            "attempt": attempt.attempt,
                            "reason": reason,
                            "claims": claim(report),
                        }))
                        .trace(&job.trace.trace_id);
                    self.audit_in(&mut transaction, entry).await?;
                }
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
    ) -> Result<(), CatalogError> {
        // Before the attempt ends: what it has no snapshot for is then withheld.
        if let (Some(result), JobState::Succeeded { .. }) = (made(report), &job.state) {
            self.confirm_in(connection, report.attempt, result, report.warning_count)
                .await?;
            show_in(connection, report.attempt, self.now()).await?;
            self.mark_ready_in(connection, &job.repository).await?;
            if result.cluster.is_some() {
                wake_wal_in(connection, job, self.now()).await?;
            }
        }
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
        self.audit_job(connection, job, Actor::Agent(job.agent), "job.report")
            .await
    }
}

/// There is a base backup: a log that waits to be tried again, perhaps for want of
/// that, is tried at once.
async fn wake_wal_in(
    connection: &mut AnyConnection,
    base: &Job,
    now: Timestamp,
) -> Result<(), CatalogError> {
    sqlx::query(
        "UPDATE jobs SET not_before = $3
         WHERE kind = $1 AND dataset = $2 AND state = 'pending' AND not_before > $3",
    )
    .bind(JobKind::Wal.as_str())
    .bind(base.dataset.as_ref().map(ToString::to_string))
    .bind(micros(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// The snapshot that it says it made.
fn made(report: &Report) -> Option<&BackupOutcome> {
    report.outcome.as_ref().ok().and_then(Outcome::made)
}

fn never_published(id: ObjectId) -> Failure {
    Failure {
        code: FailureCode::NotFound,
        message: format!(
            "the agent reported snapshot {}, which this attempt never published: nothing was \
             backed up",
            id.short()
        ),
        retryable: true,
    }
}

/// What a report that does not count says, in a word or two.
fn claim(report: &Report) -> String {
    match &report.outcome {
        Ok(outcome) => outcome.made().map_or_else(
            || "success".into(),
            |made| format!("snapshot {}", made.snapshot.short()),
        ),
        Err(failure) => format!("failure: {}", failure.code),
    }
}

/// Notes that an ended attempt was reported otherwise; `false`: it was before,
/// or there is no such attempt. So nobody can fill the audit log.
async fn note_contradiction(
    connection: &mut AnyConnection,
    attempt: AttemptRef,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    let noted = sqlx::query(
        "UPDATE job_attempts SET contradicted_at = $3
         WHERE job_id = $1 AND attempt = $2 AND contradicted_at IS NULL",
    )
    .bind(attempt.job.to_string())
    .bind(i64::from(attempt.attempt))
    .bind(micros(now))
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() > 0)
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
