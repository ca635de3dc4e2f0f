//! `GET /stores/{store}`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller, dto::Store, extract::Segment, problem::Problem, state::SharedState,
};

/// One store, and what its last check found.
#[utoipa::path(get, path = "/stores/{store}", tag = "stores",
    params(("store" = String, Path, description = "Its name")),
    responses(
        (status = 200, body = Store, description = "The store"),
))]
pub async fn show_store(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
) -> Result<Json<Store>, Problem> {
    Ok(Json(super::shape(super::find(&state, &name)?)))
}
