//! Accepts connections and shakes hands.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Connection, Limits, Visit, places::Places};

/// How long to wait for descriptors when there are none.
const PAUSE: Duration = Duration::from_millis(100);

/// A port that is bound.
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    /// `None`: plain, for this machine only.
    tls: Option<TlsAcceptor>,
    places: Arc<Places>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("address", &self.address)
            .field("limits", self.places.limits())
            .finish_non_exhaustive()
    }
}

impl Door {
    /// Binds the address; nobody is let in yet.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        limits: Limits,
    ) -> io::Result<Self> {
        Self::bind_with(address, Some(tls), limits).await
    }

    /// The same without TLS, which is for a loopback address: whoever asks
    /// must have seen to it.
    pub async fn bind_plain(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        Self::bind_with(address, None, limits).await
    }

    async fn bind_with(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        limits: Limits,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            tls: tls.map(TlsAcceptor::from),
            places: Arc::new(Places::new(limits)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets connections in until `cancel`: those that have shaken hands go to
    /// `sender`. A handshake counts as a stranger's connection.
    pub async fn open(self, sender: mpsc::Sender<Connection>, cancel: CancellationToken) {
        let handshakes = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = cancel.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let visit = Visit::begin(&self.places, address);
                    let limit = self.places.limits().handshake;
                    let (tls, sender, cancel) = (self.tls.clone(), sender.clone(), cancel.clone());
                    handshakes.spawn(async move {
                        let handed_over = async {
                            let tls = tls.as_ref();
                            if let Some(connection) = shake_hands(tls, stream, visit, limit).await {
                                // Fails only once the server has ended.
                                let _ = sender.send(connection).await;
                            }
                        };
                        tokio::select! {
                            () = handed_over => {}
                            () = cancel.cancelled() => {}
                        }
                    });
                }
                // Out of descriptors, most likely: some will be closed soon.
                Err(error) => {
                    tracing::warn!(%error, port = %self.address, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        handshakes.close();
        handshakes.wait().await;
    }
}

async fn shake_hands(
    tls: Option<&TlsAcceptor>,
    stream: TcpStream,
    visit: Visit,
    limit: Duration,
) -> Option<Connection> {
    let address = visit.address();
    // Small answers must not wait for the peer's acknowledgement.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Some(Connection::plain(stream, visit));
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limit, tls.accept(stream)) => shaken,
        over = visit.over() => {
            tracing::debug!(%address, reason = %over, "a TLS handshake was given up");
            return None;
        }
    };
    match shaken {
        Ok(Ok(stream)) => Some(Connection::tls(stream, visit)),
        Ok(Err(error)) => {
            tracing::info!(%address, %error, "refused a connection");
            None
        }
        Err(_) => {
            tracing::info!(%address, "a TLS handshake took too long");
            None
        }
    }
}
