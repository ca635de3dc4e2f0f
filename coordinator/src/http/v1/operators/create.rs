//! `POST /operators`

use axum::extract::State;

use crate::http::{
    answer::{Created, location},
    auth::{self, Caller},
    dto::{CreateOperator, NewOperator},
    extract::Body,
    idempotency::{IdempotencyKey, Secret},
    problem::Problem,
    state::SharedState,
};

/// Makes a token for somebody, or for a program.
///
/// It is shown this once.
#[utoipa::path(post, path = "/operators", tag = "operators", params(IdempotencyKey),
    request_body = CreateOperator,
    responses(
        (status = 201, body = NewOperator, description = "The operator, with its token"),
))]
pub async fn create_operator(
    caller: Caller,
    State(state): State<SharedState>,
    Body(request): Body<CreateOperator>,
) -> Result<Secret<Created<NewOperator>>, Problem> {
    let expires_at = super::end(&state, request.ttl_seconds)?;
    let (token, hash) = auth::new_token().map_err(|error| Problem::internal(&error))?;
    let operator = state
        .catalog
        .create_operator(&request.name, &hash, expires_at, &caller.actor)
        .await?;
    let at = location("operators", &operator.name);
    let operator = NewOperator {
        name: operator.name,
        token: token.to_string(),
        expires_at: operator.expires_at,
        ca_certificate: state.ca_certificate.clone(),
    };
    Ok(Secret(Created(at, operator)))
}
