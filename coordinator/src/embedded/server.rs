//! Listens, and answers each connection in a tracked task.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use s3s::{
    Body, HttpError, S3Result,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::instrument::WithSubscriber as _;

use super::{bounds::Bounds, guard, service::Service, tree::Tree};
use crate::{
    door::{Connection, Door, Held, Origin, Visit},
    stores::StoreCredentials,
};

/// For the head of each request, and for the next one on an idle connection.
const HEAD: Duration = Duration::from_secs(30);
/// For requests under way when the server is asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// Where the embedded store listens and keeps its objects.
#[derive(Clone)]
pub struct EmbeddedConfig {
    /// A directory per bucket lies here; made if missing.
    pub directory: PathBuf,
    /// Port 0: any that is free.
    pub listen: SocketAddr,
    /// HTTPS with this, which must offer HTTP/1.1 only; `None`: plain HTTP, on
    /// loopback only.
    pub tls: Option<Arc<ServerConfig>>,
    /// The one access key.
    pub credentials: StoreCredentials,
    /// How many connections, how much and how slow.
    pub bounds: Bounds,
}

impl fmt::Debug for EmbeddedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedConfig")
            .field("directory", &self.directory)
            .field("listen", &self.listen)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// Why the embedded store does not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Plain HTTP is for this machine only.
    #[error(
        "the embedded store will not listen on {address} without TLS: \
         use a loopback address, or turn TLS on"
    )]
    PlainText {
        /// Where it should have listened.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("the embedded store cannot listen on {address}: {source}; is it in use?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The directory cannot be used.
    #[error("the embedded store cannot use {directory}: {source}")]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// An S3 endpoint that is bound and ready to [`serve`](Self::serve).
pub struct EmbeddedStore {
    door: Door,
    service: S3Service,
    bounds: Bounds,
    tree: Arc<Tree>,
    directory: PathBuf,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("directory", &self.directory)
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the directory and binds the address.
    pub async fn bind(config: EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let address = config.listen;
        if config.tls.is_none() && !address.ip().is_loopback() {
            return Err(EmbeddedError::PlainText { address });
        }
        let directory = config.directory;
        let tree = Tree::open(&directory, config.bounds.unfinished)
            .map(Arc::new)
            .map_err(|source| EmbeddedError::Directory {
                directory: directory.clone(),
                source,
            })?;
        let listen = |source| EmbeddedError::Listen { address, source };
        let limits = config.bounds.limits;
        let door = match config.tls {
            Some(tls) => Door::bind(address, tls, limits).await,
            None => Door::bind_plain(address, limits).await,
        };
        let door = door.map_err(listen)?;
        let mut builder = S3ServiceBuilder::new(Service {
            tree: Arc::clone(&tree),
            bounds: config.bounds,
        });
        builder.set_access(Access);
        builder.set_auth(SimpleAuth::from_single(
            config.credentials.access_key_id,
            config.credentials.secret_access_key.as_str(),
        ));
        Ok(Self {
            door,
            service: builder.build(),
            bounds: config.bounds,
            tree,
            directory,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Makes a bucket if it is not there.
    pub fn ensure_bucket(&self, bucket: &str) -> Result<(), EmbeddedError> {
        self.tree
            .create_bucket(bucket)
            .map(drop)
            .map_err(|source| EmbeddedError::Directory {
                directory: self.directory.join(bucket),
                source,
            })
    }

    /// Answers until `cancel`, then lets requests under way end.
    pub async fn serve(self, cancel: CancellationToken) {
        let (sender, mut connections) = mpsc::channel(16);
        let tasks = TaskTracker::new();
        let hard = CancellationToken::new();
        let answering = async {
            while let Some(connection) = connections.recv().await {
                let service = self.service.clone();
                let answer = answer(connection, service, self.bounds, cancel.clone());
                let hard = hard.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = answer => {}
                        () = hard.cancelled() => {}
                    }
                });
            }
        };
        tokio::join!(self.door.open(sender, cancel.clone()), answering);
        tasks.close();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            hard.cancel();
            tasks.wait().await;
        }
    }
}

/// Lets in whoever signed his request with our key; from then on his address
/// is known, and his connection gives way to nobody.
struct Access;

#[async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "the request is not signed"));
        }
        let recognised = context
            .extensions_mut()
            .get::<Visit>()
            .is_some_and(|visit| {
                let origin = Origin::of(visit.address().ip());
                visit.recognise(&origin.to_string())
            });
        if recognised {
            Ok(())
        } else {
            Err(s3_error!(SlowDown, "too many connections are open already"))
        }
    }
}

/// Answers a connection's requests until it ends or `cancel`.
async fn answer(
    connection: Connection,
    service: S3Service,
    bounds: Bounds,
    cancel: CancellationToken,
) {
    let visit = connection.visit().clone();
    let handler =
        service_fn(move |request| handle(service.clone(), visit.clone(), bounds, request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(connection), handler);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = cancel.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection to the embedded store ended");
    }
}

/// Answers one request. Its body and its answer have the time that their
/// lengths justify; whoever sends or reads more slowly is cut off.
async fn handle(
    service: S3Service,
    visit: Visit,
    bounds: Bounds,
    request: Request<Incoming>,
) -> Result<Response<Held<Body>>, HttpError> {
    let answering = visit.request();
    let by = |length: Option<u64>| {
        // Somewhat later than the body's own end, which has an answer.
        Instant::now() + bounds.allowance(length.unwrap_or(0)) + bounds.patience
    };
    let (mut parts, body) = request.into_parts();
    let length = body.size_hint().exact();
    visit.answer_by(by(length));
    let response = match guard::check(&parts, length) {
        Ok(()) => {
            let shown = format!("{} {}", parts.method, parts.uri.path());
            parts.extensions.insert(visit.clone());
            let request = Request::from_parts(parts, Body::from(body));
            // s3s logs every refusal as an error, a 404 like a broken disk.
            let silence = tracing::subscriber::NoSubscriber::default();
            let response = service.call(request).with_subscriber(silence).await?;
            let status = response.status();
            // What it does not do is the asker's mistake, or his check of us.
            match status {
                StatusCode::NOT_IMPLEMENTED => {}
                StatusCode::SERVICE_UNAVAILABLE => {
                    tracing::warn!(request = shown, "the embedded store has too much to do");
                }
                _ if status.is_server_error() => {
                    let status = status.as_u16();
                    tracing::error!(request = shown, status, "the embedded store failed");
                }
                _ => {}
            }
            response
        }
        Err(refusal) => refusal
            .to_http_response()
            .map_err(|error| HttpError::new(Box::new(error)))?,
    };
    visit.answer_by(by(response.body().size_hint().exact()));
    Ok(response.map(|body| Held::new(body, answering)))
}
