//! The body: on its way to the service, piece by piece and without a copy.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use strongroom_runtime::rate_limiter::RateLimiter;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::Payload;

/// Bytes handed over at a time, so that progress shows.
const PIECE: usize = 256 << 10;

/// When bytes last moved.
#[derive(Debug)]
pub(crate) struct Progress(Mutex<Instant>);

impl Progress {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Instant::now())))
    }

    /// Bytes move at `when`; while we hold them back ourselves, that lies in
    /// the future.
    fn moved(&self, when: Instant) {
        *self.0.lock() = when;
    }

    /// Returns when nothing has moved for `limit`.
    pub(crate) async fn stalled(&self, limit: Duration) {
        loop {
            let end = *self.0.lock() + limit;
            if Instant::now() >= end {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// A body that hands out pieces, paced by a limiter.
pub(crate) struct PiecewiseBody {
    parts: VecDeque<Bytes>,
    left: u64,
    limiter: Option<Arc<RateLimiter>>,
    progress: Arc<Progress>,
    held_back: Option<(Pin<Box<Sleep>>, Bytes)>,
}

impl PiecewiseBody {
    pub(crate) fn new(
        body: Payload<'_>,
        limiter: Option<&Arc<RateLimiter>>,
        progress: &Arc<Progress>,
    ) -> Self {
        Self {
            parts: body.parts().iter().cloned().collect(),
            left: body.length(),
            limiter: limiter.cloned(),
            progress: Arc::clone(progress),
            held_back: None,
        }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let most = self
            .limiter
            .as_ref()
            .map_or(PIECE, |limiter| limiter.piece());
        loop {
            let part = self.parts.front_mut()?;
            let piece = part.split_to(part.len().min(most));
            if part.is_empty() {
                self.parts.pop_front();
            }
            if !piece.is_empty() {
                return Some(piece);
            }
        }
    }
}

impl http_body::Body for PiecewiseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.held_back.is_none() {
            let Some(piece) = self.next_piece() else {
                return Poll::Ready(None);
            };
            if let Some(limiter) = &self.limiter {
                let passes = limiter.reserve(piece.len() as u64, Instant::now());
                self.progress.moved(passes);
                self.held_back = Some((Box::pin(sleep_until(passes)), piece));
            } else {
                return Poll::Ready(Some(Ok(self.hand_over(piece))));
            }
        }
        match self.held_back.take() {
            Some((mut wait, piece)) => {
                if wait.as_mut().poll(cx).is_pending() {
                    self.held_back = Some((wait, piece));
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(self.hand_over(piece))))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl PiecewiseBody {
    fn hand_over(&mut self, piece: Bytes) -> Frame<Bytes> {
        self.progress.moved(Instant::now());
        self.left = self.left.saturating_sub(piece.len() as u64);
        Frame::data(piece)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, num::NonZeroU64};

    use futures::future::join_all;
    use http_body::Body as _;

    use super::*;

    /// Sends a body; gives its length.
    async fn send(limiter: &Arc<RateLimiter>, length: usize) -> usize {
        let parts = [Bytes::from(vec![7; length])];
        let body = Payload::new(&parts);
        let mut pieces = PiecewiseBody::new(body, Some(limiter), &Progress::new());
        let mut sent = 0;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut pieces).poll_frame(cx)).await {
            sent += frame.unwrap().into_data().unwrap().len();
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_together_keep_the_stricter_rate_within_a_tenth() {
        const MIB: u64 = 1 << 20;
        let rate = |bytes| NonZeroU64::new(bytes).unwrap();
        for (job, host) in [(2 * MIB, 5 * MIB), (5 * MIB, 2 * MIB)] {
            let limiter = RateLimiter::within(rate(job), RateLimiter::new(rate(host)));
            let started = Instant::now();
            let sent = join_all((0..8).map(|_| send(&limiter, 5 << 20))).await;
            assert_eq!(sent, [5 << 20; 8]);
            let took = started.elapsed().as_secs_f64();
            assert!((18.0..=22.0).contains(&took), "{took} s");
        }
    }
}
