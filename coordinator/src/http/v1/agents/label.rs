//! `POST /agents/{agent}/label`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller,
    dto::{Agent, LabelRequest},
    extract::{Body, Segment},
    problem::{Code, Problem},
    state::SharedState,
};

/// Sets some of an agent's labels and takes others away.
///
/// Policies that select by labels go by the new ones at once.
#[utoipa::path(post, path = "/agents/{agent}/label", tag = "agents",
    params(("agent" = String, Path, description = "Name or id")),
    request_body = LabelRequest,
    responses(
        (status = 200, body = Agent, description = "The agent with its new labels"),
))]
pub async fn label_agent(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(agent): Segment,
    Body(request): Body<LabelRequest>,
) -> Result<Json<Agent>, Problem> {
    if let Some(both) = request
        .remove
        .iter()
        .find(|it| request.set.contains_key(*it))
    {
        let problem = format!("the label {both:?} is both set and removed");
        return Err(Problem::new(Code::Invalid, problem).hint("say one of the two"));
    }
    let found = state.catalog.find_agent(&agent).await?;
    let agent = state
        .catalog
        .label_agent(
            found.id,
            (&request.set, &request.remove),
            request.confirmed,
            &caller.actor,
        )
        .await?;
    Ok(Json(super::shape(&state, agent).await?))
}
