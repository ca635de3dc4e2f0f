//! SigV4 for exactly one S3 request.
//!
//! The signature covers verb, path, host, date, content hash and, where they
//! apply, content length, range, checksum and `if-none-match`. The service refuses any
//! other request under these headers, and any other body: S3 compares the
//! body with the signed `x-amz-content-sha256`. Whether a store does is found
//! out before anything is signed for it: [`crate::stores::check`].

use std::{fmt, time::SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams,
        SigningSettings, UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use jiff::{SignedDuration, Timestamp};
use strongroom_wire::grant::{Action, Grant};

use crate::stores::StoreConfig;

/// How long a store accepts what is signed for an operator, seconds. S3 services
/// allow 15 minutes between a request's date and their own clock; the rest is left
/// for clocks that differ.
pub const VALID_SECONDS: u32 = 600;
/// Grants of agents are dated so long ago: nothing else shortens the time for which
/// a store takes one, when its attempt has ended or its agent was revoked. A third
/// of the 15 minutes is left, for the way and for a store's clock that is fast. An
/// agent has each request signed just before it is sent, and once more when the
/// store finds it too old.
const DATED_BACK: SignedDuration = SignedDuration::from_mins(10);
/// For how much of those five minutes an agent may count on a grant, seconds.
pub const GRANT_SECONDS: u32 = 180;

/// The date of a grant that an agent gets `now`.
pub fn dated(now: Timestamp) -> Timestamp {
    now.saturating_sub(DATED_BACK).unwrap_or(Timestamp::MIN)
}

/// SHA-256 of no bytes: what a GET signs as its body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What is signed of a PUT besides its body's hash and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutTerms {
    /// `if-none-match: *`: it fails where an object stands already.
    pub only_new: bool,
    /// `x-amz-checksum-sha256`, without which a bucket with Object Lock takes
    /// nothing.
    pub checksum: bool,
}

/// Signs requests to one store.
pub struct Signer {
    store: StoreConfig,
    /// Scheme, host and, for path-style stores, the bucket; no trailing slash.
    base: String,
    /// As the `host` header will be.
    host: String,
    credentials: Credentials,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// A request that could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The endpoint of the store names no host.
    #[error(
        "the endpoint {endpoint:?} of store {store:?} names no host; write it as https://HOST[:PORT]"
    )]
    NoHost {
        /// Whose.
        store: String,
        /// What it says.
        endpoint: String,
    },
    /// Agents never delete.
    #[error("a DELETE is never signed")]
    Delete,
    /// The signing library refused.
    #[error("cannot sign a request to store {store:?}")]
    Signing {
        /// Which.
        store: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Signer {
    /// For requests to `store`.
    pub fn new(store: StoreConfig) -> Result<Self, SignError> {
        let no_host = || SignError::NoHost {
            store: store.name.clone(),
            endpoint: store.endpoint.to_string(),
        };
        let mut host = store.endpoint.host_str().ok_or_else(no_host)?.to_owned();
        if !store.path_style {
            host = format!("{}.{host}", store.bucket);
        }
        if let Some(port) = store.endpoint.port() {
            host = format!("{host}:{port}");
        }
        let mut base = format!("{}://{host}", store.endpoint.scheme());
        if store.path_style {
            base = format!("{base}/{}", store.bucket);
        }
        let credentials = Credentials::new(
            store.credentials.access_key_id.as_str(),
            store.credentials.secret_access_key.as_str(),
            store
                .credentials
                .session_token
                .as_ref()
                .map(|token| token.to_string()),
            None,
            "strongroom",
        );
        Ok(Self {
            store,
            base,
            host,
            credentials,
        })
    }

    /// The store whose requests are signed.
    pub fn store(&self) -> &StoreConfig {
        &self.store
    }

    /// Signs `action` on the object at `key`, a key of the bucket; a PUT on
    /// these terms.
    pub fn sign(
        &self,
        key: &str,
        action: &Action,
        terms: PutTerms,
        at: Timestamp,
    ) -> Result<Grant, SignError> {
        let url = format!("{}/{}", self.base, encode_path(key));
        let (method, sha256, mut headers) = match action {
            Action::Get { range } => {
                let range = range.map(|(first, last)| ("range", format!("bytes={first}-{last}")));
                ("GET", EMPTY_SHA256.to_owned(), Vec::from_iter(range))
            }
            Action::Head => ("HEAD", EMPTY_SHA256.to_owned(), Vec::new()),
            Action::Put { length, sha256 } => {
                let mut headers = vec![("content-length", length.to_string())];
                if terms.only_new {
                    headers.push(("if-none-match", "*".to_owned()));
                }
                if terms.checksum {
                    let sum = data_encoding::BASE64.encode(&sha256.0);
                    headers.push(("x-amz-checksum-sha256", sum));
                }
                ("PUT", sha256.to_string(), headers)
            }
            Action::Delete => return Err(SignError::Delete),
        };
        let signature = self.signature(method, &url, &headers, &sha256, at)?;
        headers.extend(signature);
        Ok(Grant {
            method: method.to_owned(),
            url,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            valid_seconds: VALID_SECONDS,
        })
    }

    /// The headers that the signature adds.
    pub(crate) fn signature(
        &self,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        sha256: &str,
        at: Timestamp,
    ) -> Result<Vec<(&'static str, String)>, SignError> {
        let failed = |source| SignError::Signing {
            store: self.store.name.clone(),
            source,
        };
        let refused = |source| failed(Box::new(source));
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.clone().into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.store.region)
            .name("s3")
            .time(SystemTime::from(at))
            .settings(settings)
            .build()
            .map_err(|error| failed(Box::new(error)))?
            .into();
        let signed_headers = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain(std::iter::once(("host", self.host.as_str())));
        let body = SignableBody::Precomputed(sha256.to_owned());
        let request = SignableRequest::new(method, url, signed_headers, body).map_err(refused)?;
        let (instructions, _) = sign(request, &params).map_err(refused)?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers
            .into_iter()
            .map(|header| (header.name(), header.value().to_owned()))
            .collect())
    }
}

/// Percent-encodes all of a key but unreserved characters and slashes, as
/// SigV4 wants it.
pub(crate) fn encode_path(key: &str) -> String {
    use fmt::Write as _;
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests;
