//! `GET /stores/{store}`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{auth::Caller, problem::Problem, shape::Store, state::SharedState};

/// One store, and what its last check found.
#[utoipa::path(get, path = "/api/v1/stores/{store}", tag = "stores",
    params(("store" = String, Path, description = "Its name")),
    responses(
        (status = 200, body = Store),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
    Path(name): Path<String>,
) -> Result<Json<Store>, Problem> {
    Ok(Json(super::shape(super::find(&state, &name)?)))
}
