//! `GET /snapshots/{snapshot}`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller, dto::Snapshot, extract::Segment, problem::Problem, state::SharedState, v1::jobs,
};

/// One snapshot, with the warnings of the job that took it.
#[utoipa::path(get, path = "/snapshots/{snapshot}", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Id or unique prefix")),
    responses(
        (status = 200, body = Snapshot, description = "The snapshot"),
))]
pub async fn show_snapshot(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(snapshot): Segment,
) -> Result<Json<Snapshot>, Problem> {
    let snapshot = state.catalog.find_snapshot(&snapshot).await?;
    let attempt = snapshot.attempt;
    let mut shown = super::shape(snapshot);
    // What is kept is what the job's last attempt said.
    let job = state.catalog.job_detail(attempt.job).await?;
    if job.job.attempt == attempt.attempt {
        shown.warnings = job.warnings.iter().map(jobs::warning).collect();
    }
    Ok(Json(shown))
}
