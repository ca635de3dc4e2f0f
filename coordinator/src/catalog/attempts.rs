//! Attempts at work: accepted, released, their leases, and what grants are
//! decided by. How they end is in `reports.rs` and `losses.rs`.

use std::num::NonZeroU64;

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::{AgentId, AttemptRef, ObjectId};
use strongroom_spec::{Failure, JobKind, JobSpec};
use uuid::Uuid;

use super::{
    Catalog, CatalogError,
    job_rows::job_in,
    progress,
    repositories::repository_in,
    row::{json, micros},
};
use crate::{
    jobs::transition,
    model::{
        Actor, AuditOutcome, DatasetName, Job, JobState, NewAudit, Repository, RepositoryState,
        StateWord,
    },
};

/// What a grant is decided by.
#[derive(Debug, Clone)]
pub struct AttemptState {
    /// The attempt that was asked about.
    pub attempt: AttemptRef,
    /// Whose it is.
    pub agent: AgentId,
    /// What sort of work.
    pub kind: JobKind,
    /// The job's current attempt; another one is fenced.
    pub current_attempt: u32,
    /// The job's state.
    pub state: StateWord,
    /// When the current attempt's lease ends; `None` without one.
    pub lease_expires: Option<Timestamp>,
    /// An operator wants the job to end.
    pub cancelled: bool,
    /// The dataset that is backed up or archived.
    pub dataset: Option<DatasetName>,
    /// The repository's name.
    pub repository_name: String,
    /// The repository, if the catalog knows it.
    pub repository: Option<Repository>,
    /// This backup creates the repository when it is not there.
    pub creates_repository: bool,
    /// The snapshot that a backup compares with.
    pub parent: Option<ObjectId>,
    /// The snapshot that a restore or a listing reads.
    pub snapshot: Option<ObjectId>,
    /// The upload whose pieces it reads.
    pub upload: Option<Uuid>,
    /// When its job was made.
    pub created_at: Timestamp,
    /// What its job may write in all, bytes.
    pub new_data: Option<NonZeroU64>,
    /// Its job was found to be odd.
    pub alarmed: bool,
    /// The job's trace.
    pub trace_id: String,
}

impl AttemptState {
    /// Whether this attempt is the one that may work now.
    pub fn holds_lease(&self, now: Timestamp) -> bool {
        self.attempt.attempt == self.current_attempt
            && self.lease_expires.is_some_and(|end| end > now)
    }
}

impl Catalog {
    /// The agent has begun. `None`: the attempt is fenced.
    pub async fn accept_attempt(
        &self,
        agent: AgentId,
        attempt: AttemptRef,
    ) -> Result<Option<Job>, CatalogError> {
        let mut transaction = self.begin().await?;
        let Some(job) = self.own_job(&mut transaction, agent, attempt).await? else {
            return Ok(None);
        };
        let was = job.state.word();
        let Ok(job) = transition::accept(job, attempt.attempt, self.now()) else {
            return Ok(None);
        };
        if job.state.word() != was {
            self.save_job_in(&mut transaction, &job).await?;
            sqlx::query(
                "UPDATE job_attempts SET started_at = $3 WHERE job_id = $1 AND attempt = $2",
            )
            .bind(attempt.job.to_string())
            .bind(i64::from(attempt.attempt))
            .bind(micros(self.now()))
            .execute(&mut *transaction)
            .await?;
            self.audit_job(&mut transaction, &job, Actor::Agent(agent), "job.accept")
                .await?;
            self.commit(transaction).await?;
        }
        Ok(Some(job))
    }

