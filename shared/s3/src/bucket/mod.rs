//! The bucket: typed requests to one, signed with credentials of its own.
//!
//! - [`list`]: `ListObjectsV2` and `ListObjectVersions`, a page at a time,
//! - [`object`]: `GET`, `HEAD`, `PUT`, `DELETE`,
//! - [`multipart`]: large objects in parts,
//! - [`tagging`]: an object's tags.
//!
//! Keys are bytes: what a listing gives is what a request asks for, dots and slashes
//! included. (S3 takes UTF-8 alone; who lists by a prefix that is none gets the
//! service's refusal.) Nothing is tried again but a request whose signature has
//! become too old, once: see [`FailureKind::is_retryable`](crate::FailureKind::is_retryable).

pub mod list;
pub mod multipart;
pub mod object;
pub mod tagging;

use std::{fmt, sync::Arc};

use http::{HeaderName, Method, header};
use strongroom_runtime::rate_limiter::RateLimiter;

use self::object::Content;
use crate::{
    Answer, BodyHash, Failure, FailureKind, HttpClient, Incoming, Payload, Request, S3Location,
    SignedRequest, Signer, Unsigned, location::encode,
};

/// Whose clock stands in our signatures.
const SIGNER: &str = "this host";

/// One bucket, whole: a location's prefix does not count.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: HttpClient,
    location: S3Location,
    signer: Signer,
    upload: Option<Arc<RateLimiter>>,
    download: Option<Arc<RateLimiter>>,
}

/// A request to a bucket failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {object}: {failure}")]
pub struct BucketError {
    /// `get`, `list`, ….
    pub operation: &'static str,
    /// The URL of the object or the bucket, for people.
    pub object: String,
    /// What went wrong.
    #[source]
    pub failure: Failure,
}

impl BucketError {
    /// Whether another try may do better.
    pub fn is_retryable(&self) -> bool {
        self.failure.kind.is_retryable()
    }

    /// Whether what was named is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.failure.kind, FailureKind::NotFound)
    }
}

/// An object, or a version of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectRef<'a> {
    /// Its key, byte for byte.
    pub key: &'a [u8],
    /// Which version; `None` is the latest.
    pub version: Option<&'a str>,
}

impl<'a> ObjectRef<'a> {
    /// The latest version of what lies at `key`.
    pub fn latest(key: &'a [u8]) -> Self {
        Self { key, version: None }
    }
}

impl fmt::Display for ObjectRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.key))?;
        match self.version {
            Some(version) => write!(f, " (version {version})"),
            None => Ok(()),
        }
    }
}

/// A parameter of a URL's query.
type Parameter<'a> = (&'static str, &'a [u8]);

/// What is asked of the bucket.
struct Ask<'a> {
    operation: &'static str,
    method: Method,
    object: Option<ObjectRef<'a>>,
    query: Vec<Parameter<'a>>,
    headers: Vec<(HeaderName, String)>,
    body: Option<(Payload<'a>, [u8; 32])>,
}

impl<'a> Ask<'a> {
    fn new(operation: &'static str, method: Method, object: Option<ObjectRef<'a>>) -> Self {
        let version = object.and_then(|object| object.version);
        let version = version.map(|version| ("versionId", version.as_bytes()));
        Self {
            operation,
            method,
            object,
            query: Vec::from_iter(version),
            headers: Vec::new(),
            body: None,
        }
    }

    fn body(mut self, body: Payload<'a>, sha256: [u8; 32]) -> Self {
        let length = body.length().to_string();
        self.headers.push((header::CONTENT_LENGTH, length));
        self.body = Some((body, sha256));
        self
    }

    fn content(mut self, content: &Content<'a>) -> Self {
        self.headers.extend_from_slice(content.headers);
        self.body(content.body, content.sha256)
    }

    fn url(&self, location: &S3Location) -> String {
        let mut url = match self.object {
            Some(object) => location.object_url(object.key),
            None => format!("{}/", location.bucket_url()),
        };
        for (number, (name, value)) in self.query.iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            url.push(mark);
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value, false));
        }
        url
    }
}

impl Bucket {
    /// Speaks to the bucket of `location`.
    pub fn new(client: HttpClient, location: S3Location, signer: Signer) -> Self {
        Self {
            client,
            location,
            signer,
            upload: None,
            download: None,
        }
    }

    /// Paces bodies as they stream; a limiter may be shared with others.
    #[must_use]
    pub fn throttled(
        mut self,
        upload: Option<Arc<RateLimiter>>,
        download: Option<Arc<RateLimiter>>,
    ) -> Self {
        self.upload = upload;
        self.download = download;
        self
    }

    /// Where it is.
    pub fn location(&self) -> &S3Location {
        &self.location
    }

    fn sign(&self, ask: &Ask<'_>) -> Result<SignedRequest, Failure> {
        let unsigned = Unsigned {
            method: ask.method.clone(),
            url: ask.url(&self.location),
            headers: &ask.headers,
            body: ask
                .body
                .map_or(BodyHash::Empty, |(_, sha256)| BodyHash::Sha256(sha256)),
        };
        let signed = self.signer.sign(unsigned);
        signed.map_err(|error| FailureKind::Denied(error.to_string()).into())
    }

    async fn open_once(&self, ask: &Ask<'_>) -> Result<Incoming, Failure> {
        let signed = self.sign(ask)?;
        let request = Request {
            body: ask.body.map(|(body, _)| body),
            upload: self.upload.as_ref(),
            download: self.download.as_ref(),
            ..Request::new(&signed, SIGNER)
        };
        self.client.open(request).await
    }

    /// Sends, and receives the answer's head.
    async fn open(&self, ask: &Ask<'_>) -> Result<Incoming, BucketError> {
        let opened = match self.open_once(ask).await {
            Err(failure) if failure.expired => self.open_once(ask).await,
            opened => opened,
        };
        opened.map_err(|failure| self.failed(ask, failure))
    }

    /// Sends, and receives the whole answer.
    async fn send(&self, ask: &Ask<'_>) -> Result<Answer, BucketError> {
        let incoming = self.open(ask).await?;
        let answer = self.client.collect(incoming).await;
        answer.map_err(|kind| self.failed(ask, kind))
    }

    fn failed(&self, ask: &Ask<'_>, failure: impl Into<Failure>) -> BucketError {
        let bucket = self.location.bucket_url();
        let object = match ask.object {
            Some(object) => format!("{bucket}/{object}"),
            None => bucket,
        };
        BucketError {
            operation: ask.operation,
            object,
            failure: failure.into(),
        }
    }
}
