//! Listens, and answers each connection in a tracked task.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{Request, StatusCode};
use http_body::Body as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use s3s::{
    Body, HttpError, HttpResponse,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::instrument::WithSubscriber as _;

use super::{guard, service::Service, tree::Tree};
use crate::stores::StoreCredentials;

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// For the TLS handshake, and for the head of each request.
const PATIENCE: Duration = Duration::from_secs(30);
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
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    service: S3Service,
    tree: Arc<Tree>,
    directory: PathBuf,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("directory", &self.directory)
            .field("address", &self.address)
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
        let tree =
            Tree::open(&directory)
                .map(Arc::new)
                .map_err(|source| EmbeddedError::Directory {
                    directory: directory.clone(),
                    source,
                })?;
        let listen = |source| EmbeddedError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let mut builder = S3ServiceBuilder::new(Service {
            tree: Arc::clone(&tree),
        });
        builder.set_auth(SimpleAuth::from_single(
            config.credentials.access_key_id,
            config.credentials.secret_access_key.as_str(),
        ));
        Ok(Self {
            listener,
            address,
            tls: config.tls.map(TlsAcceptor::from),
            service: builder.build(),
            tree,
            directory,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        let tasks = TaskTracker::new();
        let hard = CancellationToken::new();
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accept = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, self.listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                accepted = accept => accepted,
                () = cancel.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = Connection {
                        tls: self.tls.clone(),
                        service: self.service.clone(),
                        cancel: cancel.clone(),
                    };
                    let hard = hard.clone();
                    tasks.spawn(async move {
                        let _slot = slot;
                        tokio::select! {
                            () = connection.serve(stream) => {}
                            () = hard.cancelled() => {}
                        }
                    });
                }
                // Out of descriptors, most likely: some will be closed soon.
                Err(error) => {
                    tracing::warn!(%error, "the embedded store cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        tasks.close();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            hard.cancel();
            tasks.wait().await;
        }
    }
}

struct Connection {
    tls: Option<TlsAcceptor>,
    service: S3Service,
    cancel: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        // Small responses must not wait for the peer's acknowledgement.
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.answer(stream).await,
            Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.answer(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake timed out"),
            },
        }
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = self.service;
        let handler = service_fn(move |request| handle(service.clone(), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), handler);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.cancel.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection to the embedded store ended");
        }
    }
}

async fn handle(service: S3Service, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
    let (parts, body) = request.into_parts();
    match guard::check(&parts, body.size_hint().exact()) {
        Ok(()) => {
            let shown = format!("{} {}", parts.method, parts.uri.path());
            let request = Request::from_parts(parts, Body::from(body));
            // s3s logs every refusal as an error, a 404 like a broken disk.
            let silence = tracing::subscriber::NoSubscriber::default();
            let response = service.call(request).with_subscriber(silence).await?;
            let status = response.status();
            // What it does not do is the asker's mistake, or his check of us.
            if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
                let status = status.as_u16();
                tracing::error!(request = shown, status, "the embedded store failed");
            }
            Ok(response)
        }
        Err(refusal) => refusal
            .to_http_response()
            .map_err(|error| HttpError::new(Box::new(error))),
    }
}
