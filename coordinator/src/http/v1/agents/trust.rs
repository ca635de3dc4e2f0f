//! `POST /agents/{agent}/trust`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller,
    dto::{Agent, TrustRequest},
    extract::{Body, Segment},
    problem::Problem,
    state::SharedState,
};

/// Serves a contested agent again, under one certificate only.
///
/// The other holder of its identity is gone.
#[utoipa::path(post, path = "/agents/{agent}/trust", tag = "agents",
    params(("agent" = String, Path, description = "Name or id")),
    request_body = TrustRequest,
    responses(
        (status = 200, body = Agent, description = "The agent, served again"),
))]
pub async fn trust_agent(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(agent): Segment,
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
