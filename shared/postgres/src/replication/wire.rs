//! Messages in and out of a connection.

use std::{
    error::Error,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::{COPY_DATA_TAG, Header, Message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Servers send the log in messages of 128 KiB; whatever announces more than
/// this is no server.
const LONGEST_MESSAGE: usize = 64 << 20;
/// Tag and length.
const MESSAGE_HEADER: usize = 5;
/// Room for what is read at a time, in bytes: a message of the log, and more.
const ROOM: usize = 256 << 10;
/// Less room than this is made more.
const LEAST_ROOM: usize = 16 << 10;
/// `CopyBothResponse`, which `postgres_protocol` does not know.
const COPY_BOTH_TAG: u8 = b'W';

/// What connections are made of.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A message from the server.
pub(super) enum Received {
    /// Both sides may send data now.
    CopyBoth,
    /// What the log comes in.
    Data(Bytes),
    /// Any other.
    Message(Message),
}

/// A connection, with what of messages has come and what is to go. Errors of
/// the kind [`io::ErrorKind::InvalidData`] are messages that make no sense.
pub(super) struct Wire {
    stream: Box<dyn Duplex>,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// All that was taken of `outgoing` has left.
    flushed: bool,
    /// The server hears no more. What it said before it went is still to be
    /// read, and tells more than this.
    deaf: Option<io::Error>,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Duplex>) -> Self {
        Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            flushed: true,
            deaf: None,
        }
    }

    /// Where messages are put that the next [`Wire::receive`] or
    /// [`Wire::flush`] sends.
    pub(super) fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    /// Sends what is to go. Cancel-safe: what has not gone goes later. A
    /// connection that broke is noticed by whoever receives.
    pub(super) async fn flush(&mut self) {
        poll_fn(|context| self.poll_flush(context)).await;
    }

    /// The next message; sends what is to go meanwhile. Cancel-safe: what has
    /// come stays.
    pub(super) async fn receive(&mut self) -> io::Result<Received> {
        loop {
            if let Some(received) = self.parse()? {
                return Ok(received);
            }
            let read = poll_fn(|context| {
                // A server that does not read now may do so when we have read.
                let _ = self.poll_flush(context);
                pin!(self.stream.read_buf(&mut self.incoming)).poll(context)
            });
            if read.await? == 0 {
                let closed =
                    || io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it");
                return Err(self.deaf.take().unwrap_or_else(closed));
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.poll_write(context) {
            Poll::Ready(Err(error)) => {
                self.deaf.get_or_insert(error);
                Poll::Ready(())
            }
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf.is_some() {
            self.outgoing.clear();
            return Poll::Ready(Ok(()));
        }
        let mut stream = Pin::new(&mut self.stream);
        while !self.outgoing.is_empty() {
            self.flushed = false;
            match stream.as_mut().poll_write(context, &self.outgoing) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.outgoing.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if !self.flushed {
            match stream.poll_flush(context) {
                Poll::Ready(Ok(())) => self.flushed = true,
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a message off what has come; or makes room for the rest of it.
    fn parse(&mut self) -> io::Result<Option<Received>> {
        let Some(header) = Header::parse(&self.incoming)? else {
            self.make_room(LEAST_ROOM);
            return Ok(None);
        };
        let body = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if body > LONGEST_MESSAGE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a message of {body} bytes is longer than any of a server"),
            ));
        }
        // The length counts itself, but not the tag.
        let length = body + 1;
        if self.incoming.len() < length {
            // No more than came already, or than is read at a time: a length is
            // only a claim.
            let most = self.incoming.len().max(ROOM);
            self.make_room((length - self.incoming.len()).clamp(LEAST_ROOM, most));
            return Ok(None);
        }
        Ok(Some(match header.tag() {
            COPY_BOTH_TAG => {
                self.incoming.advance(length);
                Received::CopyBoth
            }
            COPY_DATA_TAG => {
                let mut message = self.incoming.split_to(length).freeze();
                message.advance(MESSAGE_HEADER);
                Received::Data(message)
            }
            _ => {
                let message = Message::parse(&mut self.incoming).map_err(nonsense)?;
                Received::Message(message.ok_or(io::ErrorKind::InvalidData)?)
            }
        }))
    }

    /// For at least `wanted` more bytes.
    fn make_room(&mut self, wanted: usize) {
        if self.incoming.capacity() - self.incoming.len() < wanted {
            self.incoming.reserve(wanted.max(ROOM));
        }
    }
}

/// It is TLS that failed.
pub(super) fn is_tls(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}

/// Parsers call it by several names.
fn nonsense(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn data(body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [b"d", &length[..], body].concat()
    }

    #[tokio::test]
    async fn messages_come_whole_however_they_were_sent_and_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(Box::new(ours));
        let bodies = [vec![1; 3], Vec::new(), vec![2; 300_000]];
        let sent: Vec<u8> = bodies.iter().flat_map(|body| data(body)).collect();
        let mut received = Vec::new();
        for piece in sent.chunks(997) {
            theirs.write_all(piece).await.unwrap();
            // Given up whenever there is no whole message.
            while let Poll::Ready(message) =
                poll_fn(|context| Poll::Ready(pin!(wire.receive()).poll(context))).await
            {
                let Ok(Received::Data(body)) = message else {
                    panic!("another message");
                };
                received.push(body.to_vec());
            }
        }
        assert_eq!(received, bodies);
    }

    #[tokio::test]
    async fn what_is_given_up_while_it_is_sent_is_sent_later() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut wire = Wire::new(Box::new(ours));
        let sent: Vec<u8> = (0..200).collect();
        wire.outgoing().extend_from_slice(&sent);
        let mut arrived = Vec::new();
        while arrived.len() < sent.len() {
            let _given_up =
                poll_fn(|context| Poll::Ready(pin!(wire.receive()).poll(context))).await;
            let mut piece = [0; 50];
            let length = theirs.read(&mut piece).await.unwrap();
            arrived.extend_from_slice(&piece[..length]);
        }
        assert_eq!(arrived, sent);
    }

    #[tokio::test]
    async fn what_a_server_said_before_it_went_is_read() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let mut wire = Wire::new(Box::new(ours));
        theirs.write_all(&data(b"farewell")).await.unwrap();
        drop(theirs);
        wire.outgoing().extend_from_slice(b"for nobody");
        wire.flush().await;
        wire.outgoing().extend_from_slice(b"nor this");
        let Ok(Received::Data(body)) = wire.receive().await else {
            panic!("no message");
        };
        assert_eq!(body, b"farewell"[..]);
        let error = wire.receive().await.map(|_| panic!("a message"));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn nonsense_is_refused_before_it_is_read() {
        for sent in [
            &b"d\x04\x00\x00\x01"[..],
            b"d\xff\xff\xff\xff",
            b"d\x00\x00\x00\x03",
            b"?\x00\x00\x00\x04",
            b"R\x00\x00\x00\x05\x00",
        ] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let mut wire = Wire::new(Box::new(ours));
            theirs.write_all(sent).await.unwrap();
            let error = wire
                .receive()
                .await
                .map(|_| panic!("{sent:?}"))
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{sent:?}");
        }
        let (ours, theirs) = tokio::io::duplex(64);
        drop(theirs);
        let error = Wire::new(Box::new(ours)).receive().await;
        let error = error.map(|_| panic!("a message")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
