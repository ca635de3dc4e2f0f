//! The failure: what an S3 service says when it refuses, and what that means for us.
//!
//! Source: "Error Responses", Amazon S3 API Reference; other services use the
//! same codes.

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use strongroom_runtime::checksum;
use url::Url;

use crate::{ByteRange, SignedRequest};

/// The most bytes of an error that are read.
pub(crate) const MOST: u64 = 64 << 10;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The service's own word for it, such as `NoSuchKey`; empty when it has
    /// none.
    pub code: String,
    /// Whether a new signature may help.
    pub expired: bool,
    /// The service does not know something of the request.
    pub unknown: bool,
}

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum FailureKind {
    /// The object or what else was named is not there.
    #[error("not found")]
    NotFound,
    /// The object holds fewer bytes than it should.
    #[error("truncated: {got} of {expected} bytes")]
    Truncated {
        /// Bytes that came.
        got: u64,
        /// Bytes that should have come.
        expected: u64,
    },
    /// The answer is longer than what was asked for can be.
    #[error("the store sends more than {most} bytes")]
    TooLong {
        /// Bytes that it may have.
        most: u64,
    },
    /// What the request made a condition (`if-none-match`, `if-match`) is not so.
    #[error("the object is not as the request demands: it is there already, or has changed")]
    Precondition,
    /// No room.
    #[error("no space left in the store")]
    Full,
    /// The service's certificate is not to be trusted; says why.
    #[error(
        "the store's certificate is not trusted ({0}): check the endpoint and the CA certificates"
    )]
    Untrusted(String),
    /// The service refused, and asking again will not help.
    #[error("{0}")]
    Denied(String),
    /// The service cannot be reached, or the connection broke or stood still: worth
    /// another try.
    #[error("{0}")]
    Network(String),
    /// The service asks for another try: 5xx, slow-down.
    #[error("{0}")]
    Busy(String),
}

impl FailureKind {
    /// Whether another try may do better.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Network(_) | Self::Busy(_))
    }
}

impl From<FailureKind> for Failure {
    fn from(kind: FailureKind) -> Self {
        Self {
            kind,
            code: String::new(),
            expired: false,
            unknown: false,
        }
    }
}

/// The XML of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ErrorXml {
    code: String,
    message: String,
    bucket_name: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    actual_object_size: Option<u64>,
}

/// Letters of a service's words that are shown; a hostile one may send many.
const SHOWN: usize = 300;

impl ErrorXml {
    fn cut(mut self) -> Self {
        let given = [&mut self.bucket_name, &mut self.endpoint, &mut self.region];
        let words = [&mut self.code, &mut self.message].into_iter();
        for text in words.chain(given.into_iter().flatten()) {
            if let Some((end, _)) = text.char_indices().nth(SHOWN) {
                text.truncate(end);
            }
        }
        self
    }
}

/// A URL for people: without query.
pub fn shown_url(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

/// What a refusal means.
pub(crate) fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    sent: &SignedRequest,
    signer: &str,
) -> Failure {
    let error: ErrorXml = quick_xml::de::from_reader(body).unwrap_or_default();
    let error = error.cut();
    let expired = matches!(
        error.code.as_str(),
        "RequestTimeTooSkewed" | "RequestExpired" | "ExpiredToken"
    ) || error.message.contains("Request has expired");
    let known = by_code(&error, headers, sent, signer);
    // A code that we know says what it is about.
    let unknown = known.is_none() && !expired && checksum::may_be_unknown(status.as_u16());
    Failure {
        kind: known.unwrap_or_else(|| by_status(status, &error, headers, sent)),
        code: error.code,
        expired,
        unknown,
    }
}

/// The failure that the body of a success tells of, if it does.
pub(crate) fn within(body: &[u8]) -> Option<Failure> {
    let error: ErrorXml = quick_xml::de::from_reader(body.trim_ascii_start()).ok()?;
    let ErrorXml { code, message, .. } = error.cut();
    (!code.is_empty()).then(|| Failure {
        code: code.clone(),
        ..FailureKind::Busy(format!("{code}: {message}")).into()
    })
}

