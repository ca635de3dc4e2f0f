//! Refuses a call before a byte of its body is read: whoever is not let in
//! has nothing buffered or decoded.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use strongroom_layout::AgentId;
use strongroom_proto::v1::{agent_gateway_server, enrolment_server};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::bodies::{bounded, opening};

use crate::{
    catalog::Catalog,
    door::Held,
    identity::{Peer, authenticate},
};

/// An enrolment: a token, a certificate request, a hostname.
pub(super) const MAX_ENROLMENT: usize = 64 * 1024;
/// What says little: a name, a certificate request, the end of a backup.
const SMALL: usize = 64 * 1024;
/// Lists: a full batch of requests to sign has 160 KiB.
const LIST: usize = 1024 * 1024;
/// Parts of a write-ahead log with their restore points: some 300 KiB.
const WAL: usize = 1024 * 1024;
/// Calls of one agent whose messages are read at a time. The others wait, and
/// nothing of them is read meanwhile.
const READ_AT_ONCE: usize = 8;
/// How long they wait.
const TURN: Duration = Duration::from_secs(10);

/// Puts a [`Guard`] before the services of the agents' port.
#[derive(Debug, Clone)]
pub(super) struct GuardLayer {
    catalog: Catalog,
    reading: Reading,
}

impl GuardLayer {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self {
            catalog,
            reading: Reading::default(),
        }
    }
}

/// How many calls of each agent are being read.
#[derive(Debug, Clone, Default)]
struct Reading(Arc<Mutex<HashMap<AgentId, Arc<Semaphore>>>>);

impl Reading {
    /// Waits for its turn to be read, but not for long: by then who was let in may
    /// be served no longer.
    async fn turn(&self, agent: AgentId) -> Result<OwnedSemaphorePermit, Status> {
        let new = || Arc::new(Semaphore::new(READ_AT_ONCE));
        let turns = Arc::clone(self.0.lock().entry(agent).or_insert_with(new));
        let turn = tokio::time::timeout(TURN, turns.acquire_owned()).await;
        // It is never closed.
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            Status::resource_exhausted(
                "other calls of this agent are being read and have not come to their ends: try \
                 again later",
            )
        })
    }
}

/// While this lives, a call is being read. It goes with the request, which is
/// taken apart once its message is there.
#[derive(Clone)]
struct Turn(#[expect(dead_code, reason = "it is held")] Arc<OwnedSemaphorePermit>);

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            catalog: self.catalog.clone(),
            reading: self.reading.clone(),
        }
    }
}

/// Lets active agents through to everything, strangers to enrolment only, and
/// bounds what a call may send.
#[derive(Debug, Clone)]
pub(super) struct Guard<S> {
    inner: S,
    catalog: Catalog,
    reading: Reading,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Held<Body>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // What was polled ready is what must be called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let catalog = self.catalog.clone();
        let reading = self.reading.clone();
        Box::pin(async move {
            let Some(peer) = request.extensions().get::<Peer>().cloned() else {
                unreachable!("every connection of the port brings its peer")
            };
            let answering = peer.visit.request();
            let Some(turn) = turn_of(&peer).await else {
                let busy = "this connection has too many calls under way: try again later";
                let answer = Status::resource_exhausted(busy).into_http();
                return Ok(answer.map(|body| Held::new(body, answering)));
            };
            let answer = match admit(request, &peer, &catalog, &reading).await {
                Ok(request) => inner.call(request).await?,
                Err(status) => status.into_http(),
            };
            Ok(answer.map(|body| Held::new(body, answering).and(turn)))
        })
    }
}

/// Waits until the connection may have another call answered, but not for long.
/// What HTTP/2 counts are streams that are open: one that is given up is not, and what
/// it asked for may be under way still.
async fn turn_of(peer: &Peer) -> Option<OwnedSemaphorePermit> {
    let turn = tokio::time::timeout(TURN, Arc::clone(&peer.turns).acquire_owned());
    // It is never closed.
    turn.await.ok()?.ok()
}

/// The request as it may go on: with the agent that sent it, and bounded.
async fn admit(
    mut request: Request<Body>,
    peer: &Peer,
    catalog: &Catalog,
    reading: &Reading,
) -> Result<Request<Body>, Status> {
    let (service, method) = split(request.uri().path());
    let most = if service == enrolment_server::SERVICE_NAME {
        Some(MAX_ENROLMENT)
    } else {
        most(service, method)
    };
    if service != enrolment_server::SERVICE_NAME {
        let known = authenticate(peer, catalog).await?;
        if !peer.visit.recognise(&known.caller.agent.to_string()) {
            return Err(Status::unavailable(
                "no place for this connection: this agent has too many open, or the coordinator has",
            ));
        }
        if most.is_some() {
            let turn = reading.turn(known.caller.agent).await?;
            request.extensions_mut().insert(Turn(Arc::new(turn)));
        }
        request.extensions_mut().insert(known);
    }
    Ok(match most {
        Some(most) => request.map(|body| bounded(body, most)),
        None => request.map(opening),
    })
}

/// `/service/method`
fn split(path: &str) -> (&str, &str) {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default()
}

/// How much a call may send. A session goes on for as long as the agent lives:
/// there each message is bounded, and the first one more than the others.
fn most(service: &str, method: &str) -> Option<usize> {
    if service != agent_gateway_server::SERVICE_NAME {
        return Some(SMALL);
    }
    match method {
        "Session" => None,
        "Sign" | "ReleaseLocks" => Some(LIST),
        "RecordWal" => Some(WAL),
        _ => Some(SMALL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_but_a_session_is_bounded() {
        let gateway = agent_gateway_server::SERVICE_NAME;
        assert_eq!(split("/a.B/C"), ("a.B", "C"));
        assert_eq!(split("nonsense"), ("", ""));
        assert_eq!(most(gateway, "Session"), None);
        for (method, bound) in [("Sign", LIST), ("RecordWal", WAL), ("Renew", SMALL)] {
            assert_eq!(most(gateway, method), Some(bound));
        }
        assert_eq!(most(gateway, "NotYetKnown"), Some(SMALL));
        assert_eq!(most("", ""), Some(SMALL));
    }

    #[tokio::test]
    async fn so_many_calls_of_an_agent_are_read_at_a_time_and_those_of_others_do_not_wait() {
        let agent = |number| AgentId(uuid::Uuid::from_u128(number));
        let reading = Reading::default();
        let mut turns = Vec::new();
        for _ in 0..READ_AT_ONCE {
            turns.push(reading.turn(agent(1)).await.unwrap());
        }
        let mut waits = std::pin::pin!(reading.turn(agent(1)));
        assert!(futures::poll!(waits.as_mut()).is_pending());
        assert!(reading.turn(agent(2)).await.is_ok());
        turns.pop();
        assert!(waits.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_to_be_read() {
        let reading = Reading::default();
        let agent = AgentId(uuid::Uuid::from_u128(1));
        let mut turns = Vec::new();
        for _ in 0..READ_AT_ONCE {
            turns.push(reading.turn(agent).await.unwrap());
        }
        let refused = reading.turn(agent).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    }
}
