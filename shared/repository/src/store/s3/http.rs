//! Sending signed requests, and noticing when nothing moves any more.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use strongroom_runtime::{buffers::Buffers, rate_limiter::RateLimiter};
use tokio::time::timeout;

use super::{
    body::{PiecewiseBody, Progress},
    error,
};
use crate::store::{Body, SignedRequest, StoreErrorKind};

/// The most bytes that a response may have: packs and listings are smaller.
const MOST: u64 = 1 << 30;

/// How to reach the store.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Whom to trust.
    pub tls: rustls::ClientConfig,
    /// To reach the service at all.
    pub connect_timeout: Duration,
    /// A request on which nothing moved for so long is given up.
    pub stall_timeout: Duration,
    /// Idle connections to keep.
    pub idle_connections: usize,
}

impl HttpOptions {
    /// The usual patience: 10 s to connect, 30 s without progress.
    pub fn new(tls: rustls::ClientConfig) -> Self {
        Self {
            tls,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            idle_connections: 64,
        }
    }
}

/// A pool of connections; cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    stall_timeout: Duration,
    buffers: Buffers,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// The HTTP client cannot be built from these options.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the S3 client: {0}")]
pub struct HttpSetupError(#[from] reqwest::Error);

/// A request, and what it needs on its way.
pub(super) struct Request<'a> {
    pub(super) signed: &'a SignedRequest,
    pub(super) body: Option<&'a Body>,
    pub(super) upload: Option<&'a Arc<RateLimiter>>,
    pub(super) download: Option<&'a Arc<RateLimiter>>,
    /// Whose clock stands in the signature.
    pub(super) signer: &'static str,
}

/// A success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A request that did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: StoreErrorKind,
    /// Whether a new signature may help.
    pub(super) expired: bool,
    /// The service does not know something of the request.
    pub(super) unknown: bool,
}

impl From<StoreErrorKind> for Failure {
    fn from(kind: StoreErrorKind) -> Self {
        Self {
            kind,
            expired: false,
            unknown: false,
        }
    }
}

impl HttpClient {
    /// Opens no connection yet.
    pub fn new(options: HttpOptions) -> Result<Self, HttpSetupError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(options.tls)
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.idle_connections)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            client,
            stall_timeout: options.stall_timeout,
            buffers: Buffers::default(),
        })
    }

    /// Sends, and receives the whole answer.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let progress = Progress::new();
        let sending = self.start(&request, &progress);
        let response = tokio::select! {
            response = sending => response.map_err(network)?,
            () = progress.stalled(self.stall_timeout) => return Err(self.stalled("sending").into()),
        };
        let status = response.status();
        let headers = response.headers().clone();
        if status.is_success() {
            let body = self.receive(response, request.download, MOST).await?;
            Ok(Answer {
                status,
                headers,
                body,
            })
        } else {
            let body = self
                .receive(response, None, error::MOST)
                .await
                .unwrap_or_default();
            let sent = request.signed;
            Err(error::classify(
                status,
                &headers,
                &body,
                sent,
                request.signer,
            ))
        }
    }

    fn start(
        &self,
        request: &Request<'_>,
        progress: &Arc<Progress>,
    ) -> impl Future<Output = Result<reqwest::Response, reqwest::Error>> + use<> {
        let signed = request.signed;
        let mut headers = signed.headers.clone();
        let mut builder = self.client.request(signed.method.clone(), &signed.url);
        if let Some(body) = request.body {
            headers.insert(header::CONTENT_LENGTH, body.length.into());
            let pieces = PiecewiseBody::new(body, request.upload, progress);
            builder = builder.body(reqwest::Body::wrap(pieces));
        }
        builder.headers(headers).send()
    }

    async fn receive(
        &self,
        mut response: reqwest::Response,
        limiter: Option<&Arc<RateLimiter>>,
        most: u64,
    ) -> Result<Bytes, StoreErrorKind> {
        let stated = response.content_length();
        if stated.is_some_and(|length| length > most) {
            let problem = format!("the store sends {} bytes", stated.unwrap_or_default());
            return Err(StoreErrorKind::Denied(problem));
        }
        let mut bytes = self.buffers.buffer(stated.unwrap_or_default() as usize);
        loop {
            let chunk = timeout(self.stall_timeout, response.chunk())
                .await
                .map_err(|_| self.stalled("receiving"))?
                .map_err(network)?;
            let Some(chunk) = chunk else {
                return Ok(self.buffers.share(bytes));
            };
            if let Some(limiter) = limiter {
                limiter.take(chunk.len() as u64).await;
            }
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                let problem = format!("the store sends more than {most} bytes");
                return Err(StoreErrorKind::Denied(problem));
            }
        }
    }

    fn stalled(&self, doing: &str) -> StoreErrorKind {
        let seconds = self.stall_timeout.as_secs_f32();
        StoreErrorKind::Transient(format!("nothing moved for {seconds} s while {doing}"))
    }
}

/// What the network did to us: worth another try, unless the store's
/// certificate is not to be trusted.
fn network(error: reqwest::Error) -> StoreErrorKind {
    // The URL stands in our own error already.
    let error = error.without_url();
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refused) = certificate_refused(error) {
            return StoreErrorKind::Denied(format!(
                "the store's certificate is not trusted ({refused}): check the endpoint and the CA certificates"
            ));
        }
        let said = error.to_string();
        if !message.contains(&said) {
            message = format!("{message}: {said}");
        }
        cause = error.source();
    }
    StoreErrorKind::Transient(message)
}

/// Looks into I/O errors, which hide what they wrap from `source`, and may
/// wrap each other.
fn certificate_refused<'a>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a rustls::CertificateError> {
    if let Some(rustls::Error::InvalidCertificate(refused)) = error.downcast_ref() {
        return Some(refused);
    }
    certificate_refused(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}
