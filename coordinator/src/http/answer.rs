//! Answers that say more than 200: something was made, or was started.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

/// What stays as it is in a segment of a path (RFC 3986: unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// 201: it was made, and is at `Location`.
#[derive(Debug)]
pub struct Created<T>(pub String, pub T);

/// 202: it was started, and its state is at `Location`.
#[derive(Debug)]
pub struct Started<T>(pub String, pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        at(StatusCode::CREATED, &self.0, self.1)
    }
}

impl<T: Serialize> IntoResponse for Started<T> {
    fn into_response(self) -> Response {
        at(StatusCode::ACCEPTED, &self.0, self.1)
    }
}

/// The path of `name` among `subject`.
pub fn location(subject: &str, name: &str) -> String {
    format!("/api/v1/{subject}/{}", utf8_percent_encode(name, SEGMENT))
}

fn at(status: StatusCode, location: &str, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    // What `location` gives is ASCII.
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}
