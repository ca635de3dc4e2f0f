//! `GET /agents/{agent}`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{auth::Caller, problem::Problem, shape::Agent, state::SharedState};

/// One agent, by name or id.
#[utoipa::path(get, path = "/api/v1/agents/{agent}", tag = "agents",
    params(("agent" = String, Path, description = "Name or id")),
    responses(
        (status = 200, body = Agent),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
    Path(agent): Path<String>,
) -> Result<Json<Agent>, Problem> {
    let agent = state.catalog.find_agent(&agent).await?;
    Ok(Json(super::shape(&state, agent).await?))
}
