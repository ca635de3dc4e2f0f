//! What can go wrong with a store, said so that an operator can act on it.

use std::{error::Error, fmt};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use strongroom_runtime::causes;

use super::StoreConfig;

/// A clock that is off by more than this makes stores refuse requests sooner
/// or later: they allow 15 minutes.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A failed request of the coordinator to a store.
#[derive(Debug, thiserror::Error)]
#[error("store {store:?} ({place}): {problem}")]
pub struct StoreError {
    /// What policies call it.
    pub store: String,
    /// Bucket, endpoint and how it is addressed.
    pub place: String,
    /// What is wrong, and what to do.
    pub problem: StoreProblem,
}

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreProblem {
    /// The configuration does not make a client.
    #[error("cannot set up the client: {0}")]
    Setup(String),
    /// No such bucket.
    #[error("the bucket does not exist: create it, or correct `bucket` in the configuration")]
    NoBucket,
    /// The service knows the request and does not want it.
    #[error(
        "access denied ({0}): check the access key, its secret, and that it may \
         read, write, list and delete below the prefix"
    )]
    Denied(String),
    /// The clocks differ too much.
    #[error(
        "this host's clock is {} {} the store's: set it right (NTP), or requests are refused",
        Span(*.0), if .0.is_negative() { "behind" } else { "ahead of" }
    )]
    ClockSkew(SignedDuration),
    /// No answer.
    #[error("no answer: {0}; check `endpoint`, the network and the certificate")]
    Unreachable(String),
    /// The object is not there.
    #[error("there is no object {0:?}")]
    NoObject(String),
    /// An answer that means trouble on the other side.
    #[error("{action} failed: {detail}")]
    Failed {
        /// `list locks/`, `delete …`.
        action: String,
        /// Code and message of the service.
        detail: String,
        /// Whether another try may do better.
        retryable: bool,
    },
}

/// A duration in seconds, for people.
struct Span(SignedDuration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs().unsigned_abs())
    }
}

impl StoreError {
    pub(super) fn new(store: &StoreConfig, problem: StoreProblem) -> Self {
        Self {
            store: store.name.clone(),
            place: store.place(),
            problem,
        }
    }

    /// For whoever has said which store it is.
    pub fn nameless(&self) -> String {
        format!("{}: {}", self.place, self.problem)
    }

    /// Whether another try may do better.
    pub fn is_retryable(&self) -> bool {
        match self.problem {
            StoreProblem::Unreachable(_) => true,
            StoreProblem::Failed { retryable, .. } => retryable,
            _ => false,
        }
    }

    /// Whether the same job may succeed some time later without anybody's doing. A
    /// key's rights come into force some time after they were given.
    pub fn may_pass(&self) -> bool {
        !matches!(
            self.problem,
            StoreProblem::NoBucket | StoreProblem::Setup(_)
        )
    }

    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.problem, StoreProblem::NoObject(_))
    }

    /// Reads the SDK's error. `now` is this host's clock when it came.
    pub(super) fn from_sdk<E>(
        store: &StoreConfig,
        action: &str,
        error: &SdkError<E, HttpResponse>,
        now: Timestamp,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let Some(response) = error.raw_response() else {
            return Self::new(store, StoreProblem::Unreachable(causes::said(error)));
        };
        let status = response.status().as_u16();
        let code = error.code().unwrap_or("no code");
        let detail = match error.message() {
            Some(message) => format!("{code}: {message}"),
            None => format!("{code}, HTTP status {status}"),
        };
        let skew = skew(response.headers().get("date"), now);
        let problem = match (code, status, skew) {
            ("NoSuchBucket", ..) => StoreProblem::NoBucket,
            (_, 400 | 403, Some(skew)) => StoreProblem::ClockSkew(skew),
            ("RequestTimeTooSkewed", ..) => StoreProblem::ClockSkew(SignedDuration::ZERO),
            (_, 401 | 403, None) => StoreProblem::Denied(detail),
            ("NoSuchKey" | "NotFound", ..) => StoreProblem::NoObject(action.to_owned()),
            _ => StoreProblem::Failed {
                action: action.to_owned(),
                detail,
                retryable: status >= 500 || status == 429,
            },
        };
        Self::new(store, problem)
    }
}

/// By how much this host's clock is ahead of the response's `Date`, if that
/// matters.
pub(super) fn skew(date: Option<&str>, now: Timestamp) -> Option<SignedDuration> {
    distance(date?, now).filter(|skew| skew.abs() > MAX_SKEW)
}

/// By how much this host's clock is ahead of a response's `Date`.
pub(super) fn distance(date: &str, now: Timestamp) -> Option<SignedDuration> {
    let theirs = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(now.duration_since(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skew_of_clocks_is_read_from_the_date_header() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let date = |text| skew(Some(text), now);
        assert_eq!(date("Thu, 01 Jan 2026 12:04:00 GMT"), None);
        assert_eq!(
            date("Thu, 01 Jan 2026 11:00:00 GMT"),
            Some(SignedDuration::from_hours(1))
        );
        assert_eq!(date("yesterday"), None);
        assert_eq!(skew(None, now), None);
    }

    #[test]
    fn a_skewed_clock_is_said_in_words() {
        let text = StoreProblem::ClockSkew(SignedDuration::from_mins(-20)).to_string();
        assert!(text.contains("1200 s behind the store's"), "{text}");
    }
}
