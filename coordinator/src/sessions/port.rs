//! The agents' port: TLS 1.3, HTTP/2, gRPC.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use strongroom_proto::v1::{
    agent_gateway_server::AgentGatewayServer, enrolment_server::EnrolmentServer,
};
use strongroom_wire::MAX_MESSAGE_BYTES;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Connected};

use super::{
    Gateway,
    guard::{GuardLayer, MAX_ENROLMENT},
};
use crate::{
    door::{Connection, Door, Limits},
    identity::{EnrolmentService, Peer},
};

/// How often a silent connection is asked for a sign of life, and how long
/// that may take.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Calls at a time on one connection: an agent's jobs ask for one batch of
/// grants each, or a few.
const STREAMS: u32 = 100;
/// What a caller may send ahead of us, for one call and on one connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Names and values of a call's headers.
const HEADERS: u32 = 16 * 1024;
/// The largest answer: a page of a listing.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

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
    door: Door,
}

impl fmt::Debug for AgentPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AgentPort").field(&self.door).finish()
    }
}

impl AgentPort {
    /// Binds the address. `tls` is [`crate::identity::Authority::agent_tls`].
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        limits: Limits,
    ) -> Result<Self, PortError> {
        let door = Door::bind(address, tls, limits)
            .await
            .map_err(|source| PortError { address, source })?;
        Ok(Self { door })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Serves both services until `cancel`; live sessions then get a goodbye.
    pub async fn serve(
        self,
        enrolment: EnrolmentService,
        gateway: Gateway,
        cancel: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let (sender, connections) = mpsc::channel(16);
        let accepting = self.door.open(sender, cancel.clone());
        let sessions = gateway.sessions();
        let guard = GuardLayer::new(gateway.catalog());
        // Of what HTTP/2 allows a peer to abuse, the libraries' own bounds hold
        // for streams that are reset as soon as they are opened.
        let serving = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(HEADERS)
            .layer(guard)
            .add_service(EnrolmentServer::new(enrolment).max_decoding_message_size(MAX_ENROLMENT))
            .add_service(
                AgentGatewayServer::new(gateway)
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_ANSWER),
            )
            .serve_with_incoming_shutdown(
                ReceiverStream::new(connections).map(Ok::<_, io::Error>),
                cancel.clone().cancelled_owned(),
            );
        let (served, ()) = tokio::join!(serving, accepting);
        sessions.close();
        sessions.wait().await;
        served
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer::of(self)
    }
}
