//! The agents' port: TCP, TLS 1.3, HTTP/2, gRPC.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use strongroom_proto::v1::{
    agent_gateway_server::AgentGatewayServer, enrolment_server::EnrolmentServer,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::{Server, server::Connected};

use super::Gateway;
use crate::identity::{Caller, EnrolmentService, Peer};

/// TLS handshakes at a time; more wait to be accepted.
const MAX_HANDSHAKES: usize = 256;
/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a silent connection is asked for a sign of life, and how long
/// that may take.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The largest message: a batch of grants, a report with its warnings, the
/// entries of a listing.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// Why the agents' port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator cannot listen for agents on {address}: {source}; is it in use?")]
pub struct PortError {
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// The agents' port, bound and ready to [`serve`](Self::serve).
pub struct AgentPort {
    listener: TcpListener,
    address: SocketAddr,
    tls: TlsAcceptor,
}

impl fmt::Debug for AgentPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentPort")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl AgentPort {
    /// Binds the address. `tls` is [`crate::identity::Authority::agent_tls`].
    pub async fn bind(address: SocketAddr, tls: Arc<ServerConfig>) -> Result<Self, PortError> {
        let failed = |source| PortError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            listener,
            tls: TlsAcceptor::from(tls),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves both services until `cancel`; live sessions then get a goodbye.
    pub async fn serve(
        self,
        enrolment: EnrolmentService,
        gateway: Gateway,
        cancel: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let (sender, connections) = mpsc::channel(16);
        let accepting = accept(self.listener, self.tls, sender, cancel.clone());
        let sessions = gateway.sessions();
        let serving = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .tcp_nodelay(true)
            .add_service(EnrolmentServer::new(enrolment))
            .add_service(
                AgentGatewayServer::new(gateway)
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE),
            )
            .serve_with_incoming_shutdown(
                ReceiverStream::new(connections),
                cancel.clone().cancelled_owned(),
            );
        let (served, ()) = tokio::join!(serving, accepting);
        sessions.close();
        sessions.wait().await;
        served
    }
}

/// Accepts connections and shakes hands, many at a time, until `cancel`.
async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    sender: mpsc::Sender<io::Result<Connection>>,
    cancel: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = cancel.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let (tls, sender, cancel) = (tls.clone(), sender.clone(), cancel.clone());
                tasks.spawn(async move {
                    let handed_over = async {
                        if let Some(connection) = shake_hands(&tls, stream, address).await {
                            // Fails only once the server has ended.
                            let _ = sender.send(Ok(connection)).await;
                        }
                        drop(slot);
                    };
                    tokio::select! {
                        () = handed_over => {}
                        () = cancel.cancelled() => {}
                    }
                });
            }
            // Out of descriptors, most likely: some will be closed soon.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of an agent");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn shake_hands(
    tls: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<Connection> {
    // Grants must not wait for the peer's acknowledgement.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%address, %error, "refused a connection to the agents' port");
            return None;
        }
        Err(_) => {
            tracing::info!(%address, "a TLS handshake on the agents' port took too long");
            return None;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let caller = certificates
        .and_then(|chain| chain.first())
        .and_then(Caller::of);
    Some(Connection {
        stream,
        peer: Peer { address, caller },
    })
}

/// A TLS connection that knows its peer.
struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
