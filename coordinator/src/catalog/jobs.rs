//! Jobs: made, found, listed.

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::{AgentId, JobId};
use strongroom_spec::JobKind;

use super::{
    Catalog, CatalogError, Page,
    agents::agent_in,
    job_rows::{insert_in, job_in, read, read_attempt},
    row::{Columns, beginning, micros, read_all},
};
use crate::model::{
    DatasetName, EventKind, Job, JobDetail, JobState, NewAudit, NewJob, StateWord, TraceRef,
};

/// Which jobs.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<StateWord>,
    /// Only those that have not ended.
    pub unfinished: bool,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// Of this policy.
    pub policy: Option<String>,
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of this dataset.
    pub dataset: Option<DatasetName>,
    /// Asked for at this moment or later.
    pub since: Option<Timestamp>,
    /// Asked for before this moment.
    pub until: Option<Timestamp>,
    /// Older than this job.
    pub before: Option<JobId>,
}

/// A job that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// It.
    pub job: Job,
    /// `false`: the same idempotency key had made it before.
    pub new: bool,
}

impl Catalog {
    /// Makes a job for an active agent.
    pub async fn create_job(&self, new: &NewJob) -> Result<Created, CatalogError> {
        let mut transaction = self.begin().await?;
        let created = self.create_job_in(&mut transaction, new).await?;
        self.commit(transaction).await?;
        Ok(created)
    }

    /// Makes jobs for active agents: all, or none.
    pub async fn create_jobs(&self, new: &[NewJob]) -> Result<Vec<Job>, CatalogError> {
        let mut transaction = self.begin().await?;
        let mut jobs = Vec::with_capacity(new.len());
        for new in new {
            jobs.push(self.create_job_in(&mut transaction, new).await?.job);
        }
        self.commit(transaction).await?;
        Ok(jobs)
    }

    /// Makes two jobs or none, and gives the second, which waits for the first.
    pub async fn create_job_after(
        &self,
        first: &NewJob,
        second: NewJob,
    ) -> Result<Job, CatalogError> {
        let mut transaction = self.begin().await?;
        let first = self.create_job_in(&mut transaction, first).await?.job;
        let second = NewJob {
            after: Some(first.id),
            ..second
        };
        let second = self.create_job_in(&mut transaction, &second).await?.job;
        self.commit(transaction).await?;
        Ok(second)
    }

    pub(super) async fn create_job_in(
        &self,
        connection: &mut AnyConnection,
        new: &NewJob,
    ) -> Result<Created, CatalogError> {
        if let Some(key) = &new.idempotency_key {
            let row = sqlx::query("SELECT * FROM jobs WHERE idempotency_key = $1")
                .bind(key.clone())
                .fetch_optional(&mut *connection)
                .await?;
            if let Some(row) = row {
                let job = read(&row)?;
                return Ok(Created { job, new: false });
            }
        }
        let agent = agent_in(connection, new.agent).await?;
        if !agent.is_active() {
            return Err(CatalogError::Conflict {
                what: "agent",
                name: agent.name,
                problem: "is revoked and gets no jobs".into(),
            });
        }
        let now = self.now();
        let job = Job {
            id: JobId(self.new_id()),
            kind: new.spec.kind(),
            dataset: new.dataset.clone(),
            agent: agent.id,
            agent_name: agent.name,
            store: new.store.clone(),
            repository: new.repository.clone(),
            spec: new.spec.clone(),
            limits: new.limits.clone(),
            trace: new.trace.clone().unwrap_or_else(TraceRef::random),
            after: new.after,
            requested_by: new.requested_by.clone(),
            created_at: now,
            state: JobState::Pending {
                not_before: now,
                failure: None,
            },
            attempt: 0,
            failed_attempts: 0,
            started_at: None,
            cancel: None,
            snapshot: None,
            warning_count: 0,
            peak_resident_bytes: None,
            alarm: None,
        };
        insert_in(connection, &job, new.idempotency_key.as_deref()).await?;
        self.job_event_in(connection, EventKind::JobCreated, &job)
            .await?;
        let entry = NewAudit::ok(job.requested_by.clone(), "job.create", &job.id)
            .detail(serde_json::json!({
                "kind": job.kind, "dataset": job.dataset, "agent": job.agent_name,
                "repository": job.repository, "after": job.after,
            }))
            .trace(&job.trace.trace_id);
        self.audit_in(connection, entry).await?;
        Ok(Created { job, new: true })
    }

