//! Bearer tokens.

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use strongroom_runtime::files;
use zeroize::Zeroizing;

use super::{
    problem::{Code, Problem},
    state::SharedState,
};
use crate::model::{Actor, SecretHash};

/// What a token begins with, so that people and scanners recognise one.
const PREFIX: &str = "sro_";

/// Who sends the request: an operator with a valid token.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the audit log.
    pub actor: Actor,
}

/// A new token and the hash by which the catalog knows it.
pub fn new_token() -> std::io::Result<(Zeroizing<String>, SecretHash)> {
    let secret = files::random_text::<32>()?;
    let token = Zeroizing::new(format!("{PREFIX}{}", *secret));
    let hash = SecretHash::of(&token);
    Ok((token, hash))
}

impl FromRequestParts<SharedState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &SharedState,
    ) -> Result<Self, Self::Rejection> {
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| {
                Problem::new(Code::Unauthorised, "the request bears no token")
                    .hint("send the header Authorization: Bearer TOKEN")
            })?;
        // Looked up by its hash: how long that takes says nothing of the token.
        let operator = state
            .catalog
            .verify_operator(&SecretHash::of(token))
            .await?
            .ok_or_else(|| {
                tracing::warn!("a request with an unknown or revoked token was refused");
                Problem::new(Code::Unauthorised, "the token is unknown or revoked")
                    .hint("ask another operator for a new profile: `strongroom operators create`")
            })?;
        Ok(Self {
            actor: Actor::Operator(operator.name),
        })
    }
}
