//! The rows of jobs and their attempts, written and read.

use std::num::{NonZeroU32, NonZeroU64};

use sqlx::{AnyConnection, any::AnyRow};
use strongroom_layout::JobId;
use strongroom_spec::ResourceLimits;

use super::{
    CatalogError,
    row::{Columns, int, json, micros, read_all},
};
use crate::model::{Attempt, CancelRequest, Job, JobLimits, JobState, Lease, StateWord, TraceRef};

pub(super) async fn insert_in(
    connection: &mut AnyConnection,
    job: &Job,
    idempotency_key: Option<&str>,
) -> Result<(), CatalogError> {
    let resources = &job.limits.resources;
    let number = |it: NonZeroU64| int(it.get());
    sqlx::query(
        "INSERT INTO jobs (id, idempotency_key, kind, policy, agent_id, agent_name, dataset, store,
                           repository, spec, timeout_seconds, max_attempts, upload_rate,
                           download_rate, read_rate, threads, memory_bytes, trace_id,
                           root_span_id, requested_by, created_at, state, attempt,
                           failed_attempts, not_before, warning_count, after_job,
                           new_data, accept)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                 $18, $19, $20, $21, 'pending', 0, 0, $21, 0, $22, $23, $24)",
    )
    .bind(job.id.to_string())
    .bind(idempotency_key.map(str::to_owned))
    .bind(job.kind.as_str())
    .bind(job.policy().map(str::to_owned))
    .bind(job.agent.to_string())
    .bind(job.agent_name.clone())
    .bind(job.dataset.as_ref().map(ToString::to_string))
    .bind(job.store.clone())
    .bind(job.repository.clone())
    .bind(json(&job.spec))
    .bind(job.limits.timeout_seconds.map(i64::from))
    .bind(i64::from(job.limits.max_attempts))
    .bind(resources.upload.map(number))
    .bind(resources.download.map(number))
    .bind(resources.read.map(number))
    .bind(resources.threads.map(|it| i64::from(it.get())))
    .bind(resources.memory.map(number))
    .bind(job.trace.trace_id.clone())
    .bind(job.trace.root_span_id.clone())
    .bind(job.requested_by.to_string())
    .bind(micros(job.created_at))
    .bind(job.after.map(|id| id.to_string()))
    .bind(job.limits.new_data.map(number))
    .bind(json(&job.limits.accept))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what transitions change.
