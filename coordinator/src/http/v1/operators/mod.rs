//! Operators and their tokens.

pub mod create;
pub mod list;
pub mod renew;
pub mod revoke;
pub mod show;

use jiff::{SignedDuration, Timestamp};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        dto::Operator,
        problem::{Code, Problem},
        state::{ApiState, SharedState},
    },
    model,
};

/// Ten years: what lives longer may as well live for ever.
const MAX_TTL_SECONDS: u64 = 10 * 365 * 86_400;

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_operators, create::create_operator))
        .routes(routes!(show::show_operator))
        .routes(routes!(renew::renew_operator))
        .routes(routes!(revoke::revoke_operator))
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

/// The last operator of a name, revoked or not.
async fn find(state: &ApiState, name: &str) -> Result<Operator, Problem> {
    let operators = state.catalog.operators().await?.into_iter();
    operators
        .filter(|it| it.name == name)
        .max_by_key(|it| (it.revoked_at.is_none(), it.revoked_at))
        .map(shape)
        .ok_or_else(|| Problem::not_found("operator", name, "operators list"))
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
