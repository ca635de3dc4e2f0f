//! `POST` and `DELETE /snapshots/{snapshot}/pin`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{auth::Caller, problem::Problem, shape::Snapshot, state::SharedState};

/// Keeps a snapshot whatever retention says.
#[utoipa::path(post, path = "/api/v1/snapshots/{snapshot}/pin", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Id or unique prefix")),
    responses(
        (status = 200, body = Snapshot),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn pin(
    caller: Caller,
    State(state): State<SharedState>,
    Path(snapshot): Path<String>,
) -> Result<Json<Snapshot>, Problem> {
    set(&caller, &state, &snapshot, true).await
}

/// Leaves a snapshot to retention again.
#[utoipa::path(delete, path = "/api/v1/snapshots/{snapshot}/pin", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Id or unique prefix")),
    responses(
        (status = 200, body = Snapshot),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn unpin(
    caller: Caller,
    State(state): State<SharedState>,
    Path(snapshot): Path<String>,
) -> Result<Json<Snapshot>, Problem> {
    set(&caller, &state, &snapshot, false).await
}

async fn set(
    caller: &Caller,
    state: &SharedState,
    snapshot: &str,
    pinned: bool,
) -> Result<Json<Snapshot>, Problem> {
    let snapshot = state.catalog.find_snapshot(snapshot).await?;
    let snapshot = state
        .catalog
        .pin_snapshot(&snapshot, pinned, &caller.actor)
        .await?;
    Ok(Json(super::shape(snapshot)))
}
