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
    /// The request's body is too large.
    TooLarge,
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
    pub const ALL: [Self; 10] = [
        Self::Invalid,
        Self::Unauthorised,
        Self::NotFound,
        Self::Ambiguous,
        Self::Conflict,
        Self::TooLarge,
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
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::JobFailed => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// What is wrong, and with what.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// After how many seconds it may go better.
    #[serde(default)]
    pub retry_after_seconds: Option<u64>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{}: {hint}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// A problem without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
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
            let text = serde_json::to_string(&problem).unwrap();
            assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
        }
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
