//! Requests that start or make something may be sent again: under the same
//! `Idempotency-Key` the same request is answered as it was, and does nothing
//! twice (decision 0051).
//!
//! Which operations that holds for, the document says: those that name the
//! header. A success is kept; what was refused (4xx) has done nothing, and its key
//! is free again; of what broke in the middle (5xx) nobody knows whether it has
//! happened, and its key stays taken.

mod keep;

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts as _, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use futures::FutureExt as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use self::keep::keep;
pub use self::keep::{Harmless, Secret};
use super::{
    MAX_BODY_BYTES,
    auth::Caller,
    extract::too_large,
    guard::Rules,
    openapi::IDEMPOTENCY_KEY,
    problem::{Code, Problem},
    state::SharedState,
};
use crate::{
    catalog::Catalog,
    model::{KeptAnswer, KeptBody, KeyState, KeyedRequest},
};

/// The longest key, bytes.
const MAX_KEY: usize = 255;

/// The header, as the document describes it.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes")]
pub struct IdempotencyKey {
    /// Chosen by the client, afresh for each thing that is to happen: within 24
    /// hours the same request under the same key happens once, and is answered
    /// the same.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    key: Option<String>,
}

/// Answers a keyed request at most once.
pub(super) async fn once(
    State((state, rules)): State<(SharedState, Arc<Rules>)>,
    request: Request,
    next: Next,
) -> Response {
    if !request.headers().contains_key(IDEMPOTENCY_KEY) || !rules.is_keyed(&request) {
        return next.run(request).await;
    }
    match keyed(&state, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn keyed(state: &SharedState, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    // Before anything of the body is read.
    let caller = Caller::from_request_parts(&mut parts, state).await?;
    let key = key(&parts.headers)?;
    let body = to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|_| too_large())?;
    let request = KeyedRequest {
        hash: hash(&parts, &body),
        sender: caller.actor.clone(),
        key,
    };
    parts.extensions.insert(caller);
    let catalog = state.catalog.clone();
    let http = Request::from_parts(parts, Body::from(body));
    // It goes on when whoever asked is gone: he may ask again.
    let task = state
        .tasks
        .spawn(async move { first(&catalog, &request, http, next).await });
    task.await.map_err(|error| Problem::internal(&error))?
}

/// Does what nobody has asked for under this key; otherwise says what came of it.
async fn first(
    catalog: &Catalog,
    request: &KeyedRequest,
    http: Request,
    next: Next,
) -> Result<Response, Problem> {
    match catalog.begin_request(request).await? {
        KeyState::New => {}
        KeyState::UnderWay(since) => return Err(under_way(since)),
        KeyState::Unknown(since) => return Err(unknown(since)),
        KeyState::Answered(answer) => return again(answer),
        KeyState::Reused => {
            let problem = "this idempotency key came with another request within the last day";
            return Err(Problem::new(Code::IdempotencyKeyReused, problem)
                .hint("choose a fresh key for each request that is another one"));
        }
    }
    // The key is this task's: of what panics the next one must learn as well.
    let response = AssertUnwindSafe(next.run(http)).catch_unwind().await;
    let response = response.unwrap_or_else(|_| {
        tracing::error!(key = request.key, "a keyed request panicked");
        Problem::new(Code::Internal, "the coordinator failed to answer")
            .hint("look whether it has happened; its log says why it failed")
            .into_response()
    });
    keep(catalog, request, response).await
}

/// The key, if it is one.
fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let one = values.next().filter(|_| values.next().is_none());
    let text = one.and_then(|value| value.to_str().ok());
    text.filter(|it| (1..=MAX_KEY).contains(&it.len()))
        .filter(|it| it.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(str::to_owned)
        .ok_or_else(|| {
            Problem::new(
                Code::Invalid,
                format!("the header {IDEMPOTENCY_KEY} holds no key"),
            )
            .hint("a key is 1 to 255 visible ASCII characters, such as a UUID")
        })
}

/// What makes it this request and no other.
fn hash(parts: &Parts, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(parts.method.as_str());
    hash.update(b" ");
    hash.update(parts.uri.path_and_query().map_or("", |it| it.as_str()));
    hash.update(b"\n");
    hash.update(body);
    HEXLOWER.encode(&hash.finalize())
}

/// The answer that was given.
fn again(answer: KeptAnswer) -> Result<Response, Problem> {
    let made = answer.location.as_deref().map_or_else(String::new, |at| {
        format!(": what it made or started is at {at}")
    });
    let body = match answer.body {
        KeptBody::Json(body) => body,
        KeptBody::Secret => {
            let problem = format!("this request has succeeded, and its answer held a secret{made}");
            return Err(Problem::new(Code::Conflict, problem).hint(
                "secrets are shown once and kept nowhere: if the answer was lost, take back what \
                 was made, and ask again with another key",
            ));
        }
        KeptBody::TooLong => {
            let problem =
                format!("this request has succeeded, and its answer was too long to be kept{made}");
            return Err(Problem::new(Code::Conflict, problem)
                .hint("it is not done again: ask for what it made, changed or started"));
        }
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let json = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (status, json, body).into_response();
    if let Some(location) = answer
        .location
        .and_then(|it| HeaderValue::from_str(&it).ok())
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn under_way(since: Timestamp) -> Problem {
    let problem = format!("this request has been under way since {since}");
    Problem::new(Code::Conflict, problem).retry_after(1).hint(
        "wait for its answer; if the coordinator was stopped meanwhile, look whether it has \
             happened, and if not, ask again with another key",
    )
}

fn unknown(since: Timestamp) -> Problem {
    let problem = format!(
        "this request failed in the middle at {since}: it is not known whether it has happened"
    );
    Problem::new(Code::Conflict, problem)
        .hint("look whether it has, and if not, ask again with another key")
}

#[cfg(test)]
mod tests;
