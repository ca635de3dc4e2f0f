//! Counts the requests of a connection, from their head to the last byte of
//! their answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

use super::visit::{Answering, Visit};

/// A service that knows whose requests it answers: it puts the [`Visit`] into
/// their extensions, and keeps the connection from counting as idle.
#[derive(Debug, Clone)]
pub struct Attended<S> {
    inner: S,
    visit: Visit,
}

impl<S> Attended<S> {
    /// Answers the requests of one connection by `inner`.
    pub fn new(inner: S, visit: Visit) -> Self {
        Self { inner, visit }
    }
}

impl<S, B, R> Service<Request<B>> for Attended<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = Response<Held<R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let answering = self.visit.request();
        request.extensions_mut().insert(self.visit.clone());
        let answer = self.inner.call(request);
        answer
            .map(|answer| answer.map(|answer| answer.map(|body| Held::new(body, answering))))
            .boxed()
    }
}

/// A body during which its connection is busy.
#[derive(Debug)]
pub struct Held<B> {
    body: B,
    #[expect(dead_code, reason = "what counts is when it is dropped")]
    answering: Answering,
    turn: Option<OwnedSemaphorePermit>,
}

impl<B> Held<B> {
    /// The connection is busy until this body has been sent or given up.
    pub fn new(body: B, answering: Answering) -> Self {
        Self {
            body,
            answering,
            turn: None,
        }
    }

    /// So long another call of the connection waits for this turn.
    #[must_use]
    pub fn and(mut self, turn: OwnedSemaphorePermit) -> Self {
        self.turn = Some(turn);
        self
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
