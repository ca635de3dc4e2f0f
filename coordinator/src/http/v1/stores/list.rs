//! `GET /stores`

use axum::{Json, extract::State};

use crate::http::{auth::Caller, problem::Problem, shape::Stores, state::SharedState};

/// Every store of the configuration, by name, and what its last check found.
#[utoipa::path(get, path = "/api/v1/stores", tag = "stores", responses(
    (status = 200, body = Stores),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
) -> Result<Json<Stores>, Problem> {
    let stores = state.checked.iter().map(|(_, store)| super::shape(store));
    Ok(Json(Stores {
        stores: stores.collect(),
    }))
}
