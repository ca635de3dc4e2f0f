//! Datasets: derived from policies and agents.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::AgentId;
use strongroom_spec::{JobSpec, WalSpec};

use super::{
    Catalog, CatalogError,
    agents::agents_in,
    job_rows::{read as read_job, unfinished_in},
    policies::{StoredPolicy, policies_in},
    row::{Columns, micros, read_all},
};
use crate::{
    model::{Agent, DatasetName, Job, NewJob},
    policy::Dataset,
};

/// A scheduled run for which a job is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRun {
    /// The policy's name.
    pub policy: String,
    /// On which agent.
    pub agent: AgentId,
    /// The moment in the schedule, without jitter.
    pub nominal: Timestamp,
}

impl Catalog {
    /// Every policy on every agent that it chooses. Their newest snapshots:
    /// [`latest_snapshots`](Self::latest_snapshots).
    pub async fn datasets(&self) -> Result<Vec<Dataset>, CatalogError> {
        // One snapshot of the database for all of the questions.
        let mut transaction = self.pool().begin().await?;
        let policies = policies_in(&mut transaction).await?;
        let agents = agents_in(&mut transaction).await?;
        let runs = runs_in(&mut transaction).await?;
        let busy = busy_in(&mut transaction).await?;
        transaction.rollback().await?;
        let mut datasets = Vec::new();
        for stored in &policies {
            for agent in agents.iter().filter(|it| stored.policy.agents.matches(it)) {
                let name = DatasetName::new(&stored.policy.name, &agent.name);
                datasets.push(Dataset {
                    scheduled_since: stored.scheduled_since.max(agent.enrolled_at),
                    last_due: last_due(&runs, stored, agent),
                    busy: busy.contains(&name),
                    policy: stored.policy.clone(),
                    agent: agent.clone(),
                    name,
                });
            }
        }
        Ok(datasets)
    }

    /// A policy chooses an agent from now on: its first run is the next one.
    pub(super) async fn begin_runs_in(
        &self,
        connection: &mut AnyConnection,
        policy: &str,
        agent: AgentId,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO dataset_runs (policy, agent_id, last_due) VALUES ($1, $2, $3)
             ON CONFLICT (policy, agent_id) DO UPDATE SET last_due = excluded.last_due
             WHERE dataset_runs.last_due < excluded.last_due",
        )
        .bind(policy)
        .bind(agent.to_string())
        .bind(micros(self.now()))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Makes the job of a scheduled run and remembers the run. `None`: another
    /// coordinator made it, or a backup of the dataset has not ended.
    pub async fn create_scheduled_job(
        &self,
        run: &DueRun,
        new: &NewJob,
    ) -> Result<Option<Job>, CatalogError> {
        let mut transaction = self.begin().await?;
        let busy = busy_in(&mut transaction).await?;
        if new.dataset.as_ref().is_some_and(|it| busy.contains(it)) {
            return Ok(None);
        }
        let remembered = sqlx::query(
            "INSERT INTO dataset_runs (policy, agent_id, last_due) VALUES ($1, $2, $3)
             ON CONFLICT (policy, agent_id) DO UPDATE SET last_due = excluded.last_due
             WHERE dataset_runs.last_due < excluded.last_due",
        )
        .bind(run.policy.clone())
        .bind(run.agent.to_string())
        .bind(micros(run.nominal))
        .execute(&mut *transaction)
        .await?;
        if remembered.rows_affected() == 0 {
            return Ok(None);
        }
        let created = self.create_job_in(&mut transaction, new).await?;
        self.commit(transaction).await?;
        Ok(Some(created.job))
    }
}

/// Whose jobs archive logs.
impl Catalog {
    /// The newest job that archives, or has archived, the log of each dataset, or
    /// drops what kept it.
    pub async fn latest_wal_jobs(&self) -> Result<Vec<Job>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM jobs j
             WHERE kind = 'wal' AND dataset IS NOT NULL
               AND id = (SELECT MAX(id) FROM jobs x
                         WHERE x.kind = 'wal' AND x.dataset = j.dataset)",
        )
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_job)
    }

    /// Jobs that drop what kept a log on its server, and have not ended.
    pub async fn forgetting_wal_jobs(&self) -> Result<Vec<Job>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        let mut jobs = unfinished_in(&mut connection).await?;
        jobs.retain(|job| wal_spec(&job.spec).is_some_and(WalSpec::forgets));
        Ok(jobs)
    }

    /// Makes a job that archives a log, unless one of its dataset has not ended; or
    /// one that drops what kept it. Those of one slot come one behind the other.
    pub async fn create_wal_job(&self, new: &NewJob) -> Result<Option<Job>, CatalogError> {
        let Some(wanted) = wal_spec(&new.spec) else {
            return Ok(None);
        };
        let is_in_the_way = |other: &WalSpec| {
            let both_archive = !other.forgets() && !wanted.forgets();
            both_archive || other.shares_slot(wanted)
        };
        let mut transaction = self.begin().await?;
        let busy = unfinished_in(&mut transaction).await?.iter().any(|job| {
            job.dataset == new.dataset && wal_spec(&job.spec).is_some_and(is_in_the_way)
        });
        if busy {
            return Ok(None);
        }
        let created = self.create_job_in(&mut transaction, new).await?;
        self.commit(transaction).await?;
        Ok(Some(created.job))
    }
}

fn wal_spec(work: &JobSpec) -> Option<&WalSpec> {
    match work {
        JobSpec::Wal(work) => Some(work),
        _ => None,
    }
}

type Runs = HashMap<(String, AgentId), Timestamp>;

fn last_due(runs: &Runs, stored: &StoredPolicy, agent: &Agent) -> Option<Timestamp> {
    runs.get(&(stored.policy.name.clone(), agent.id)).copied()
}

async fn runs_in(connection: &mut AnyConnection) -> Result<Runs, CatalogError> {
    let rows = sqlx::query("SELECT * FROM dataset_runs")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let row = Columns::new("dataset_runs", row);
            let key = (row.text("policy")?, row.parse("agent_id")?);
            Ok((key, row.time("last_due")?))
        })
        .collect()
}

/// The datasets that have an unfinished backup.
async fn busy_in(connection: &mut AnyConnection) -> Result<HashSet<DatasetName>, CatalogError> {
    let jobs = unfinished_in(connection).await?;
    Ok(jobs
        .into_iter()
        .filter(|job| job.kind.makes_snapshot())
        .filter_map(|job| job.dataset)
        .collect())
}