    /// Jobs, newest first.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        limit: u32,
    ) -> Result<Page<Job, JobId>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM jobs
             WHERE ($1 IS NULL OR state = $1)
               AND ($2 = 0 OR state IN ('pending', 'dispatched', 'running'))
               AND ($3 IS NULL OR kind = $3)
               AND ($4 IS NULL OR policy = $4)
               AND ($5 IS NULL OR agent_id = $5)
               AND ($6 IS NULL OR dataset = $6)
               AND ($7 IS NULL OR id < $7)
               AND created_at >= $8 AND created_at < $9
             ORDER BY id DESC LIMIT $10",
        )
        .bind(filter.state.map(StateWord::as_str))
        .bind(i64::from(filter.unfinished))
        .bind(filter.kind.map(JobKind::as_str))
        .bind(filter.policy.clone())
        .bind(filter.agent.map(|id| id.to_string()))
        .bind(filter.dataset.as_ref().map(ToString::to_string))
        .bind(filter.before.map(|id| id.to_string()))
        .bind(filter.since.map_or(i64::MIN, micros))
        .bind(filter.until.map_or(i64::MAX, micros))
        .bind(i64::from(limit) + 1)
        .fetch_all(self.pool())
        .await?;
        Ok(Page::cut(read_all(&rows, read)?, limit, |job| job.id))
    }

    /// A job by id.
    pub async fn job(&self, id: JobId) -> Result<Job, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        job_in(&mut connection, id).await
    }

    /// A job by its id, or by a beginning or ending of it that no other has.
    /// (Ids begin with the time: jobs of one minute share their beginnings.)
    pub async fn find_job(&self, part: &str) -> Result<Job, CatalogError> {
        let start = beginning(part);
        let end = format!("%{}", start.strip_suffix('%').unwrap_or_default());
        let rows = sqlx::query(
            "SELECT * FROM jobs WHERE id LIKE $1 ESCAPE '\\' OR id LIKE $2 ESCAPE '\\'
             ORDER BY id DESC LIMIT 6",
        )
        .bind(start)
        .bind(end)
        .fetch_all(self.pool())
        .await?;
        let mut found = read_all(&rows, read)?;
        match found.pop() {
            Some(job) if found.is_empty() && !part.is_empty() => Ok(job),
            None => Err(CatalogError::not_found("job", part)),
            Some(last) => {
                found.push(last);
                Err(CatalogError::Ambiguous {
                    what: "job",
                    prefix: part.into(),
                    matches: found.iter().map(|job| job.id.to_string()).collect(),
                })
            }
        }
    }

    /// A job with its attempts and all that its last report said.
    pub async fn job_detail(&self, id: JobId) -> Result<JobDetail, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        let job = job_in(&mut connection, id).await?;
        let rows = sqlx::query("SELECT * FROM job_attempts WHERE job_id = $1 ORDER BY attempt")
            .bind(id.to_string())
            .fetch_all(&mut *connection)
            .await?;
        let attempts = read_all(&rows, read_attempt)?;
        let report = sqlx::query("SELECT * FROM job_reports WHERE job_id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *connection)
            .await?;
        let mut detail = JobDetail {
            job,
            attempts,
            result: None,
            warnings: Vec::new(),
            duration_ms: None,
        };
        if let Some(row) = &report {
            let row = Columns::new("job_reports", row);
            detail.result = row.opt_json("result")?;
            detail.warnings = row.json("warnings")?;
            detail.duration_ms = Some(row.number("duration_ms")?);
        }
        Ok(detail)
    }
}
