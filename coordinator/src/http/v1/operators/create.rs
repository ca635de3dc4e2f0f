//! `POST /operators`

use axum::{Json, extract::State};

use crate::http::{
    auth::{self, Caller},
    extract::Body,
    problem::Problem,
    shape::{CreateOperator, NewOperator},
    state::SharedState,
};

/// Makes a token for somebody, or for a program. It is shown this once.
#[utoipa::path(post, path = "/api/v1/operators", tag = "operators",
    request_body = CreateOperator,
    responses(
        (status = 200, body = NewOperator),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    caller: Caller,
    State(state): State<SharedState>,
    Body(request): Body<CreateOperator>,
) -> Result<Json<NewOperator>, Problem> {
    let expires_at = super::end(&state, request.ttl_seconds)?;
    let (token, hash) = auth::new_token().map_err(|error| Problem::internal(&error))?;
    let operator = state
        .catalog
        .create_operator(&request.name, &hash, expires_at, &caller.actor)
        .await?;
    Ok(Json(NewOperator {
        name: operator.name,
        token: token.to_string(),
        expires_at: operator.expires_at,
        ca_certificate: state.ca_certificate.clone(),
    }))
}
