//! One table of error codes, mapped to HTTP once (RFC 9457 problem details).

use std::fmt;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kinds of refusal, stable across versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request does not say what it must.
    Invalid,
    /// No token, or one that is not valid.
    Unauthorised,
    /// What was named does not exist.
    NotFound,
    /// A prefix that several ids share.
    Ambiguous,
    /// It is not in the state for that.
    Conflict,
    /// What is there does not answer to this method.
    MethodNotAllowed,
    /// The request's body is too large.
    TooLarge,
    /// The request's body is not of a type that is read here.
    UnsupportedMediaType,
    /// The same idempotency key came with another request.
    IdempotencyKeyReused,
    /// Too many requests were refused: wait.
    TooMany,
    /// The job that answers the request failed.
    JobFailed,
    /// Something that the request needs does not answer, such as the agent.
    Unavailable,
    /// A defect, or a broken catalog: the coordinator's log says more.
    Internal,
}

impl Code {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 13] = [
        Self::Invalid,
        Self::Unauthorised,
        Self::NotFound,
        Self::Ambiguous,
        Self::Conflict,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::IdempotencyKeyReused,
        Self::TooMany,
        Self::JobFailed,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Ambiguous | Self::Conflict => StatusCode::CONFLICT,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::JobFailed => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As it stands in JSON and in the problem's type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthorised => "unauthorised",
            Self::NotFound => "not-found",
            Self::Ambiguous => "ambiguous",
            Self::Conflict => "conflict",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::IdempotencyKeyReused => "idempotency-key-reused",
            Self::TooMany => "too-many",
            Self::JobFailed => "job-failed",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The same words whenever it occurs.
    pub fn title(self) -> &'static str {
        match self {
            Self::Invalid => "The request does not say what it must",
            Self::Unauthorised => "The request bears no token, or one that is not valid",
            Self::NotFound => "What was named does not exist",
            Self::Ambiguous => "Several ids begin or end like this one",
            Self::Conflict => "What was named is not in the state for that",
            Self::MethodNotAllowed => "What is there does not answer to this method",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMediaType => "The request's body is no JSON by its type",
            Self::IdempotencyKeyReused => "The same idempotency key came with another request",
            Self::TooMany => "Too many requests were refused",
            Self::JobFailed => "The job that answers the request failed",
            Self::Unavailable => "Something that the request needs does not answer",
            Self::Internal => "The coordinator failed to answer",
        }
    }

    /// What whoever sent the request can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Invalid => {
                "The detail names what is wrong; /api/v1/openapi.json describes every request."
            }
            Self::Unauthorised => "Send the header Authorization: Bearer TOKEN.",
            Self::NotFound => "The lists of the API show what there is.",
            Self::Ambiguous => "Say more of the id.",
            Self::Conflict => {
                "Nothing was changed. The detail names the state that is in the way: change that \
                 first, or leave it."
            }
            Self::MethodNotAllowed => "The header Allow names the methods that are answered to.",
            Self::TooLarge => "The detail names the limit: send less at once.",
            Self::UnsupportedMediaType => "Send JSON, and Content-Type: application/json.",
            Self::IdempotencyKeyReused => "Use a fresh key for each request that is another one.",
            Self::TooMany => "Wait as long as the header Retry-After says.",
            Self::JobFailed => "The job's page says why.",
            Self::Unavailable => "Try again later; the detail names what does not answer.",
            Self::Internal => {
                "Try again, and report it when it stays: the coordinator's log says why."
            }
        }
    }
}

/// The body of every answer that is not a success (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "Read")]
pub struct Problem {
    /// Names the kind of problem: `/problems/` and the code. `GET` says more of it.
    #[serde(rename = "type", default)]
    #[schema(value_type = String, format = "uri-reference")]
    pub kind: Box<str>,
    /// The kind of problem in words, the same whenever it occurs.
    #[serde(default)]
    #[schema(value_type = String)]
    pub title: Box<str>,
    /// The HTTP status.
    #[serde(default)]
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong, and with what.
    pub detail: String,
    /// The same as `detail`, for clients of earlier versions.
    #[schema(value_type = String)]
    message: Box<str>,
    /// For programs.
    pub code: Code,
    /// What to do.
    pub hint: Option<String>,
    /// After how many seconds it may go better.
    #[serde(default)]
    pub retry_after_seconds: Option<u64>,
}

/// As coordinators of this version and of earlier ones answer.
#[derive(Deserialize)]
struct Read {
    #[serde(rename = "type", default)]
    kind: Box<str>,
    #[serde(default)]
    title: Box<str>,
    #[serde(default)]
    status: u16,
    detail: Option<String>,
    /// What earlier ones say instead of `detail`.
    message: Option<String>,
    code: Code,
    hint: Option<String>,
    #[serde(default)]
    retry_after_seconds: Option<u64>,
}

impl From<Read> for Problem {
    fn from(read: Read) -> Self {
        let detail = read.detail.or(read.message).unwrap_or_default();
        Self {
            kind: read.kind,
            title: read.title,
            status: read.status,
            message: detail.as_str().into(),
            detail,
            code: read.code,
            hint: read.hint,
            retry_after_seconds: read.retry_after_seconds,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{}: {hint}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// A problem without a hint.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            kind: format!("/problems/{}", code.as_str()).into(),
            title: code.title().into(),
            status: code.status().as_u16(),
            message: detail.as_str().into(),
            detail,
            code,
            hint: None,
            retry_after_seconds: None,
        }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// `kind` and `name` of something that does not exist, and how to see what
    /// does.
    pub fn not_found(kind: &str, name: &str, list: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {kind} {name:?}"))
            .hint(format!("`strongroom {list}` shows what there is"))
    }

    /// Logs the cause and answers without it: causes may name what operators
    /// need not see.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        Self::new(Code::Internal, "the coordinator failed to answer")
            .hint("its log says why; try again, and report it when it stays")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/problem+json"),
        );
        if self.code == Code::Unauthorised {
            headers.insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_status_and_survives_json() {
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
            let problem = Problem::new(code, "m").hint("h");
            let json = serde_json::to_value(&problem).unwrap();
            assert_eq!(json["code"], code.as_str());
            assert_eq!(json["type"], format!("/problems/{}", code.as_str()));
            assert_eq!(json["status"], code.status().as_u16());
            assert_eq!(json["detail"], "m");
            assert_eq!(json["message"], "m", "for clients of earlier versions");
            assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
        }
    }

    #[test]
    fn what_coordinators_of_earlier_versions_answer_is_understood() {
        let before = r#"{"code":"not-found","message":"there is no x","hint":null}"#;
        let problem: Problem = serde_json::from_str(before).unwrap();
        assert_eq!(problem.to_string(), "there is no x");
        assert_eq!(problem.code, Code::NotFound);
    }

    #[test]
    fn a_refusal_asks_for_a_bearer_token_in_problem_json() {
        let response = Problem::new(Code::Unauthorised, "no").into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }

    #[test]
    fn who_has_to_wait_is_told_how_long() {
        let response = Problem::new(Code::TooMany, "no").retry_after(7);
        let response = response.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
    }
}
