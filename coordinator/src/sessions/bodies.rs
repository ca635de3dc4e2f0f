//! What a call may send, and for how long it may take to.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::Sleep;
use tonic::{Status, body::Body};

/// For a call to send what it has to say: a mebibyte over a slow line.
const PATIENCE: Duration = Duration::from_mins(1);
/// The first message of a session, bytes: what a host allows, and what it is at.
pub(super) const MAX_OPENING: usize = 256 * 1024;
/// Before each message of a stream: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A call of one message that has `most` bytes at most and comes in time.
pub(super) fn bounded(body: Body, most: usize) -> Body {
    let limited = Limited::new(body, most).map_err(move |error| {
        if error.is::<LengthLimitError>() {
            Status::out_of_range(format!("this call may send {most} bytes at most"))
        } else {
            Status::from_error(error)
        }
    });
    Body::new(InTime {
        body: Body::new(limited),
        over: Box::pin(tokio::time::sleep(PATIENCE)),
    })
}

/// A session: of its first message no more is read than [`MAX_OPENING`].
pub(super) fn opening(body: Body) -> Body {
    Body::new(Opening {
        body,
        prefix: Vec::with_capacity(PREFIX),
    })
}

struct InTime {
    body: Body,
    over: Pin<Box<Sleep>>,
}

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let over = self.over.as_mut();
        over.poll(context).map(|()| {
            let seconds = PATIENCE.as_secs();
            let late = format!("what this call has to say did not come within {seconds} seconds");
            Some(Err(Status::deadline_exceeded(late)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Opening {
    body: Body,
    /// What has come of the first message's prefix.
    prefix: Vec<u8>,
}

impl HttpBody for Opening {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            _ => None,
        };
        if let Some(data) = data
            && self.prefix.len() < PREFIX
        {
            let missing = PREFIX - self.prefix.len();
            self.prefix.extend(data.iter().take(missing));
            if let [_, a, b, c, d] = self.prefix[..]
                && u32::from_be_bytes([a, b, c, d]) as usize > MAX_OPENING
            {
                return Poll::Ready(Some(Err(Status::out_of_range(format!(
                    "the first message of a session may have {MAX_OPENING} bytes at most"
                )))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{Full, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_body_that_is_too_long_ends_in_a_status() {
        let body = |length: usize| Body::new(Full::from(vec![0; length]));
        let read = async |length| bounded(body(length), 10).collect().await;
        assert_eq!(read(10).await.unwrap().to_bytes().len(), 10);
        let status = read(11).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_says_nothing_is_not_waited_for() {
        let silent = stream::pending::<Result<Frame<Bytes>, Status>>();
        let status = bounded(Body::new(StreamBody::new(silent)), 10);
        let status = status.collect().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    }

    /// In pieces of these lengths.
    async fn opened(bytes: Vec<u8>, pieces: usize) -> Result<usize, Status> {
        let pieces: Vec<_> = bytes
            .chunks(pieces)
            .map(|piece| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = Body::new(StreamBody::new(stream::iter(pieces)));
        let read = opening(body).collect().await?;
        Ok(read.to_bytes().len())
    }

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(PREFIX + length, 7);
        bytes
    }

    #[tokio::test]
    async fn of_a_session_the_first_message_is_bounded_and_the_others_are_not() {
        for pieces in [1, 3, 4, 5, 6, 16_384] {
            let first = message(1_000);
            let whole = [first.clone(), message(MAX_OPENING + 1)].concat();
            let length = whole.len();
            assert_eq!(opened(whole, pieces).await.unwrap(), length);
            let large = message(MAX_OPENING + 1);
            let status = opened(large, pieces).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
            let length = PREFIX + MAX_OPENING;
            assert_eq!(opened(message(MAX_OPENING), pieces).await.unwrap(), length);
        }
    }
}
