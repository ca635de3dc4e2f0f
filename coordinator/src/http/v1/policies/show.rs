//! `GET /policies/{policy}`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{auth::Caller, problem::Problem, shape::Policy, state::SharedState};

/// One policy, also as it stands in a policy file.
#[utoipa::path(get, path = "/api/v1/policies/{policy}", tag = "policies",
    params(("policy" = String, Path, description = "Name")),
    responses(
        (status = 200, body = Policy),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
    Path(policy): Path<String>,
) -> Result<Json<Policy>, Problem> {
    let stored = state.catalog.policy(&policy).await?;
    let datasets = state.catalog.datasets().await?;
    let now = state.catalog.clock().now();
    super::shape(stored, &datasets, now).map(Json)
}
