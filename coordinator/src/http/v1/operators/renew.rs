//! `POST /operators/{operator}/renew`

use axum::{Json, extract::State};

use crate::http::{
    auth::{self, Caller},
    dto::{NewOperator, RenewOperator},
    extract::{Body, Segment},
    idempotency::{IdempotencyKey, Secret},
    problem::Problem,
    state::SharedState,
};

/// Makes a new token in the place of an operator's present one.
///
/// That is refused from now on, whether it had expired or not. The new one is
/// shown this once.
#[utoipa::path(post, path = "/operators/{operator}/renew", tag = "operators",
    params(IdempotencyKey, ("operator" = String, Path, description = "Name")),
    request_body = RenewOperator,
    responses(
        (status = 200, body = NewOperator, description = "The operator, with its new token"),
))]
pub async fn renew_operator(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
    Body(request): Body<RenewOperator>,
) -> Result<Secret<Json<NewOperator>>, Problem> {
    let expires_at = super::end(&state, request.ttl_seconds)?;
    let (token, hash) = auth::new_token().map_err(|error| Problem::internal(&error))?;
    let operator = state
        .catalog
        .renew_operator(&name, &hash, expires_at, &caller.actor)
        .await?;
    Ok(Secret(Json(NewOperator {
        name: operator.name,
        token: token.to_string(),
        expires_at: operator.expires_at,
        ca_certificate: state.ca_certificate.clone(),
    })))
}
