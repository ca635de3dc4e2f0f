//! `POST /agents/{agent}/trust`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{
    auth::Caller,
    extract::Body,
    problem::Problem,
    shape::{Agent, TrustRequest},
    state::SharedState,
};

/// Serves a contested agent again, under one certificate only: the other
/// holder of its identity is gone.
#[utoipa::path(post, path = "/api/v1/agents/{agent}/trust", tag = "agents",
    params(("agent" = String, Path, description = "Name or id")),
    request_body = TrustRequest,
    responses(
        (status = 200, body = Agent),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    caller: Caller,
    State(state): State<SharedState>,
    Path(agent): Path<String>,
    Body(request): Body<TrustRequest>,
) -> Result<Json<Agent>, Problem> {
    let found = state.catalog.find_agent(&agent).await?;
    let serial = request.serial.as_deref();
    let agent = state
        .catalog
        .trust_agent(found.id, serial, &caller.actor)
        .await?;
    Ok(Json(super::shape(&state, agent).await?))
}
