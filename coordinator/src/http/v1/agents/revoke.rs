//! `POST /agents/{agent}/revoke`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{auth::Caller, problem::Problem, shape::Agent, state::SharedState};

/// Shuts an agent out for good; its session ends, its unfinished jobs fail.
/// Revoking it again changes nothing.
#[utoipa::path(post, path = "/api/v1/agents/{agent}/revoke", tag = "agents",
    params(("agent" = String, Path, description = "Name or id")),
    responses(
        (status = 200, body = Agent),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    caller: Caller,
    State(state): State<SharedState>,
    Path(agent): Path<String>,
) -> Result<Json<Agent>, Problem> {
    let found = state.catalog.find_agent(&agent).await?;
    let agent = state.catalog.revoke_agent(found.id, &caller.actor).await?;
    Ok(Json(super::shape(&state, agent).await?))
}
