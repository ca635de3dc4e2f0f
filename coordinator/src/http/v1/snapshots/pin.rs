//! `POST` and `DELETE /snapshots/{snapshot}/pin`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller, dto::Snapshot, extract::Segment, problem::Problem, state::SharedState,
};

/// Keeps a snapshot whatever retention says.
#[utoipa::path(post, path = "/snapshots/{snapshot}/pin", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Id or unique prefix")),
    responses(
        (status = 200, body = Snapshot, description = "The snapshot, pinned"),
))]
pub async fn pin_snapshot(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(snapshot): Segment,
) -> Result<Json<Snapshot>, Problem> {
    set(&caller, &state, &snapshot, true).await
}

/// Leaves a snapshot to retention again.
#[utoipa::path(delete, path = "/snapshots/{snapshot}/pin", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Id or unique prefix")),
    responses(
        (status = 200, body = Snapshot, description = "The snapshot, not pinned"),
))]
pub async fn unpin_snapshot(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(snapshot): Segment,
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
