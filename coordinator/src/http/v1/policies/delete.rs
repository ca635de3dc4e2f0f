//! `DELETE /policies/{policy}`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller, dto::Policy, extract::Segment, problem::Problem, state::SharedState,
};

/// Deletes a policy and answers with it as it was.
///
/// Its snapshots stay; its unfinished jobs go on.
#[utoipa::path(delete, path = "/policies/{policy}", tag = "policies",
    params(("policy" = String, Path, description = "Name")),
    responses(
        (status = 200, body = Policy, description = "The policy as it was"),
))]
pub async fn delete_policy(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(policy): Segment,
) -> Result<Json<Policy>, Problem> {
    let stored = state.catalog.policy(&policy).await?;
    let datasets = state.catalog.datasets().await?;
    let now = state.catalog.clock().now();
    state.catalog.delete_policy(&policy, &caller.actor).await?;
    super::shape(stored, &datasets, now).map(Json)
}
