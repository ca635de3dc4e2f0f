//! `GET /agents/{agent}`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller, dto::Agent, extract::Segment, problem::Problem, state::SharedState,
};

/// One agent, by name or id.
#[utoipa::path(get, path = "/agents/{agent}", tag = "agents",
    params(("agent" = String, Path, description = "Name or id")),
    responses(
        (status = 200, body = Agent, description = "The agent"),
))]
pub async fn show_agent(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(agent): Segment,
) -> Result<Json<Agent>, Problem> {
    let agent = state.catalog.find_agent(&agent).await?;
    Ok(Json(super::shape(&state, agent).await?))
}
