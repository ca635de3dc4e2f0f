//! An authority that signs with credentials of its own: for the agent's
//! `offline` command alone, when there is no coordinator. **Nothing else in
//! this crate, and nothing in the agent's daemon, holds storage credentials.**

use std::{
    borrow::Cow,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use futures::future::{BoxFuture, ready};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use strongroom_layout::{Directory, ObjectName};
use strongroom_runtime::clock::SharedClock;
use zeroize::Zeroizing;

use super::{
    HttpClient, error,
    http::{Answer, Failure, Request},
    listing,
    location::{S3Location, encode},
};
use crate::store::{Authority, Listed, S3Request, SignedRequest, StoreError, StoreErrorKind};

/// Whose clock stands in our signatures.
const SIGNER: &str = "this host";

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

/// Signs with credentials, lists and removes by itself.
#[derive(Debug)]
pub struct CredentialAuthority {
    location: S3Location,
    credentials: Credentials,
    client: HttpClient,
    clock: SharedClock,
    /// A bucket with Object Lock takes no PUT without a checksum; some services
    /// take none with one.
    checksums: AtomicBool,
}

impl CredentialAuthority {
    /// `client` is used for listing and removing.
    pub fn new(
        location: S3Location,
        credentials: Credentials,
        client: HttpClient,
        clock: SharedClock,
    ) -> Self {
        Self {
            location,
            credentials,
            client,
            clock,
            checksums: AtomicBool::new(true),
        }
    }

    fn sign_request(
        &self,
        method: Method,
        url: String,
        extra: &[(HeaderName, String)],
        body: SignableBody<'_>,
    ) -> Result<SignedRequest, StoreErrorKind> {
        let failed = |error: &dyn fmt::Display| {
            StoreErrorKind::Denied(format!("the request cannot be signed: {error}"))
        };
        let identity = AwsCredentials::new(
            self.credentials.access_key_id.clone(),
            self.credentials.secret_access_key.as_str(),
            self.credentials.session_token.as_deref().cloned(),
            None,
            "environment",
        )
        .into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.credentials.region)
            .name("s3")
            .time(SystemTime::from(self.clock.now()))
            .settings(settings)
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let host = self.location.host();
        let headers = extra
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain([("host", host.as_str())]);
        let request = SignableRequest::new(method.as_str(), Cow::from(&url), headers, body)
            .map_err(|error| failed(&error))?;
        let (instructions, _) = sign(request, &params)
            .map_err(|error| failed(&error))?
            .into_parts();
        let mut headers = HeaderMap::new();
        for (name, value) in extra {
            headers.insert(name, header_value(value)?);
        }
        for (name, value) in instructions.headers() {
            let name = HeaderName::try_from(name).map_err(|error| failed(&error))?;
            headers.insert(name, header_value(value)?);
        }
        Ok(SignedRequest {
            method,
            url,
            headers,
        })
    }

    fn sign_object(&self, request: S3Request) -> Result<SignedRequest, StoreError> {
        let (operation, object, result) = match request {
            S3Request::Get { object, range } => {
                let range = range.map(|range| {
                    let value = format!("bytes={}-{}", range.first, range.last);
                    (header::RANGE, value)
                });
                let url = self.location.object_url(object);
                let extra: Vec<_> = range.into_iter().collect();
                let signed = self.sign_request(Method::GET, url, &extra, SignableBody::empty());
                ("get", object, signed)
            }
            S3Request::Head { object } => {
                let url = self.location.object_url(object);
                let signed = self.sign_request(Method::HEAD, url, &[], SignableBody::empty());
                ("head", object, signed)
            }
            S3Request::Put {
                object,
                length,
                sha256,
            } => {
                let url = self.location.object_url(object);
                let mut extra = vec![(header::CONTENT_LENGTH, length.to_string())];
                if self.checksums.load(Ordering::Relaxed) {
                    let sum = data_encoding::BASE64.encode(&sha256.0);
                    extra.push((HeaderName::from_static("x-amz-checksum-sha256"), sum));
                }
                let body = SignableBody::Precomputed(sha256.to_string());
                (
                    "put",
                    object,
                    self.sign_request(Method::PUT, url, &extra, body),
                )
            }
        };
        result.map_err(|kind| StoreError::new(operation, object, kind))
    }

    async fn send(&self, method: Method, url: String) -> Result<Answer, StoreErrorKind> {
        let signed = self.sign_request(method, url, &[], SignableBody::empty())?;
        let request = Request {
            signed: &signed,
            body: None,
            upload: None,
            download: None,
            signer: SIGNER,
        };
        self.client
            .send(request)
            .await
            .map_err(|failure: Failure| failure.kind)
    }

    async fn list_pages(&self, directory: Directory) -> Result<Vec<Listed>, StoreErrorKind> {
        let directory_key = self.location.key(&format!("{directory}/"));
        let first = format!(
            "{}?list-type=2&prefix={}",
            self.location.bucket_url(),
            encode(&directory_key, false)
        );
        let mut listed = Vec::new();
        let mut url = first.clone();
        loop {
            let answer = self.send(Method::GET, url).await?;
            let next = listing::add_page(&answer.body, directory, &directory_key, &mut listed)?;
            match next {
                Some(token) => {
                    url = format!("{first}&continuation-token={}", encode(&token, false));
                }
                None => return Ok(listed),
            }
        }
    }
}

fn header_value(value: &str) -> Result<HeaderValue, StoreErrorKind> {
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        StoreErrorKind::Denied("the credentials hold characters that no header can".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl Authority for CredentialAuthority {
    fn sign(&self, request: S3Request) -> BoxFuture<'_, Result<SignedRequest, StoreError>> {
        Box::pin(ready(self.sign_object(request)))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        Box::pin(async move {
            self.list_pages(directory).await.map_err(|kind| {
                let place = format!("{}/{directory}", self.location);
                StoreError::new("list", place, kind)
            })
        })
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let url = self.location.object_url(object);
            match self.send(Method::DELETE, url.clone()).await {
                Ok(_) | Err(StoreErrorKind::NotFound) => Ok(()),
                Err(kind) => Err(StoreError::new("remove", error::shown_url(&url), kind)),
            }
        })
    }

    fn simplify(&self) -> bool {
        self.checksums.swap(false, Ordering::Relaxed)
    }

    fn signer(&self) -> &'static str {
        SIGNER
    }
}