fn by_code(
    error: &ErrorXml,
    headers: &HeaderMap,
    sent: &SignedRequest,
    signer: &str,
) -> Option<FailureKind> {
    use FailureKind::{Busy, Denied, Full, NotFound};
    let said = &error.message;
    Some(match error.code.as_str() {
        "NoSuchKey" => NotFound,
        "NoSuchBucket" => {
            let bucket = error.bucket_name.clone();
            let bucket = bucket.unwrap_or_else(|| bucket_of(&sent.url));
            Denied(format!(
                "the store has no bucket {bucket:?}: create it, or correct the store's endpoint and bucket"
            ))
        }
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Denied(format!(
            "access denied ({said}): check what the bucket's policy and the access key allow"
        )),
        "InvalidAccessKeyId" | "NotSignedUp" => Denied("the store does not know the access key id: check the store's credentials".into()),
        "SignatureDoesNotMatch" => Denied(
            "the store does not accept the signature: check the secret access key, and that no proxy changes requests"
                .into(),
        ),
        "InvalidToken" | "ExpiredToken" => Denied(format!(
            "the store does not accept the session token ({said}): get a new one"
        )),
        "RequestTimeTooSkewed" => Denied(skew(headers, sent, signer)),
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Denied(elsewhere(error, headers)),
        "SecondLevelDomainForbidden" | "VirtualHostDomainRequired" => Denied(
            "the service takes the bucket in front of its host's name only: set path_style = false \
             for the store, or --addressing virtual-host for `offline`"
                .into(),
        ),
        "InvalidRange" => range(error, headers, sent),
        "InvalidObjectState" => Denied("the object is archived: bring it back from the archive first".into()),
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" | "StorageFull" => Full,
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "RequestTimeTooLong"
        | "OperationAborted" | "Throttling" | "RequestLimitExceeded" | "IncompleteBody"
        | "ConditionalRequestConflict"
        // The body was damaged on its way: ours is hashed.
        | "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" => {
            Busy(format!("{}: {said}", error.code))
        }
        _ => return None,
    })
}

fn by_status(
    status: StatusCode,
    error: &ErrorXml,
    headers: &HeaderMap,
    sent: &SignedRequest,
) -> FailureKind {
    let said = match (error.code.as_str(), error.message.as_str()) {
        ("", _) => format!("the store answered {status}"),
        (code, message) => format!("the store answered {status}: {code}: {message}"),
    };
    match status {
        StatusCode::NOT_FOUND if error.code.is_empty() => FailureKind::NotFound,
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => FailureKind::Denied(elsewhere(error, headers)),
        StatusCode::RANGE_NOT_SATISFIABLE => range(error, headers, sent),
        StatusCode::INSUFFICIENT_STORAGE => FailureKind::Full,
        StatusCode::PRECONDITION_FAILED => FailureKind::Precondition,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => {
            FailureKind::Busy(said)
        }
        StatusCode::NOT_IMPLEMENTED => FailureKind::Denied(said),
        StatusCode::FORBIDDEN if error.code.is_empty() => FailureKind::Denied(format!(
            "access denied to bucket {:?}: check its policy and the access key",
            bucket_of(&sent.url)
        )),
        status if status.is_server_error() => FailureKind::Busy(said),
        _ => FailureKind::Denied(said),
    }
}

/// The first segment of the path: we use path style.
fn bucket_of(url: &str) -> String {
    Url::parse(url)
        .ok()
        .and_then(|url| url.path_segments()?.next().map(str::to_owned))
        .unwrap_or_default()
}

fn elsewhere(error: &ErrorXml, headers: &HeaderMap) -> String {
    let region = error.region.clone().or_else(|| {
        let region = headers.get("x-amz-bucket-region")?.to_str().ok()?;
        Some(region.to_owned())
    });
    match (region, &error.endpoint) {
        (Some(region), _) => {
            format!("the bucket is in region {region:?}: correct the store's region and endpoint")
        }
        (None, Some(endpoint)) => {
            format!("the bucket is served at {endpoint:?}: correct the store's endpoint")
        }
        (None, None) => format!(
            "the bucket is in another region or at another endpoint ({}): correct the store's region and endpoint",
            error.message
        ),
    }
}

/// The object ends before the range does.
fn range(error: &ErrorXml, headers: &HeaderMap, sent: &SignedRequest) -> FailureKind {
    // `Content-Range: bytes */<size>`
    let size = error.actual_object_size.or_else(|| {
        let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
        value.rsplit('/').next()?.parse().ok()
    });
    // `Range: bytes=<first>-<last>`
    let asked = sent.headers.get(header::RANGE).and_then(|value| {
        let (first, last) = value
            .to_str()
            .ok()?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?))
    });
    let (first, last) = asked.unwrap_or_default();
    FailureKind::Truncated {
        got: size.unwrap_or_default().saturating_sub(first),
        expected: ByteRange { first, last }.length(),
    }
}

/// Tells both clocks, so that one sees which is wrong.
fn skew(headers: &HeaderMap, sent: &SignedRequest, signer: &str) -> String {
    let text = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let unknown = || "an unknown time".to_owned();
    format!(
        "clocks differ too much: it is {} by the store's clock, and the request is dated {} by the clock of {signer}: set the wrong one right (NTP)",
        text(headers, "date").unwrap_or_else(unknown),
        text(&sent.headers, "x-amz-date").unwrap_or_else(unknown),
    )
}
