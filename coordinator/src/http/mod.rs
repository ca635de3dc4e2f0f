//! The REST API: the only way in for operators.
//!
//! - [`shape`]: what is sent and answered,
//! - [`problem`]: one table of error codes,
//! - [`v1`]: the endpoints, a file each,
//! - [`auth`]: bearer tokens,
//! - [`server`]: HTTPS around it all.
//!
//! Every endpoint but `/healthz` and the OpenAPI document asks for a token:
//! its handler takes a [`Caller`](auth::Caller), and a test over the OpenAPI
//! document sees to it that none is forgotten.

pub mod auth;
pub mod extract;
pub mod openapi;
pub mod problem;
pub mod server;
pub mod shape;
pub mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod v1;

use std::time::Duration;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};

use self::{
    problem::{Code, Problem},
    state::SharedState,
};
use crate::catalog::CatalogError;

/// Policy files are the largest requests.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Longer than the longest long poll.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// All of the API.
pub fn router(state: SharedState) -> Router {
    Router::new()
        .nest("/api/v1", v1::routes())
        .route("/healthz", get(healthz))
        .with_state(state)
        .route("/api/v1/openapi.json", get(openapi::handler))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_path)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(limit_time))
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("nothing answers to that at {}", uri.path()),
    )
    .hint("/api/v1/openapi.json describes every request")
}

/// No request holds its connection for ever, not even one whose body never
/// comes.
async fn limit_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| {
            Problem::new(Code::Unavailable, "the request took too long").into_response()
        })
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        let message = error.to_string();
        let error = &error;
        match error {
            CatalogError::NotFound { what, .. } => {
                let problem = Self::new(Code::NotFound, message);
                match *what {
                    "policy" => problem.hint("`strongroom policies list` shows what there is"),
                    "repository" => {
                        problem.hint("`strongroom repositories list` shows what there is")
                    }
                    what @ ("agent" | "job" | "snapshot" | "operator") => {
                        problem.hint(format!("`strongroom {what}s list` shows what there is"))
                    }
                    _ => problem,
                }
            }
            CatalogError::Ambiguous { .. } => Self::new(Code::Ambiguous, message),
            CatalogError::Exists { .. }
            | CatalogError::Conflict { .. }
            | CatalogError::Transition(_) => Self::new(Code::Conflict, message),
            CatalogError::InvalidName(_) | CatalogError::InvalidLabel(_) => {
                Self::new(Code::Invalid, message)
            }
            error if error.is_of_the_disk() => Self::new(Code::Unavailable, message),
            _ => Self::internal(error),
        }
    }
}

/// Whether this coordinator can do its work. It is asked by whoever watches it, and
/// says no more to a stranger than that.
async fn healthz(State(state): State<SharedState>) -> (StatusCode, &'static str) {
    if state.catalog.health().await.is_ok() {
        return (StatusCode::OK, "ok\n");
    }
    let why = "the catalog cannot be written: the coordinator's log says where, and why\n";
    (StatusCode::SERVICE_UNAVAILABLE, why)
}
