//! `POST /jobs/{job}/cancel`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{auth::Caller, problem::Problem, shape::Job, state::SharedState};

/// Stops a job. One that waits is cancelled at once; the agent of one at work
/// is told to stop it.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/cancel", tag = "jobs",
    params(("job" = String, Path, description = "Id, or a unique beginning or ending of one")),
    responses(
        (status = 200, body = Job),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    caller: Caller,
    State(state): State<SharedState>,
    Path(job): Path<String>,
) -> Result<Json<Job>, Problem> {
    let job = state.catalog.find_job(&job).await?;
    let reason = format!("cancelled by {}", caller.actor);
    let job = state
        .catalog
        .cancel_job(job.id, &caller.actor, &reason)
        .await?;
    Ok(Json(super::brief(&state, job)))
}
