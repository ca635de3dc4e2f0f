//! A connection on which names are bytes.
//!
//! The driver speaks text. Where a name stands for bytes that are no UTF-8
//! ([`crate::name`]), those take its place here, on their way to the server: in
//! the names of the startup packet, in statements, and in parameters that are
//! text. Rows of a `COPY` are not touched. What comes back is read by
//! [`Text`](crate::name::Text).
//!
//! Messages: PostgreSQL manual, 55.7. All but the first begin with a byte of their
//! kind, then comes their length.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll, ready as poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, NoTlsError, TlsConnect, TlsStream},
};

use crate::name;

/// Where a name's odd bytes begin in UTF-8: U+10FF80 and all behind it.
const ODD: [&[u8]; 2] = [b"\xf4\x8f\xbe", b"\xf4\x8f\xbf"];
/// A statement; a statement to be prepared; parameters.
const QUERY: u8 = b'Q';
const PARSE: u8 = b'P';
const BIND: u8 = b'B';

/// See the module.
#[derive(Debug)]
pub(super) struct Named<S> {
    inner: S,
    /// The startup packet has passed.
    begun: bool,
    /// Of a message that is looked at, or of the head of one.
    held: Vec<u8>,
    /// Bytes of a message that passes as it is.
    passing: usize,
    /// On their way.
    out: Vec<u8>,
    sent: usize,
}

impl<S> Named<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            begun: false,
            held: Vec::new(),
            passing: 0,
            out: Vec::new(),
            sent: 0,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let (pass, behind) = bytes.split_at(self.passing.min(bytes.len()));
                self.out.extend_from_slice(pass);
                self.passing -= pass.len();
                bytes = behind;
                continue;
            }
            let head = if self.begun { 5 } else { 4 };
            let wanted = match length(&self.held, head) {
                None => head,
                Some(length) => length,
            };
            let (more, behind) = bytes.split_at((wanted - self.held.len()).min(bytes.len()));
            self.held.extend_from_slice(more);
            bytes = behind;
            self.look(head);
        }
    }

    /// Passes on what is held, once that is a message, or the head of one that
    /// is of no interest.
    fn look(&mut self, head: usize) {
        let Some(length) = length(&self.held, head) else {
            return;
        };
        let kind = if self.begun { self.held[0] } else { QUERY };
        if ![QUERY, PARSE, BIND].contains(&kind) {
            self.out.append(&mut self.held);
            self.passing = length - head;
        } else if self.held.len() >= length {
            let message = std::mem::take(&mut self.held);
            let body = &message[head..];
            if ODD
                .iter()
                .any(|odd| memchr::memmem::find(body, odd).is_some())
            {
                let body = match kind {
                    BIND => parameters(body).unwrap_or_else(|| body.to_vec()),
                    _ => bytes_of(body),
                };
                self.out.extend_from_slice(&message[..head - 4]);
                let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
                self.out.extend(length.to_be_bytes());
                self.out.extend(body);
            } else {
                self.out.extend(message);
            }
            self.begun = true;
        }
    }
}

/// Of a whole message with its kind, if that much of it is there.
fn length(held: &[u8], head: usize) -> Option<usize> {
    let length = held.get(head - 4..head)?.first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    // Less than its own length no message has.
    Some(length.max(4) + head - 4)
}

/// Text with names in it, among other bytes.
fn bytes_of(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        bytes.extend(name::encode(chunk.valid()));
        bytes.extend_from_slice(chunk.invalid());
    }
    bytes
}

/// Of a Bind message: the parameters that are text are taken for it, others are
/// left. `None`: it is not as the manual has it.
fn parameters(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut left = body;
    for _name in ["portal", "statement"] {
        let end = memchr::memchr(0, left)? + 1;
        out.extend_from_slice(left.split_off(..end)?);
    }
    let formats = u16::from_be_bytes(*left.first_chunk()?);
    out.extend_from_slice(left.split_off(..2 + 2 * usize::from(formats))?);
    let count = left.split_off(..2)?;
    out.extend_from_slice(count);
    for _ in 0..u16::from_be_bytes(*count.first_chunk()?) {
        let size = left.split_off(..4)?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*size.first_chunk()?)) else {
            out.extend_from_slice(size); // NULL
            continue;
        };
        let value = left.split_off(..length)?;
        match std::str::from_utf8(value) {
            Ok(text) if !value.contains(&0) => {
                let bytes = name::encode(text);
                out.extend(u32::try_from(bytes.len()).ok()?.to_be_bytes());
                out.extend(bytes);
            }
            _ => {
                out.extend_from_slice(size);
                out.extend_from_slice(value);
            }
        }
    }
    out.extend_from_slice(left);
    Some(out)
}

