//! HTTPS around the API.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

/// For the headers of a request.
const HEADERS: Duration = Duration::from_secs(15);
/// How long requests under way may still take after the end was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// An HTTPS endpoint that is bound and ready to [`serve`](Self::serve).
#[derive(Debug)]
pub struct ApiServer {
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
}

impl ApiServer {
    /// Binds the address; nothing is answered yet.
    pub fn bind(address: SocketAddr, tls: Arc<ServerConfig>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            tls,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `cancel`, then lets requests under way end.
    pub async fn serve(self, router: Router, cancel: CancellationToken) -> io::Result<()> {
        let handle = Handle::new();
        let mut server =
            axum_server::from_tcp_rustls(self.listener, RustlsConfig::from_config(self.tls))?
                .handle(handle.clone());
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS);
        let server = server.serve(router.into_make_service());
        tokio::pin!(server);
        tokio::select! {
            ended = &mut server => return ended,
            () = cancel.cancelled() => handle.graceful_shutdown(Some(GRACE)),
        }
        server.await
    }
}
