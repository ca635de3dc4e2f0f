//! `POST /jobs/{job}/cancel`

use axum::{Json, extract::State};

use crate::http::{auth::Caller, dto::Job, extract::Segment, problem::Problem, state::SharedState};

/// Stops a job.
///
/// One that waits is cancelled at once; the agent of one at work
/// is told to stop it.
#[utoipa::path(post, path = "/jobs/{job}/cancel", tag = "jobs",
    params(("job" = String, Path, description = "Id, or a unique beginning or ending of one")),
    responses(
        (status = 200, body = Job, description = "The job, cancelled or told to stop"),
))]
pub async fn cancel_job(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(job): Segment,
) -> Result<Json<Job>, Problem> {
    let job = state.catalog.find_job(&job).await?;
    let reason = format!("cancelled by {}", caller.actor);
    let job = state
        .catalog
        .cancel_job(job.id, &caller.actor, &reason)
        .await?;
    Ok(Json(super::brief(&state, job).await?))
}
