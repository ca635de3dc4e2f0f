//! `GET /policies`

use axum::{Json, extract::State};

use crate::http::{auth::Caller, problem::Problem, shape::Policies, state::SharedState};

/// Every policy, by name.
#[utoipa::path(get, path = "/api/v1/policies", tag = "policies", responses(
    (status = 200, body = Policies),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
) -> Result<Json<Policies>, Problem> {
    let datasets = state.catalog.datasets().await?;
    let now = state.catalog.clock().now();
    let policies = state
        .catalog
        .policies()
        .await?
        .into_iter()
        .map(|stored| super::shape(stored, &datasets, now))
        .collect::<Result<_, _>>()?;
    Ok(Json(Policies { policies }))
}
