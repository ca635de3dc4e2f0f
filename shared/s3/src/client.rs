//! The client: sends signed requests, and notices when nothing moves any more.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use strongroom_runtime::{buffers::Buffers, rate_limiter::RateLimiter};
use tokio::time::timeout;

use crate::{
    Payload, SignedRequest,
    body::{PiecewiseBody, Progress},
    error::{self, Failure, FailureKind},
    verbatim::{self, VerbatimClient},
};

/// The most bytes that an answer may have unless a request says otherwise:
/// packs and listings are smaller.
const MOST: u64 = 1 << 30;

/// Who we are.
pub(crate) const USER_AGENT: &str = concat!("strongroom/", env!("CARGO_PKG_VERSION"));

/// How to reach the service.
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
    /// Whether the proxies of the environment (`HTTPS_PROXY`, …) are heeded.
    pub proxies: bool,
}

impl HttpOptions {
    /// The usual patience: 10 s to connect, 30 s without progress; through the
    /// proxies of the environment.
    pub fn new(tls: rustls::ClientConfig) -> Self {
        Self {
            tls,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            idle_connections: 64,
            proxies: true,
        }
    }
}

/// A pool of connections; cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    verbatim: VerbatimClient,
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
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is sent.
    pub signed: &'a SignedRequest,
    /// Its body.
    pub body: Option<Payload<'a>>,
    /// Paces the body as it streams.
    pub upload: Option<&'a Arc<RateLimiter>>,
    /// Paces the answer's body as it streams.
    pub download: Option<&'a Arc<RateLimiter>>,
    /// Bytes that the answer's body may have; what is longer is refused.
    pub most: u64,
    /// Whose clock stands in the signature, for the error about a skewed one.
    pub signer: &'a str,
}

impl<'a> Request<'a> {
    /// Without a body, at any speed. `signer` is whose clock stands in the
    /// signature, as in "the clock of …".
    pub fn new(signed: &'a SignedRequest, signer: &'a str) -> Self {
        Self {
            signed,
            body: None,
            upload: None,
            download: None,
            most: MOST,
            signer,
        }
    }
}

/// A success, all of it.
#[derive(Debug)]
pub struct Answer<B = Bytes> {
    /// 2xx.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: B,
}

/// A success whose body is still on its way.
pub struct Incoming {
    /// 2xx.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    response: reqwest::Response,
    download: Option<Arc<RateLimiter>>,
    stall_timeout: Duration,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Opens no connection yet.
    pub fn new(options: HttpOptions) -> Result<Self, HttpSetupError> {
        let verbatim = VerbatimClient::new(&options);
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(options.tls)
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.idle_connections)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(USER_AGENT);
        if !options.proxies {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build()?,
            verbatim,
            stall_timeout: options.stall_timeout,
            buffers: Buffers::default(),
        })
    }

    /// Sends, and receives the whole answer, into memory that is used again.
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let answer = self.send_to_vec(request).await?;
        Ok(self.shared(answer))
    }

    /// Sends, and receives the whole answer, for whoever changes its bytes in
    /// place.
    pub async fn send_to_vec(&self, request: Request<'_>) -> Result<Answer<Vec<u8>>, Failure> {
        let incoming = self.open(request).await?;
        Ok(self.received(incoming, request.most).await?)
    }

    /// Receives the rest of an answer, of a gigabyte at most.
    pub async fn collect(&self, incoming: Incoming) -> Result<Answer, FailureKind> {
        let answer = self.received(incoming, MOST).await?;
        Ok(self.shared(answer))
    }

    fn shared(&self, answer: Answer<Vec<u8>>) -> Answer {
        Answer {
            status: answer.status,
            headers: answer.headers,
            body: self.buffers.share(answer.body),
        }
    }

    async fn received(
        &self,
        mut incoming: Incoming,
        most: u64,
    ) -> Result<Answer<Vec<u8>>, FailureKind> {
        let body = self.receive(&mut incoming, most).await?;
        Ok(Answer {
            status: incoming.status,
            headers: incoming.headers,
            body,
        })
    }

    /// Sends, and receives the answer's head.
    pub async fn open(&self, request: Request<'_>) -> Result<Incoming, Failure> {
        let progress = Progress::new();
        let response = tokio::select! {
            response = self.start(&request, &progress) => response?,
            () = progress.stalled(self.stall_timeout) => {
                return Err(stalled(self.stall_timeout, "sending").into());
            }
        };
        let mut incoming = Incoming {
            status: response.status(),
            headers: response.headers().clone(),
            response,
            download: None,
            stall_timeout: self.stall_timeout,
        };
        if !incoming.status.is_success() {
            let body = self.receive(&mut incoming, error::MOST).await;
            return Err(error::classify(
                incoming.status,
                &incoming.headers,
                &body.unwrap_or_default(),
                request.signed,
                request.signer,
            ));
        }
        incoming.download = request.download.cloned();
        Ok(incoming)
    }

    async fn start(
        &self,
        request: &Request<'_>,
        progress: &Arc<Progress>,
    ) -> Result<reqwest::Response, FailureKind> {
        let signed = request.signed;
        let mut headers = signed.headers.clone();
        let body = request.body.map(|body| {
            headers.insert(header::CONTENT_LENGTH, body.length().into());
            let pieces = PiecewiseBody::new(body, request.upload, progress);
            reqwest::Body::wrap(pieces)
        });
        if verbatim::is_needed(&signed.url) {
            return self.verbatim.send(signed, headers, body).await;
        }
        let mut builder = self.client.request(signed.method.clone(), &signed.url);
        if let Some(body) = body {
            builder = builder.body(body);
        }
        let response = builder.headers(headers).send().await;
        response.map_err(unwell)
    }

    /// All that comes, of `most` bytes.
    async fn receive(&self, incoming: &mut Incoming, most: u64) -> Result<Vec<u8>, FailureKind> {
        let stated = incoming.length();
        if stated.is_some_and(|length| length > most) {
            return Err(FailureKind::TooLong { most });
        }
        let mut bytes = self.buffers.buffer(stated.unwrap_or_default() as usize);
        while let Some(chunk) = incoming.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                return Err(FailureKind::TooLong { most });
            }
        }
        Ok(bytes)
    }
}

impl Incoming {
    /// Bytes of its body, if the service says so.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes; `None` once all have come.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FailureKind> {
        let chunk = timeout(self.stall_timeout, self.response.chunk())
            .await
            .map_err(|_| stalled(self.stall_timeout, "receiving"))?
            .map_err(unwell)?;
        if let (Some(chunk), Some(limiter)) = (&chunk, &self.download) {
            limiter.take(chunk.len() as u64).await;
        }
        Ok(chunk)
    }
}

fn stalled(limit: Duration, doing: &str) -> FailureKind {
    let seconds = limit.as_secs_f32();
    FailureKind::Network(format!("nothing moved for {seconds} s while {doing}"))
}

fn unwell(error: reqwest::Error) -> FailureKind {
    // The URL stands in our callers' errors already.
    network(&error.without_url())
}

/// What the network did to us: worth another try, unless the service's
/// certificate is not to be trusted.
pub(crate) fn network(error: &(dyn Error + 'static)) -> FailureKind {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refused) = certificate_refused(error) {
            return FailureKind::Untrusted(refused.to_string());
        }
        let said = error.to_string();
        if !message.contains(&said) {
            message = format!("{message}: {said}");
        }
        cause = error.source();
    }
    FailureKind::Network(message)
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