    /// The offer could not be delivered: the job waits again, and the attempt
    /// does not count as failed.
    pub async fn release_attempt(&self, attempt: AttemptRef) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let job = job_in(&mut transaction, attempt.job).await?;
        if let Ok(job) = transition::release(job, attempt.attempt, self.now()) {
            self.end_attempt(&mut transaction, &job, attempt, None, None)
                .await?;
            self.audit_job(&mut transaction, &job, Actor::Coordinator, "job.release")
                .await?;
            self.commit(transaction).await?;
        }
        Ok(())
    }

    /// Extends the leases of the attempts that an agent is at work on, and
    /// returns those; what is missing is fenced. An attempt whose lease ran
    /// out but that nobody has fenced yet goes on. An offered attempt that is
    /// at work was accepted.
    pub async fn renew_leases(
        &self,
        agent: AgentId,
        attempts: &[AttemptRef],
        until: Timestamp,
    ) -> Result<Vec<AttemptRef>, CatalogError> {
        let mut renewed = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            if self.renew(agent, *attempt, until).await?
                || (self.accept_attempt(agent, *attempt).await?.is_some()
                    && self.renew(agent, *attempt, until).await?)
            {
                renewed.push(*attempt);
            }
        }
        Ok(renewed)
    }

    async fn renew(
        &self,
        agent: AgentId,
        attempt: AttemptRef,
        until: Timestamp,
    ) -> Result<bool, CatalogError> {
        let changed = sqlx::query(
            "UPDATE jobs SET lease_expires = $4
             WHERE id = $1 AND attempt = $2 AND agent_id = $3 AND state = 'running'",
        )
        .bind(attempt.job.to_string())
        .bind(i64::from(attempt.attempt))
        .bind(agent.to_string())
        .bind(micros(until))
        .execute(self.writers())
        .await?;
        Ok(changed.rows_affected() > 0)
    }

    /// Gives every lease until at least `until`. For the start of a
    /// coordinator: nobody could renew while it was away, and the attempts
    /// are still at work.
    pub async fn extend_leases(&self, until: Timestamp) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE jobs SET lease_expires = $1
             WHERE state IN ('dispatched', 'running') AND lease_expires < $1",
        )
        .bind(micros(until))
        .execute(self.writers())
        .await?;
        Ok(())
    }

    /// What a grant for an attempt is decided by; `None` for a job that is
    /// not there.
    pub async fn attempt_state(
        &self,
        attempt: AttemptRef,
    ) -> Result<Option<AttemptState>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        let job = match job_in(&mut connection, attempt.job).await {
            Ok(job) => job,
            Err(CatalogError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let repository = repository_in(&mut connection, &job.repository).await?;
        let ready = repository
            .as_ref()
            .is_some_and(|it| it.state != RepositoryState::New);
        let parent = match &job.spec {
            JobSpec::Backup(work) => work.parent,
            _ => None,
        };
        let upload = match &job.spec {
            JobSpec::Upload(work) => Some(work.transfer),
            _ => None,
        };
        Ok(Some(AttemptState {
            attempt,
            agent: job.agent,
            kind: job.kind,
            current_attempt: job.attempt,
            state: job.state.word(),
            lease_expires: job.state.lease().map(|it| it.expires_at),
            cancelled: job.cancel.is_some(),
            dataset: job.dataset,
            repository_name: job.repository,
            repository,
            creates_repository: job.kind.writes() && !ready,
            parent,
            snapshot: job.spec.facts().snapshot,
            upload,
            created_at: job.created_at,
            new_data: job.limits.new_data,
            alarmed: job.alarm.is_some(),
            trace_id: job.trace.trace_id,
        }))
    }

    pub(super) async fn own_job(
        &self,
        connection: &mut AnyConnection,
        agent: AgentId,
        attempt: AttemptRef,
    ) -> Result<Option<Job>, CatalogError> {
        match job_in(connection, attempt.job).await {
            Ok(job) => Ok(Some(job).filter(|it| it.agent == agent)),
            Err(CatalogError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the job and closes its attempt's row.
    pub(super) async fn end_attempt(
        &self,
        connection: &mut AnyConnection,
        job: &Job,
        attempt: AttemptRef,
        failure: Option<&Failure>,
        report: Option<Uuid>,
    ) -> Result<(), CatalogError> {
        self.save_job_in(connection, job).await?;
        sqlx::query(
            "UPDATE job_attempts SET ended_at = $3, failure = $4, report_id = $5
             WHERE job_id = $1 AND attempt = $2",
        )
        .bind(attempt.job.to_string())
        .bind(i64::from(attempt.attempt))
        .bind(micros(self.now()))
        .bind(failure.map(json))
        .bind(report.map(|id| id.to_string()))
        .execute(&mut *connection)
        .await?;
        progress::forget_in(connection, attempt.job).await?;
        self.audit_withheld(connection, job, attempt).await
    }

    /// The audit row of a change of a job: its state and, if it has one, the
    /// failure.
    pub(super) async fn audit_job(
        &self,
        connection: &mut AnyConnection,
        job: &Job,
        actor: Actor,
        action: &str,
    ) -> Result<(), CatalogError> {
        let failure = match &job.state {
            JobState::Pending { failure, .. } => failure.as_ref(),
            JobState::Failed { failure, .. } => Some(failure),
            _ => None,
        };
        let outcome = if failure.is_some() {
            AuditOutcome::Failed
        } else {
            AuditOutcome::Ok
        };
        let entry = NewAudit::ok(actor, action, &job.id)
            .outcome(outcome)
            .detail(serde_json::json!({
                "attempt": job.attempt,
                "state": job.state.word(),
                "failure": failure,
                "warnings": job.warning_count,
                "cancel": job.cancel.as_ref().map(|it| &it.reason),
            }))
            .trace(&job.trace.trace_id);
        self.audit_in(connection, entry).await
    }
}
