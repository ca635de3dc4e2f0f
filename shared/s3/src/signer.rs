//! The signer: signs requests with credentials, for whoever holds some. An agent
//! holds none of a repository's store: there the coordinator signs.
//!
//! Source: "AWS Signature Version 4 for API requests", as S3 wants it: paths are
//! signed as they are sent, and the body's hash stands in `x-amz-content-sha256`.

use std::{borrow::Cow, fmt, time::SystemTime};

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use strongroom_runtime::clock::SharedClock;
use url::Url;
use zeroize::Zeroizing;

use crate::SignedRequest;

/// As the AWS tools take them from the environment.
#[derive(Clone)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret_access_key: Zeroizing<String>,
    /// `AWS_SESSION_TOKEN`
    pub session_token: Option<Zeroizing<String>>,
    /// `AWS_REGION`; most services other than Amazon's take `us-east-1`.
    pub region: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Signs any request with credentials.
#[derive(Clone, Debug)]
pub struct Signer {
    credentials: Credentials,
    clock: SharedClock,
}

/// A request that is to be signed. All of it is covered by the signature.
#[derive(Clone, Debug)]
pub struct Unsigned<'a> {
    /// `GET`, `PUT`, ….
    pub method: Method,
    /// Absolute, percent-encoded as by [`encode`](crate::location::encode).
    pub url: String,
    /// Name and value; `host` and what stands for the signature come besides.
    pub headers: &'a [(HeaderName, String)],
    /// What its body is.
    pub body: BodyHash,
}

/// What is signed of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyHash {
    /// There is none.
    Empty,
    /// Its SHA-256.
    Sha256([u8; 32]),
    /// Nothing: whoever sends it may send what he likes.
    Unsigned,
}

/// A request that cannot be signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignError {
    /// The signing library refused, or the request is none.
    #[error("the request cannot be signed: {0}")]
    Request(String),
    /// A header, or what of the credentials is one.
    #[error("the credentials hold characters that no header can")]
    Header,
}

impl Signer {
    /// Dates its signatures by `clock`.
    pub fn new(credentials: Credentials, clock: SharedClock) -> Self {
        Self { credentials, clock }
    }

    /// Signs one request, exactly as it is to be sent.
    pub fn sign(&self, request: Unsigned<'_>) -> Result<SignedRequest, SignError> {
        let host = host(&request.url)?;
        let given = request.headers.iter();
        let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
        let signable = SignableRequest::new(
            request.method.as_str(),
            Cow::from(&request.url),
            given.chain([("host", &*host)]),
            request.body.signable(),
        );
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers {
            headers.append(name, header_value(value)?);
        }
        headers.extend(self.signature(signable.map_err(refused)?)?);
        Ok(SignedRequest {
            method: request.method,
            url: request.url,
            headers,
        })
    }

    /// The headers that the signature adds.
    fn signature(&self, request: SignableRequest<'_>) -> Result<HeaderMap, SignError> {
        let identity = AwsCredentials::new(
            self.credentials.access_key_id.clone(),
            self.credentials.secret_access_key.as_str(),
            self.credentials.session_token.as_deref().cloned(),
            None,
            "environment",
        )
        .into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.credentials.region)
            .name("s3")
            .time(SystemTime::from(self.clock.now()))
            .settings(settings())
            .build()
            .map_err(refused)?
            .into();
        let (instructions, _) = sign(request, &params).map_err(refused)?.into_parts();
        instructions
            .headers()
            .map(|(name, value)| {
                let name = HeaderName::try_from(name).map_err(refused)?;
                Ok((name, header_value(value)?))
            })
            .collect()
    }
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings
}

impl BodyHash {
    fn signable(self) -> SignableBody<'static> {
        match self {
            Self::Empty => SignableBody::empty(),
            Self::Sha256(hash) => SignableBody::Precomputed(HEXLOWER.encode(&hash)),
            Self::Unsigned => SignableBody::UnsignedPayload,
        }
    }
}

/// `host[:port]`, as the client will say it.
fn host(url: &str) -> Result<String, SignError> {
    let url: Url = url.parse().map_err(refused)?;
    let host = url
        .host_str()
        .ok_or_else(|| refused("its URL names no host"))?;
    Ok(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn refused(error: impl fmt::Display) -> SignError {
    SignError::Request(error.to_string())
}

fn header_value(value: &str) -> Result<HeaderValue, SignError> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| SignError::Header)?;
    value.set_sensitive(true);
    Ok(value)
}
