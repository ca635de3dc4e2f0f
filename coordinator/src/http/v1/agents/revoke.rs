//! `POST /agents/{agent}/revoke`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller, dto::Agent, extract::Segment, problem::Problem, state::SharedState,
};

/// Shuts an agent out for good; its session ends, its unfinished jobs fail.
///
/// Revoking it again changes nothing.
#[utoipa::path(post, path = "/agents/{agent}/revoke", tag = "agents",
    params(("agent" = String, Path, description = "Name or id")),
    responses(
        (status = 200, body = Agent, description = "The agent, revoked"),
))]
pub async fn revoke_agent(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(agent): Segment,
) -> Result<Json<Agent>, Problem> {
    let found = state.catalog.find_agent(&agent).await?;
    let agent = state.catalog.revoke_agent(found.id, &caller.actor).await?;
    Ok(Json(super::shape(&state, agent).await?))
}
