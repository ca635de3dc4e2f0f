//! The scheduler: makes the jobs of datasets that are due.

use std::time::Duration;

use jiff::Timestamp;
use strongroom_layout::AgentId;
use strongroom_spec::JobSpec;
use strongroom_wire::session::Connection;
use tokio_util::sync::CancellationToken;

use super::{WalJobs, plan, plan_wal};
use crate::{
    catalog::{Catalog, CatalogError},
    model::{Actor, Job},
    policy::Dataset,
};

/// The longest sleep: the host's clock may be set, and another coordinator on
/// the same Postgres may have changed something.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// How long to leave a failing catalog alone.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Makes due jobs until cancelled. Several coordinators may run it on one
/// catalog: each run is made once.
pub async fn run(catalog: Catalog, cancel: CancellationToken) {
    let mut changes = catalog.changes();
    loop {
        let sleep = match pass(&catalog).await {
            Ok(next) => until(next, catalog.clock().now()),
            Err(error) => {
                tracing::error!(%error, "cannot tell which datasets are due");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = changes.changed() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Makes the jobs that are due now; says when the next one is.
async fn pass(catalog: &Catalog) -> Result<Option<Timestamp>, CatalogError> {
    let datasets = catalog.datasets().await?;
    archive_logs(catalog, &datasets).await?;
    let plan = plan(&datasets, catalog.clock().now());
    for (run, job) in &plan.due {
        if let Some(job) = catalog.create_scheduled_job(run, job).await? {
            tracing::info!(
                job = %job.id,
                dataset = job.dataset.as_ref().map(tracing::field::display),
                due = %run.nominal,
                "scheduled backup is due"
            );
        }
    }
    Ok(plan.next)
}

/// Begins and ends what archives logs.
async fn archive_logs(catalog: &Catalog, datasets: &[Dataset]) -> Result<(), CatalogError> {
    let latest = catalog.latest_wal_jobs().await?;
    if latest.is_empty() && datasets.iter().all(|it| it.policy.wal.is_none()) {
        return Ok(());
    }
    let jobs = WalJobs {
        latest: &latest,
        forgetting: &catalog.forgetting_wal_jobs().await?,
        gone: &gone(catalog, datasets, &latest).await?,
    };
    let agents = catalog.agents().await?;
    let plan = plan_wal(datasets, jobs, &agents, catalog.clock().now());
    for (job, reason) in plan.cancel {
        match catalog.cancel_job(job, &Actor::Coordinator, reason).await {
            // It has ended meanwhile.
            Ok(_) | Err(CatalogError::Transition(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for new in &plan.create {
        if let Some(job) = catalog.create_wal_job(new).await? {
            tracing::info!(
                job = %job.id,
                dataset = job.dataset.as_ref().map(tracing::field::display),
                "a log is to be archived, or not any more"
            );
        }
    }
    Ok(())
}

/// Connections from which datasets have moved, and which their agents do not name any
/// more.
async fn gone(
    catalog: &Catalog,
    datasets: &[Dataset],
    latest: &[Job],
) -> Result<Vec<(AgentId, String)>, CatalogError> {
    let mut left = Vec::new();
    for dataset in datasets {
        let of_dataset = |job: &&Job| job.dataset.as_ref() == Some(&dataset.name);
        let (Some(wanted), Some(JobSpec::Wal(last))) = (
            dataset.policy.wal_work(&dataset.agent),
            latest.iter().find(of_dataset).map(|job| &job.spec),
        ) else {
            continue;
        };
        if last.connection != wanted.connection {
            left.push((dataset.agent.id, last.connection.clone()));
        }
    }
    let agents = left.iter().map(|(agent, _)| *agent).collect();
    let told = catalog.connections_of(&agents).await?;
    left.retain(|(agent, name)| {
        let named = |it: &Connection| it.kind == "postgres" && it.name == *name;
        told.get(agent).is_some_and(|all| !all.iter().any(named))
    });
    Ok(left)
}

fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    next.and_then(|next| Duration::try_from(next.duration_since(now)).ok())
        .map_or(LOOK_AGAIN, |wait| wait.min(LOOK_AGAIN))
}

#[cfg(test)]
mod tests;
