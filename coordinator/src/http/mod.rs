//! The REST API: the only way in for operators.
//!
//! - [`dto`]: what is sent and answered,
//! - [`problem`]: one table of error codes,
//! - [`v1`]: the endpoints, a file each,
//! - [`openapi`]: the document that describes them, collected from the routes,
//! - [`guard`]: what every request must keep to,
//! - [`idempotency`]: requests that are sent again,
//! - [`extract`], [`answer`], [`paging`], [`waiting`]: what endpoints read and answer
//!   with,
//! - [`presence`]: which agents have a session, and how far attempts are,
//! - [`auth`]: bearer tokens,
//! - [`server`]: HTTPS around it all.
//!
//! Every endpoint but `/healthz` and the OpenAPI document asks for a token:
//! its handler takes a [`Caller`](auth::Caller), and a test over the OpenAPI
//! document sees to it that none is forgotten.

pub mod answer;
pub mod auth;
pub mod dto;
pub mod extract;
mod guard;
pub mod idempotency;
pub mod openapi;
pub mod paging;
pub mod presence;
pub mod problem;
pub mod server;
pub mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod v1;
mod waiting;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    dto::ProblemKind,
    extract::Segment,
    guard::Rules,
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
    let (router, document) = openapi::split(routes());
    let rules = Arc::new(Rules::of(&document));
    router
        .with_state(Arc::clone(&state))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(Extension(document))
        .layer(middleware::from_fn_with_state(
            (state, Arc::clone(&rules)),
            idempotency::once,
        ))
        .layer(middleware::from_fn_with_state(rules, guard::check))
        .layer(middleware::from_fn(limit_time))
}

fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .nest("/api/v1", v1::routes())
        .routes(routes!(openapi::show_openapi))
        .routes(routes!(show_health))
        .routes(routes!(show_problem))
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(Code::NotFound, format!("nothing answers at {}", uri.path()))
        .hint("/api/v1/openapi.json describes every request")
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        format!("{} does not answer to {method}", uri.path()),
    )
    .hint("the header Allow names the methods that it answers to")
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

/// Whether this coordinator can do its work.
///
/// It is asked by whoever watches it, and says no more to a stranger than that.
#[utoipa::path(get, path = "/healthz", tag = "coordinator", security(()), responses(
    (status = 200, description = "It can", body = String, content_type = "text/plain"),
    (status = 503, description = "It cannot", body = String, content_type = "text/plain"),
))]
async fn show_health(State(state): State<SharedState>) -> (StatusCode, &'static str) {
    if state.catalog.health().await.is_ok() {
        return (StatusCode::OK, "ok\n");
    }
    let why = "the catalog cannot be written: the coordinator's log says where, and why\n";
    (StatusCode::SERVICE_UNAVAILABLE, why)
}

/// What a kind of problem is, and what to do about it.
///
/// The `type` of every problem leads here.
#[utoipa::path(get, path = "/problems/{code}", tag = "coordinator", security(()),
    params(("code" = String, Path, description = "A problem's code")),
    responses((status = 200, description = "The kind of problem", body = ProblemKind)))]
async fn show_problem(Segment(code): Segment) -> Result<Json<ProblemKind>, Problem> {
    let known = Code::ALL.into_iter().find(|it| it.as_str() == code);
    let code = known.ok_or_else(|| {
        let detail = format!("there is no kind of problem {code:?}");
        Problem::new(Code::NotFound, detail).hint("/api/v1/openapi.json names all of them")
    })?;
    Ok(Json(ProblemKind::of(code)))
}
