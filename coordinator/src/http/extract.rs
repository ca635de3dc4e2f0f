//! What requests hold, refused as [`Problem`]s where it cannot be read.
//!
//! No text of a request may hold a NUL: none of what is named may, and Postgres
//! stores none. [`Segment`]s and queries are looked at by
//! [`guard`](super::guard), bodies here; the document says so of all.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    MAX_BODY_BYTES,
    problem::{Code, Problem},
};

const DESCRIBED: &str = "/api/v1/openapi.json describes every request";

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "the request's body is no JSON by its Content-Type",
            )
            .hint("send the header Content-Type: application/json"));
        }
        let bytes =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection: BytesRejection| {
                    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                        return too_large();
                    }
                    Problem::new(Code::Invalid, rejection.body_text()).hint(DESCRIBED)
                })?;
        // A list of its fields would be taken for a structure, too.
        if bytes.trim_ascii_start().starts_with(b"[") {
            let problem = "the request's body is a list: an object is expected";
            return Err(Problem::new(Code::Invalid, problem).hint(DESCRIBED));
        }
        let Json(body) = Json::from_bytes(&bytes).map_err(|rejection| {
            Problem::new(Code::Invalid, rejection.body_text()).hint(DESCRIBED)
        })?;
        if holds_nul(&bytes) {
            return Err(no_nul("a text of the request's body"));
        }
        Ok(Self(body))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| {
        let essence = essence.trim().to_ascii_lowercase();
        essence == "application/json"
            || essence.starts_with("application/") && essence.ends_with("+json")
    })
}

/// The body is larger than any request needs to be.
pub(super) fn too_large() -> Problem {
    Problem::new(
        Code::TooLarge,
        format!("the request is larger than {} KiB", MAX_BODY_BYTES / 1024),
    )
    .hint("apply a long policy file in parts: each stands by itself")
}

pub(super) fn no_nul(what: &str) -> Problem {
    Problem::new(Code::Invalid, format!("{what} holds a NUL"))
        .hint("nothing that could be meant does")
}

fn holds_nul(json: &[u8]) -> bool {
    const ESCAPED: &[u8] = br"\u0000";
    fn any(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(any),
            Value::Object(map) => map.iter().any(|(key, it)| key.contains('\0') || any(it)),
            _ => false,
        }
    }
    json.windows(ESCAPED.len()).any(|it| it == ESCAPED)
        && serde_json::from_slice(json).is_ok_and(|value| any(&value))
}

/// A query string.
#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Query(query) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| {
                Problem::new(Code::Invalid, rejection.body_text()).hint(DESCRIBED)
            })?;
        Ok(Self(query))
    }
}

/// The one part of the path that names what is meant, unescaped.
#[derive(Debug)]
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Path(text) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| {
                Problem::new(Code::Invalid, rejection.body_text()).hint(DESCRIBED)
            })?;
        Ok(Self(text))
    }
}
