//! `GET /policies/{policy}`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller, dto::Policy, extract::Segment, problem::Problem, state::SharedState,
};

/// One policy, also as it stands in a policy file.
#[utoipa::path(get, path = "/policies/{policy}", tag = "policies",
    params(("policy" = String, Path, description = "Name")),
    responses(
        (status = 200, body = Policy, description = "The policy"),
))]
pub async fn show_policy(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(policy): Segment,
) -> Result<Json<Policy>, Problem> {
    let stored = state.catalog.policy(&policy).await?;
    let datasets = state.catalog.datasets().await?;
    let now = state.catalog.clock().now();
    super::shape(stored, &datasets, now).map(Json)
}
