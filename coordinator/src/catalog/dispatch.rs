//! Giving waiting jobs to live agents.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use sqlx::AnyConnection;
use strongroom_layout::JobId;

use super::{
    Catalog, CatalogError,
    job_rows::{job_in, unfinished_in},
    repositories::repositories_in,
    row::micros,
    snapshots::parent_in,
};
use crate::{
    jobs::{
        Assignment, Concurrency, Demand, Hindrance, LiveAgent, Waiting, hindrance, plan, transition,
    },
    model::{Actor, AuditOutcome, Job, JobState, NewAudit, Repository},
};

/// A job to be offered to its agent now.
#[derive(Debug, Clone)]
pub struct Dispatched {
    /// In state dispatched, with its lease.
    pub job: Job,
    /// Its repository, if the catalog knows it already.
    pub repository: Option<Repository>,
}

impl Catalog {
    /// Chooses jobs for the live agents under the limits and dispatches them,
    /// each with a lease of `lease` from now. The caller offers them to the
    /// agents; what it cannot deliver it [releases](Self::release_attempt).
    pub async fn dispatch(
        &self,
        live: &[LiveAgent],
        limits: Concurrency,
        lease: SignedDuration,
    ) -> Result<Vec<Dispatched>, CatalogError> {
        let now = self.now();
        if live.is_empty() || !self.anything_waits(now).await? {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        let mut unfinished = unfinished_in(&mut transaction).await?;
        let given_up = self.give_up_in(&mut transaction, &mut unfinished).await?;
        let repositories: HashMap<_, _> = repositories_in(&mut transaction)
            .await?
            .into_iter()
            .map(|it| (it.name.clone(), it))
            .collect();
        let chosen = choose(&unfinished, &repositories, live, limits, now);
        let mut jobs: HashMap<JobId, Job> =
            unfinished.into_iter().map(|job| (job.id, job)).collect();
        let until = now.saturating_add(lease).unwrap_or(Timestamp::MAX);
        let mut dispatched = Vec::with_capacity(chosen.len());
        for assignment in chosen {
            if let Some(job) = jobs.remove(&assignment.job) {
                let job = self
                    .dispatch_in(&mut transaction, job, assignment, until)
                    .await?;
                let repository = repositories.get(&job.repository).cloned();
                dispatched.push(Dispatched { job, repository });
            }
        }
        if given_up || !dispatched.is_empty() {
            self.commit(transaction).await?;
        }
        Ok(dispatched)
    }

    /// Fails the jobs that waited for one which has not succeeded, and says
    /// whether there were any.
    async fn give_up_in(
        &self,
        connection: &mut AnyConnection,
        unfinished: &mut Vec<Job>,
    ) -> Result<bool, CatalogError> {
        let before = unfinished.len();
        let mut keep = Vec::with_capacity(before);
        for job in std::mem::take(unfinished) {
            let first = match job.after {
                Some(first) => Some(job_in(connection, first).await?),
                None => None,
            };
            let Some(first) = first.filter(|it| !succeeds(&it.state)) else {
                keep.push(job);
                continue;
            };
            let job = transition::give_up(job, &first, self.now())?;
            self.save_job_in(connection, &job).await?;
            let entry = NewAudit::ok(Actor::Coordinator, "job.give-up", &job.id)
                .outcome(AuditOutcome::Failed)
                .detail(serde_json::json!({ "after": first.id, "state": first.state.word() }))
                .trace(&job.trace.trace_id);
            self.audit_in(connection, entry).await?;
        }
        *unfinished = keep;
        Ok(unfinished.len() < before)
    }

    async fn dispatch_in(
        &self,
        connection: &mut AnyConnection,
        job: Job,
        assignment: Assignment,
        lease_until: Timestamp,
    ) -> Result<Job, CatalogError> {
        let now = self.now();
        let parent = parent_in(connection, &job).await?;
        let job = transition::dispatch(job, assignment.to.boot_id, parent, now, lease_until)?;
        self.save_job_in(connection, &job).await?;
        sqlx::query(
            "INSERT INTO job_attempts (job_id, attempt, boot_id, dispatched_at)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(job.id.to_string())
        .bind(i64::from(job.attempt))
        .bind(assignment.to.boot_id.to_string())
        .bind(micros(now))
        .execute(&mut *connection)
        .await?;
        let entry = NewAudit::ok(Actor::Coordinator, "job.dispatch", &job.id)
            .detail(serde_json::json!({ "attempt": job.attempt, "agent": job.agent_name }))
            .trace(&job.trace.trace_id);
        self.audit_in(connection, entry).await?;
        Ok(job)
    }

    /// What a pending job waits for; `None`: it does not wait, or only for the next
    /// round.
    pub async fn waits_for(
        &self,
        id: JobId,
        live: &[LiveAgent],
        limits: Concurrency,
    ) -> Result<Option<Hindrance>, CatalogError> {
        let mut transaction = self.pool().begin().await?;
        let unfinished = unfinished_in(&mut transaction).await?;
        let repositories = repositories_in(&mut transaction).await?;
        transaction.rollback().await?;
        let repositories: HashMap<_, _> = repositories
            .into_iter()
            .map(|it| (it.name.clone(), it))
            .collect();
        let job = unfinished.iter().find(|it| it.id == id);
        let Some(job) = job.filter(|it| matches!(it.state, JobState::Pending { .. })) else {
            return Ok(None);
        };
        let first = job.after;
        if let Some(first) = first.filter(|it| unfinished.iter().any(|job| job.id == *it)) {
            return Ok(Some(Hindrance::Job(first)));
        }
        let (waiting, active) = sort(&unfinished, &repositories);
        let this = waiting.iter().find(|it| it.job == id);
        Ok(this.and_then(|job| hindrance(job, &waiting, &active, live, limits, self.now())))
    }

    /// Whether a transaction is worth its while.
    async fn anything_waits(&self, now: Timestamp) -> Result<bool, CatalogError> {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM jobs WHERE state = 'pending' AND not_before <= $1",
        )
        .bind(micros(now))
        .fetch_one(self.pool())
        .await?;
        Ok(waiting > 0)
    }

    /// When time alone next changes something for the dispatcher: a retry is
    /// due or a lease runs out.
    pub async fn next_deadline(&self) -> Result<Option<Timestamp>, CatalogError> {
        let next: Option<i64> = sqlx::query_scalar(
            "SELECT MIN(at) FROM (
                 SELECT not_before AS at FROM jobs WHERE state = 'pending' AND not_before > $1
                 UNION ALL
                 SELECT lease_expires AS at FROM jobs WHERE state IN ('dispatched', 'running')
             ) AS deadlines",
        )
        .bind(micros(self.now()))
        .fetch_one(self.pool())
        .await?;
        Ok(next.and_then(|at| Timestamp::from_microsecond(at).ok()))
    }
}

/// Whether it has succeeded or may still.
fn succeeds(state: &JobState) -> bool {
    !state.is_final() || matches!(state, JobState::Succeeded { .. })
}

fn choose(
    unfinished: &[Job],
    repositories: &HashMap<String, Repository>,
    live: &[LiveAgent],
    limits: Concurrency,
    now: Timestamp,
) -> Vec<Assignment> {
    let (waiting, active) = sort(unfinished, repositories);
    plan(&waiting, &active, live, limits, now)
}

/// Into those that wait, but not for another job, and what those at work occupy.
fn sort(
    unfinished: &[Job],
    repositories: &HashMap<String, Repository>,
) -> (Vec<Waiting>, Vec<Demand>) {
    let mut waiting = Vec::new();
    let mut active = Vec::new();
    let waits_for = |job: &Job| unfinished.iter().any(|it| Some(it.id) == job.after);
    for job in unfinished {
        let demand = Demand::of(job, repositories.get(&job.repository));
        match &job.state {
            JobState::Pending { .. } if waits_for(job) => {}
            JobState::Pending { not_before, .. } => waiting.push(Waiting {
                job: job.id,
                demand,
                not_before: *not_before,
            }),
            _ => active.push(demand),
        }
    }
    (waiting, active)
}
