//! Operators and their tokens.

pub mod create;
pub mod list;
pub mod revoke;

use axum::{
    Router,
    routing::{get, post},
};

use crate::{
    http::{shape::Operator, state::SharedState},
    model,
};

pub(super) fn routes() -> Router<SharedState> {
    Router::new()
        .route("/operators", get(list::handler).post(create::handler))
        .route("/operators/{operator}/revoke", post(revoke::handler))
}

fn shape(operator: model::Operator) -> Operator {
    Operator {
        name: operator.name,
        created_at: operator.created_at,
        last_used_at: operator.last_used,
        revoked_at: operator.revoked_at,
    }
}
