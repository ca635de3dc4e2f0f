//! Channels to the coordinator: TCP and our own TLS (1.3 only, one trusted
//! certificate authority) below tonic's HTTP/2.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use crate::config::Address;

/// A coordinator that does not answer a SYN in this time is tried again later.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings on a quiet connection, so that a dead one is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A ping that is not answered in this time ends the connection.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Name, route or port.
    #[error(
        "cannot reach the coordinator at {address}: {source}; check the address, that \
         `strongroom serve` runs there, and that a firewall lets TCP through"
    )]
    Unreachable {
        /// As configured.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// The peer is not whom we trust, or does not trust us.
    #[error(
        "no trust between this agent and {address}: {source}; either another coordinator answers \
         there than that of this host's token or enrolment, or a certificate no longer holds: \
         check the address and both clocks, or enrol with a new token (`strongroom agents invite`)"
    )]
    Untrusted {
        /// As configured.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// Something that is not HTTP/2, or an address tonic does not take.
    #[error("{address} does not answer as a coordinator's port for agents: {problem}")]
    Protocol {
        /// As configured.
        address: Address,
        /// Why.
        problem: String,
    },
}

/// Connects; the channel reconnects by itself when it is used after a loss.
pub async fn connect(address: &Address, tls: Arc<ClientConfig>) -> Result<Channel, ConnectError> {
    let protocol = |problem: &dyn std::fmt::Display| ConnectError::Protocol {
        address: address.clone(),
        problem: problem.to_string(),
    };
    // TLS is ours, so tonic must take the scheme for plain.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| protocol(&error))?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let dialler = Dialler {
        address: address.clone(),
        tls,
    };
    endpoint
        .connect_with_connector(dialler)
        .await
        .map_err(|error| find_cause(&error).unwrap_or_else(|| protocol(&error)))
}

/// tonic wraps what the dialler said.
fn find_cause(error: &(dyn Error + 'static)) -> Option<ConnectError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref::<ConnectError>() {
            return Some(cause.duplicate());
        }
        next = error.source();
    }
    None
}

impl ConnectError {
    /// `io::Error` is not `Clone`; its kind and words are what we need.
    fn duplicate(&self) -> Self {
        let copy = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Self::Unreachable { address, source } => Self::Unreachable {
                address: address.clone(),
                source: copy(source),
            },
            Self::Untrusted { address, source } => Self::Untrusted {
                address: address.clone(),
                source: copy(source),
            },
            Self::Protocol { address, problem } => Self::Protocol {
                address: address.clone(),
                problem: problem.clone(),
            },
        }
    }
}

/// Dials TCP and TLS.
#[derive(Clone)]
struct Dialler {
    address: Address,
    tls: Arc<ClientConfig>,
}

impl Dialler {
    async fn dial(self) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectError> {
        let address = &self.address;
        let unreachable = |source| ConnectError::Unreachable {
            address: address.clone(),
            source,
        };
        let untrusted = |source| ConnectError::Untrusted {
            address: address.clone(),
            source,
        };
        let name = ServerName::try_from(address.host.clone())
            .map_err(|error| untrusted(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let connect = async {
            let tcp = TcpStream::connect((address.host.as_str(), address.port))
                .await
                .map_err(unreachable)?;
            tcp.set_nodelay(true).map_err(unreachable)?;
            TlsConnector::from(self.tls.clone())
                .connect(name, tcp)
                .await
                .map_err(untrusted)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(stream) => stream.map(TokioIo::new),
            Err(_) => Err(unreachable(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl tower::Service<Uri> for Dialler {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}
