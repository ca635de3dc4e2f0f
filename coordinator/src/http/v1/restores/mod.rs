//! `POST /restores`

mod pick;
mod plan;

use axum::extract::State;
use strongroom_wire::job::Source;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{pick::Picked, plan::Planned};
use super::jobs;

use crate::{
    catalog::CatalogError,
    http::{
        answer::Started,
        auth::Caller,
        dto::{Job, RestoreRequest},
        extract::Body,
        idempotency::IdempotencyKey,
        problem::Problem,
        state::SharedState,
    },
    jobs::request,
    model::NewAudit,
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new().routes(routes!(restore_snapshot))
}

/// Restores a snapshot, or a dataset at a moment, as a job.
///
/// It goes into a directory, a PostgreSQL server or a Redis server of an agent's
/// host.
///
/// What replaces data of a server is preceded by a safety backup: a job of its
/// own, which the restore waits for and names as `after`.
#[utoipa::path(post, path = "/restores", tag = "restores", params(IdempotencyKey),
    request_body = RestoreRequest,
    responses(
        (status = 202, body = Job, description = "The job that restores"),
))]
pub async fn restore_snapshot(
    caller: Caller,
    State(state): State<SharedState>,
    Body(mut request): Body<RestoreRequest>,
) -> Result<Started<Job>, Problem> {
    plan::check(&request)?;
    let Picked { snapshot, recovery } = pick::pick(&state.catalog, &mut request).await?;
    let agent = state.catalog.find_agent(&request.agent).await?;
    let store = state.catalog.repository(&snapshot.repository).await?.store;
    let limits = match state.catalog.policy(&snapshot.dataset.policy).await {
        Ok(stored) => Some(stored.policy.limits),
        // Its snapshots outlive a policy.
        Err(CatalogError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(connection) = plan::unguarded(&request) {
        // Before the restore is made: none goes without it.
        let entry = NewAudit::ok(caller.actor.clone(), "restore.unguarded", &snapshot.id)
            .detail(serde_json::json!({ "agent": agent.name, "connection": connection }));
        state.catalog.audit(entry).await?;
    }
    let Planned { work, safety } = plan::plan(request, snapshot.id, recovery);
    let safety = safety.map(|source: Source| {
        let by = caller.actor.clone();
        request::safety_backup(source, &store, &agent, limits.as_ref(), by)
    });
    let restore = request::restore(
        &snapshot,
        &store,
        &agent,
        limits.as_ref(),
        work,
        caller.actor,
    );
    let job = match safety {
        None => state.catalog.create_job(&restore).await?.job,
        Some(safety) => state.catalog.create_job_after(&safety, restore).await?,
    };
    Ok(jobs::started(&state, job))
}
