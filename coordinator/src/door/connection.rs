//! A stream that ends when its visit is over.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::visit::{Over, Visit};

/// A connection that has shaken hands. Reading and writing fail once its visit
/// is over, whatever the peer does: whoever serves it then closes it.
pub struct Connection {
    stream: Stream,
    visit: Visit,
    over: BoxFuture<'static, Over>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.visit).finish()
    }
}

impl Connection {
    pub(super) fn tls(stream: TlsStream<TcpStream>, visit: Visit) -> Self {
        Self::new(Stream::Tls(Box::new(stream)), visit)
    }

    pub(super) fn plain(stream: TcpStream, visit: Visit) -> Self {
        Self::new(Stream::Plain(stream), visit)
    }

    fn new(stream: Stream, visit: Visit) -> Self {
        let watched = visit.clone();
        Self {
            stream,
            visit,
            over: Box::pin(async move { watched.over().await }),
        }
    }

    /// For those who answer its requests.
    pub fn visit(&self) -> &Visit {
        &self.visit
    }

    /// Fails once the visit is over; wakes whoever asks when it is.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.over.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(over) => {
                // Asked again, it must not be polled again.
                self.over = Box::pin(std::future::ready(over));
                let address = self.visit.address();
                tracing::debug!(%address, reason = %over, "closing a connection");
                Err(io::Error::new(io::ErrorKind::TimedOut, over))
            }
        }
    }

    /// The peer's certificate, which TLS has verified.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.stream {
            Stream::Tls(stream) => stream.get_ref().1.peer_certificates()?.first(),
            Stream::Plain(_) => None,
        }
    }
}

enum Stream {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

impl Stream {
    fn pinned(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Tls(stream) => Pin::new(&mut **stream),
            Self::Plain(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        self.stream.pinned().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        self.stream.pinned().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        self.stream.pinned().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.pinned().poll_shutdown(context)
    }
}
