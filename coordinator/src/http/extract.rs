//! Bodies and queries whose errors are [`Problem`]s.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Query, Request, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{
    MAX_BODY_BYTES,
    problem::{Code, Problem},
};

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let Json(body) =
            Json::from_request(request, state)
                .await
                .map_err(|rejection: JsonRejection| {
                    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                        return Problem::new(
                            Code::TooLarge,
                            format!("the request is larger than {} KiB", MAX_BODY_BYTES / 1024),
                        )
                        .hint("apply a long policy file in parts: each stands by itself");
                    }
                    Problem::new(Code::Invalid, rejection.body_text())
                        .hint("/api/v1/openapi.json describes every request")
                })?;
        Ok(Self(body))
    }
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
                Problem::new(Code::Invalid, rejection.body_text())
                    .hint("/api/v1/openapi.json describes every request")
            })?;
        Ok(Self(query))
    }
}