pub(super) async fn save_in(connection: &mut AnyConnection, job: &Job) -> Result<(), CatalogError> {
    let lease = job.state.lease();
    let (not_before, failure) = match &job.state {
        JobState::Pending {
            not_before,
            failure,
        } => (Some(*not_before), failure.as_ref()),
        JobState::Failed { failure, .. } => (None, Some(failure)),
        _ => (None, None),
    };
    sqlx::query(
        "UPDATE jobs SET spec = $2, state = $3, attempt = $4, failed_attempts = $5,
                         not_before = COALESCE($6, not_before), boot_id = $7, lease_expires = $8,
                         dispatched_at = $9, started_at = $10, finished_at = $11,
                         cancel_requested = $12, cancel_reason = $13, cancel_by = $14,
                         failure = $15, snapshot = $16, warning_count = $17, peak_resident = $18
         WHERE id = $1",
    )
    .bind(job.id.to_string())
    .bind(json(&job.spec))
    .bind(job.state.word().as_str())
    .bind(i64::from(job.attempt))
    .bind(i64::from(job.failed_attempts))
    .bind(not_before.map(micros))
    .bind(lease.map(|it| it.boot_id.to_string()))
    .bind(lease.map(|it| micros(it.expires_at)))
    .bind(lease.map(|it| micros(it.dispatched_at)))
    .bind(job.started_at.map(micros))
    .bind(job.finished_at().map(micros))
    .bind(job.cancel.as_ref().map(|it| micros(it.at)))
    .bind(job.cancel.as_ref().map(|it| it.reason.clone()))
    .bind(job.cancel.as_ref().map(|it| it.by.to_string()))
    .bind(failure.map(json))
    .bind(job.snapshot.map(|id| id.to_string()))
    .bind(int(job.warning_count))
    .bind(job.peak_resident_bytes.map(int))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn job_in(connection: &mut AnyConnection, id: JobId) -> Result<Job, CatalogError> {
    let row = sqlx::query("SELECT * FROM jobs WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref()
        .map(read)
        .transpose()?
        .ok_or_else(|| CatalogError::not_found("job", &id))
}

/// Every job that has not ended, oldest first.
pub(super) async fn unfinished_in(
    connection: &mut AnyConnection,
) -> Result<Vec<Job>, CatalogError> {
    let rows = sqlx::query(
        "SELECT * FROM jobs WHERE state IN ('pending', 'dispatched', 'running') ORDER BY id",
    )
    .fetch_all(connection)
    .await?;
    read_all(&rows, read)
}

pub(super) fn read(row: &AnyRow) -> Result<Job, CatalogError> {
    let row = Columns::new("jobs", row);
    let number = |column| Ok::<_, CatalogError>(row.opt_number(column)?.and_then(NonZeroU64::new));
    Ok(Job {
        id: row.parse("id")?,
        kind: row.parse("kind")?,
        dataset: row.opt_parse("dataset")?,
        agent: row.parse("agent_id")?,
        agent_name: row.text("agent_name")?,
        store: row.text("store")?,
        repository: row.text("repository")?,
        spec: row.json("spec")?,
        limits: JobLimits {
            timeout_seconds: row.opt_number("timeout_seconds")?,
            max_attempts: row.number("max_attempts")?,
            new_data: number("new_data")?,
            accept: row.opt_json("accept")?.unwrap_or_default(),
            resources: ResourceLimits {
                upload: number("upload_rate")?,
                download: number("download_rate")?,
                read: number("read_rate")?,
                threads: row.opt_number("threads")?.and_then(NonZeroU32::new),
                memory: number("memory_bytes")?,
            },
        },
        trace: TraceRef {
            trace_id: row.text("trace_id")?,
            root_span_id: row.text("root_span_id")?,
        },
        after: row.opt_parse("after_job")?,
        requested_by: row.parse("requested_by")?,
        created_at: row.time("created_at")?,
        state: read_state(&row)?,
        attempt: row.number("attempt")?,
        failed_attempts: row.number("failed_attempts")?,
        started_at: row.opt_time("started_at")?,
        cancel: match row.opt_time("cancel_requested")? {
            None => None,
            Some(at) => Some(CancelRequest {
                at,
                by: row.parse("cancel_by")?,
                reason: row.text("cancel_reason")?,
            }),
        },
        snapshot: row.opt_parse("snapshot")?,
        warning_count: row.number("warning_count")?,
        peak_resident_bytes: row.opt_number("peak_resident")?,
        alarm: row.opt_text("alarm")?,
    })
}

fn read_state(row: &Columns<'_>) -> Result<JobState, CatalogError> {
    let lease = || {
        Ok::<_, CatalogError>(Lease {
            boot_id: row.parse("boot_id")?,
            dispatched_at: row.time("dispatched_at")?,
            expires_at: row.time("lease_expires")?,
        })
    };
    Ok(match row.parse("state")? {
        StateWord::Pending => JobState::Pending {
            not_before: row.time("not_before")?,
            failure: row.opt_json("failure")?,
        },
        StateWord::Dispatched => JobState::Dispatched(lease()?),
        StateWord::Running => JobState::Running(lease()?),
        StateWord::Succeeded => JobState::Succeeded {
            at: row.time("finished_at")?,
        },
        StateWord::Failed => JobState::Failed {
            at: row.time("finished_at")?,
            failure: row.json("failure")?,
        },
        StateWord::Cancelled => JobState::Cancelled {
            at: row.time("finished_at")?,
            reason: row.text("cancel_reason")?,
        },
    })
}

pub(super) fn read_attempt(row: &AnyRow) -> Result<Attempt, CatalogError> {
    let row = Columns::new("job_attempts", row);
    Ok(Attempt {
        attempt: row.number("attempt")?,
        boot_id: row.parse("boot_id")?,
        dispatched_at: row.time("dispatched_at")?,
        started_at: row.opt_time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
        failure: row.opt_json("failure")?,
    })
}
