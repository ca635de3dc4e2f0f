//! Attempts and jobs that end without a report: lost, cancelled, abandoned.

use sqlx::AnyConnection;
use strongroom_layout::{AgentId, AttemptRef, JobId};
use strongroom_spec::{Failure, FailureCode};
use uuid::Uuid;

use super::{
    Catalog, CatalogError,
    job_rows::{job_in, save_in, unfinished_in},
};
use crate::{
    jobs::{Backoff, transition},
    model::{Actor, CancelRequest, EventKind, Job, JobState},
};

impl Catalog {
    /// Fences every attempt whose lease has run out, or that is still at work
    /// a minute behind its timeout; returns the jobs as they are then.
    pub async fn expire_leases(&self, backoff: &Backoff) -> Result<Vec<Job>, CatalogError> {
        let now = self.now();
        self.lose_where(backoff, "job.expire", |job| {
            let lease = job.state.lease()?;
            let overdue =
                job.limits
                    .timeout_seconds
                    .zip(job.started_at)
                    .is_some_and(|(limit, start)| {
                        now.duration_since(start).as_secs() > i64::from(limit) + 60
                    });
            if lease.expires_at <= now {
                Some(lost(format!(
                    "agent {} was not heard of until the lease ended at {}; check that it runs \
                     and reaches the coordinator",
                    job.agent_name, lease.expires_at
                )))
            } else if overdue {
                Some(Failure {
                    code: FailureCode::Timeout,
                    message: "the attempt went on long behind its timeout and was given up".into(),
                    retryable: true,
                })
            } else {
                None
            }
        })
        .await
    }

    /// An agent has said hello: ends its attempts that it does not know. Those
    /// that never reached this process are released, the others are lost.
    /// `alive` is what it runs and what waits in its outbox.
    pub async fn reconcile_attempts(
        &self,
        agent: AgentId,
        boot_id: Uuid,
        alive: &[AttemptRef],
        backoff: &Backoff,
    ) -> Result<Vec<Job>, CatalogError> {
        let gone = |job: &Job| {
            job.agent == agent && job.attempt_ref().is_some_and(|it| !alive.contains(&it))
        };
        for job in self.leased_jobs().await? {
            if let (true, JobState::Dispatched(lease), Some(attempt)) =
                (gone(&job), &job.state, job.attempt_ref())
                && lease.boot_id == boot_id
            {
                self.release_attempt(attempt).await?;
            }
        }
        self.lose_where(backoff, "job.lose", |job| {
            let lease = job.state.lease().filter(|_| gone(job))?;
            Some(lost(if lease.boot_id == boot_id {
                format!("agent {} no longer runs this attempt", job.agent_name)
            } else {
                format!("agent {} was restarted during this attempt", job.agent_name)
            }))
        })
        .await
    }

    async fn leased_jobs(&self) -> Result<Vec<Job>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        let mut jobs = unfinished_in(&mut connection).await?;
        jobs.retain(|job| job.state.lease().is_some());
        Ok(jobs)
    }

    /// Ends the current attempt of every job for which `cause` gives a
    /// failure.
    async fn lose_where(
        &self,
        backoff: &Backoff,
        action: &str,
        cause: impl Fn(&Job) -> Option<Failure>,
    ) -> Result<Vec<Job>, CatalogError> {
        if self
            .leased_jobs()
            .await?
            .iter()
            .all(|job| cause(job).is_none())
        {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        let mut lost = Vec::new();
        for job in unfinished_in(&mut transaction).await? {
            if let (Some(failure), Some(attempt)) = (cause(&job), job.attempt_ref()) {
                let job = transition::lose(job, failure.clone(), backoff, self.now())?;
                self.end_attempt(&mut transaction, &job, attempt, Some(&failure), None)
                    .await?;
                self.audit_job(&mut transaction, &job, Actor::Coordinator, action)
                    .await?;
                lost.push(job);
            }
        }
        self.commit(transaction).await?;
        Ok(lost)
    }

    /// Ends a waiting job at once, or asks for the end of one at work: its
    /// agent is then to be told.
    pub async fn cancel_job(
        &self,
        id: JobId,
        by: &Actor,
        reason: &str,
    ) -> Result<Job, CatalogError> {
        let mut transaction = self.begin().await?;
        let job = job_in(&mut transaction, id).await?;
        let request = CancelRequest {
            at: self.now(),
            by: by.clone(),
            reason: reason.into(),
        };
        let job = transition::cancel(job, request)?;
        let kind = if job.state.is_final() {
            EventKind::JobCancelled
        } else {
            EventKind::JobCancelRequested
        };
        save_in(&mut transaction, &job).await?;
        self.job_event_in(&mut transaction, kind, &job).await?;
        self.audit_job(&mut transaction, &job, by.clone(), "job.cancel")
            .await?;
        self.commit(transaction).await?;
        Ok(job)
    }

    /// Fails whatever is unfinished for an agent that is no more.
    pub(super) async fn abandon_jobs_of(
        &self,
        connection: &mut AnyConnection,
        agent: AgentId,
    ) -> Result<(), CatalogError> {
        for job in unfinished_in(connection).await? {
            if job.agent != agent {
                continue;
            }
            let failure = Failure {
                code: FailureCode::Refused,
                message: format!("agent {} was revoked", job.agent_name),
                retryable: false,
            };
            let attempt = job.state.lease().and(job.attempt_ref());
            let job = transition::abandon(job, failure.clone(), self.now())?;
            match attempt {
                Some(attempt) => {
                    self.end_attempt(connection, &job, attempt, Some(&failure), None)
                        .await?;
                }
                None => self.save_job_in(connection, &job).await?,
            }
            self.audit_job(connection, &job, Actor::Coordinator, "job.abandon")
                .await?;
        }
        Ok(())
    }
}

fn lost(message: String) -> Failure {
    Failure {
        code: FailureCode::Fenced,
        message,
        retryable: true,
    }
}
