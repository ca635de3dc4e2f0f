//! HTTPS around the API.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::door::{Attended, Connection, Door, Limits};

/// For the head of a request.
const HEAD: Duration = Duration::from_secs(15);
/// How large it may be, bytes.
const MAX_HEAD: u32 = 32 * 1024;
/// Requests at a time on one connection.
const STREAMS: u32 = 100;
/// How often a silent connection is asked for a sign of life, and how long
/// that may take.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long requests under way may still take after the end was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// An HTTPS endpoint that is bound and ready to [`serve`](Self::serve).
#[derive(Debug)]
pub struct ApiServer {
    door: Door,
}

impl ApiServer {
    /// Binds the address; nothing is answered yet.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        limits: Limits,
    ) -> io::Result<Self> {
        let door = Door::bind(address, tls, limits).await?;
        Ok(Self { door })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Answers until `cancel`, then lets requests under way end.
    pub async fn serve(self, router: Router, cancel: CancellationToken) {
        let (sender, mut connections) = mpsc::channel(16);
        let tasks = TaskTracker::new();
        let hard = CancellationToken::new();
        let answering = async {
            while let Some(connection) = connections.recv().await {
                let answer = answer(connection, router.clone(), cancel.clone());
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

/// Answers a connection's requests until it ends or `cancel`.
async fn answer(connection: Connection, router: Router, cancel: CancellationToken) {
    let address = connection.visit().address();
    let service = Attended::new(router, connection.visit().clone());
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD as usize);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    let serving =
        server.serve_connection(TokioIo::new(connection), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = cancel.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, error, "an operator's connection has ended");
    }
}
