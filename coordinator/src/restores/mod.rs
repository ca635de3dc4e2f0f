//! Restores: from what somebody asks for to the jobs that do it.
//!
//! [`begin`] finds the snapshot, and of a cluster the way along its log ([`pick`]); makes
//! the restore, and before it the safety backup of what gives way. Whoever asks, over HTTP
//! or not, gets a [`RestoreError`] for what cannot be.

mod error;
mod pick;

use strongroom_spec::{Replaced, RestoreRequest, RestoreSpec};

pub use error::RestoreError;

pub use self::pick::readable;
use self::pick::{Picked, pick};
use crate::{
    catalog::{Catalog, CatalogError},
    jobs::request,
    model::{Actor, Agent, Job, NewAudit, NewJob, Snapshot},
    policy::PolicyLimits,
};

/// Makes the job of a restore, and that of the safety backup which it waits for.
pub async fn begin(
    catalog: &Catalog,
    mut request: RestoreRequest,
    by: Actor,
) -> Result<Job, RestoreError> {
    request.check()?;
    let Picked { snapshot, recovery } = pick(catalog, &mut request).await?;
    let agent = catalog.find_agent(&request.agent).await?;
    let store = catalog.repository(&snapshot.repository).await?.store;
    let limits = limits(catalog, &snapshot).await?;
    let replaced = request.replaced();
    let safety = replaced.as_ref().filter(|_| request.safety_backup);
    if let (Some(replaced), None) = (&replaced, safety) {
        // Before the restore is made: none goes without it.
        unguarded(catalog, &snapshot, &agent, replaced, by.clone()).await?;
    }
    let safety = safety.map(|replaced| {
        let source = replaced.safety.clone();
        request::safety_backup(source, &store, &agent, limits.as_ref(), by.clone())
    });
    let spec = RestoreSpec {
        snapshot: snapshot.id,
        target: request.target,
        recovery,
        dry_run: request.dry_run,
    };
    let restore = request::restore(&snapshot, &store, &agent, limits.as_ref(), spec, by);
    Ok(made(catalog, safety, restore).await?)
}

async fn made(
    catalog: &Catalog,
    safety: Option<NewJob>,
    restore: NewJob,
) -> Result<Job, CatalogError> {
    match safety {
        None => catalog.create_job(&restore).await.map(|made| made.job),
        Some(safety) => catalog.create_job_after(&safety, restore).await,
    }
}

/// Those of the policy that made the snapshot.
async fn limits(
    catalog: &Catalog,
    snapshot: &Snapshot,
) -> Result<Option<PolicyLimits>, CatalogError> {
    match catalog.policy(&snapshot.dataset.policy).await {
        Ok(stored) => Ok(Some(stored.policy.limits)),
        // Its snapshots outlive a policy.
        Err(CatalogError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Audits that data give way although their safety backup was refused.
async fn unguarded(
    catalog: &Catalog,
    snapshot: &Snapshot,
    agent: &Agent,
    replaced: &Replaced,
    by: Actor,
) -> Result<(), CatalogError> {
    let detail = serde_json::json!({ "agent": agent.name, "connection": replaced.connection });
    let entry = NewAudit::ok(by, "restore.unguarded", &snapshot.id).detail(detail);
    catalog.audit(entry).await
}
