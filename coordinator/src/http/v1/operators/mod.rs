//! Operators and their tokens.

pub mod create;
pub mod list;
pub mod renew;
pub mod revoke;

use axum::{
    Router,
    routing::{get, post},
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    http::{
        problem::{Code, Problem},
        shape::Operator,
        state::{ApiState, SharedState},
    },
    model,
};

/// Ten years: what lives longer may as well live for ever.
const MAX_TTL_SECONDS: u64 = 10 * 365 * 86_400;

pub(super) fn routes() -> Router<SharedState> {
    Router::new()
        .route("/operators", get(list::handler).post(create::handler))
        .route("/operators/{operator}/renew", post(renew::handler))
        .route("/operators/{operator}/revoke", post(revoke::handler))
}

fn shape(operator: model::Operator) -> Operator {
    Operator {
        name: operator.name,
        created_at: operator.created_at,
        last_used_at: operator.last_used,
        expires_at: operator.expires_at,
        revoked_at: operator.revoked_at,
    }
}

/// When a token ends that is made now.
fn end(state: &ApiState, ttl_seconds: Option<u64>) -> Result<Option<Timestamp>, Problem> {
    let Some(seconds) = ttl_seconds else {
        return Ok(None);
    };
    if !(1..=MAX_TTL_SECONDS).contains(&seconds) {
        return Err(Problem::new(
            Code::Invalid,
            "a token ends after 1 second to 3650 days, or never",
        )
        .hint("give another --ttl, such as 90d, or none"));
    }
    let ttl = SignedDuration::from_secs(seconds as i64);
    Ok(state.catalog.clock().now().saturating_add(ttl).ok())
}
