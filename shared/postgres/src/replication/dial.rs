//! From an address to a connection, encrypted as `sslmode` says.
//!
//! Source: the PostgreSQL manual, 55.2.10 (SSL Session Encryption) and 34.19.1.

use std::{io, sync::Arc};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::{channel, wire::Wire};
use crate::connection::{Connection, Host, ServerError, SslMode};

/// A connection before anything was said on it.
pub(super) struct Dialled {
    pub(super) wire: Wire,
    pub(super) encrypted: bool,
    /// What binds a password exchange to it.
    pub(super) end_point: Option<Vec<u8>>,
}

impl Dialled {
    fn plain(wire: Wire) -> Self {
        Self {
            wire,
            encrypted: false,
            end_point: None,
        }
    }
}

/// Connects; unencrypted if `mode` says so, or if the way there is a socket
/// of this host.
pub(super) async fn dial(connection: &Connection, mode: SslMode) -> Result<Dialled, ServerError> {
    let address = &connection.address;
    let place = address.to_string();
    let unreachable = |error: io::Error| ServerError::Unreachable {
        place: place.clone(),
        cause: error.to_string(),
    };
    let no_tls = |cause: String| ServerError::Handshake {
        place: place.clone(),
        cause,
    };
    let host = match &address.host {
        Host::Tcp(host) => host,
        Host::Unix(directory) => {
            let socket = directory.join(format!(".s.PGSQL.{}", address.port));
            let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
            return Ok(Dialled::plain(Wire::new(Box::new(stream))));
        }
    };
    let connecting = TcpStream::connect((host.as_str(), address.port));
    let mut stream = connecting.await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    if mode == SslMode::Disable {
        return Ok(Dialled::plain(Wire::new(Box::new(stream))));
    }
    let config = connection.tls.client_config()?;
    match ask_for_tls(&mut stream).await.map_err(unreachable)? {
        b'S' => {}
        b'N' if mode == SslMode::Prefer => {
            return Ok(Dialled::plain(Wire::new(Box::new(stream))));
        }
        b'N' => return Err(no_tls("the server does not encrypt".into())),
        // Unencrypted words of who knows whom are not shown.
        _ => return Err(no_tls("the server does not answer as one does".into())),
    }
    let name = ServerName::try_from(host.clone()).map_err(|error| no_tls(error.to_string()))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = connecting
        .await
        .map_err(|error| no_tls(error.to_string()))?;
    let certificates = stream.get_ref().1.peer_certificates();
    Ok(Dialled {
        end_point: certificates.and_then(|all| channel::end_point(all.first()?)),
        encrypted: true,
        wire: Wire::new(Box::new(stream)),
    })
}

/// The server's answer, of one byte. No more is read: what follows is TLS, or
/// it is forged.
async fn ask_for_tls(stream: &mut TcpStream) -> io::Result<u8> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    stream.read_u8().await
}
