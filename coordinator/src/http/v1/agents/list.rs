//! `GET /agents`

use axum::{Json, extract::State};

use crate::http::{auth::Caller, problem::Problem, shape::Agents, state::SharedState};

/// Every agent, by name; without what it finds at its connections.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", responses(
    (status = 200, body = Agents),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
) -> Result<Json<Agents>, Problem> {
    let mut agents = Vec::new();
    for agent in state.catalog.agents().await? {
        agents.push(super::outline(&state, agent).await?);
    }
    Ok(Json(Agents { agents }))
}