impl<S: AsyncWrite + Unpin> Named<S> {
    /// Until nothing is on its way.
    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let left = &self.out[self.sent..];
            let sent = poll!(Pin::new(&mut self.inner).poll_write(context, left))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Named<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Named<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll!(self.poll_out(context))?;
        self.take(bytes);
        // Whoever writes flushes, too: what is not sent now is sent then.
        match self.poll_out(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll!(self.poll_out(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll!(self.poll_out(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Named<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// What an unencrypted socket is where the driver expects an encrypted one.
#[derive(Debug)]
pub(super) struct Bare(Socket);

impl AsyncRead for Bare {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Bare {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl TlsStream for Bare {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Encrypts nothing. With direct negotiation, in which the driver hands the
/// socket over before it says a word, that is a connection without TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

impl MakeTlsConnect<Socket> for Plain {
    type Stream = Named<Bare>;
    type TlsConnect = Self;
    type Error = NoTlsError;

    fn make_tls_connect(&mut self, _host: &str) -> Result<Self, NoTlsError> {
        Ok(Self)
    }
}

impl TlsConnect<Socket> for Plain {
    type Stream = Named<Bare>;
    type Error = NoTlsError;
    type Future = Ready<Result<Named<Bare>, NoTlsError>>;

    fn connect(self, socket: Socket) -> Self::Future {
        ready(Ok(Named::new(Bare(socket))))
    }
}

/// Encrypts as `T` does.
#[derive(Debug, Clone)]
pub(super) struct Encrypted<T>(pub(super) T);

impl<T: MakeTlsConnect<Socket>> MakeTlsConnect<Socket> for Encrypted<T>
where
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
{
    type Stream = Named<T::Stream>;
    type TlsConnect = Encrypted<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, T::Error> {
        self.0.make_tls_connect(host).map(Encrypted)
    }
}

impl<T: TlsConnect<Socket>> TlsConnect<Socket> for Encrypted<T>
where
    T::Future: Send + 'static,
{
    type Stream = Named<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Named<T::Stream>, T::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let connecting = self.0.connect(socket);
        Box::pin(async move { connecting.await.map(Named::new) })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use postgres_protocol::{IsNull, message::frontend};

    use super::*;

    fn sent(messages: &[u8], pieces: usize) -> Vec<u8> {
        let mut named = Named::new(());
        for piece in messages.chunks(pieces) {
            named.take(piece);
        }
        assert!(named.held.is_empty() && named.passing == 0);
        named.out
    }

    /// Everything that is said with this name.
    fn said(name: &[u8]) -> BytesMut {
        let mut text = BytesMut::new();
        let name = String::from_utf8(name.to_vec()).unwrap();
        frontend::startup_message([("database", name.as_str())], &mut text).unwrap();
        frontend::query(&format!("TABLE \"{name}\""), &mut text).unwrap();
        frontend::parse("s0", &format!("SELECT '{name}'"), [25], &mut text).unwrap();
        let bound = frontend::bind(
            "",
            "s0",
            [1],
            [
                Some(name.as_bytes()),
                Some(&b"\0\xf4\x8f\xbf\xa9"[..]),
                None,
            ],
            |value, buffer| match value {
                Some(value) => {
                    buffer.extend_from_slice(value);
                    Ok(IsNull::No)
                }
                None => Ok(IsNull::Yes),
            },
            [1],
            &mut text,
        );
        assert!(bound.is_ok());
        frontend::CopyData::new(&b"\xf4\x8f\xbf\xa9"[..])
            .unwrap()
            .write(&mut text);
        frontend::sync(&mut text);
        text
    }

    #[test]
    fn odd_bytes_take_the_place_of_what_stands_for_them() {
        let name = name::decode(b"caf\xe9");
        let text = said(name.as_bytes());
        // The same with a name of as many bytes, which is then made odd.
        let expected = said(b"cafX");
        let mut expected = expected.to_vec();
        let mut at = 0;
        while let Some(found) = memchr::memmem::find(&expected[at..], b"cafX") {
            expected[at + found + 3] = 0xe9;
            at += found + 4;
        }
        for pieces in [1, 3, 7, text.len()] {
            assert_eq!(sent(&text, pieces), expected, "{pieces}");
        }
    }

    #[test]
    fn what_is_not_odd_passes_as_it_is() {
        let text = said("caf\u{e9} \u{10FF7F}".as_bytes());
        for pieces in [1, 5, text.len()] {
            assert_eq!(sent(&text, pieces), text.to_vec());
        }
    }
}
