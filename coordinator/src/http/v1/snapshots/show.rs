//! `GET /snapshots/{snapshot}`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{auth::Caller, problem::Problem, shape::Snapshot, state::SharedState};

/// One snapshot.
#[utoipa::path(get, path = "/api/v1/snapshots/{snapshot}", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Id or unique prefix")),
    responses(
        (status = 200, body = Snapshot),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
    Path(snapshot): Path<String>,
) -> Result<Json<Snapshot>, Problem> {
    let snapshot = state.catalog.find_snapshot(&snapshot).await?;
    Ok(Json(super::shape(snapshot)))
}
