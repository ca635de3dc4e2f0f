//! Refuses a call before a byte of its body is read: whoever is not let in
//! has nothing buffered or decoded.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use strongroom_proto::v1::{agent_gateway_server, enrolment_server};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

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
/// Parts of a write-ahead log with their restore points.
const WAL: usize = 4 * 1024 * 1024;

/// Puts a [`Guard`] before the services of the agents' port.
#[derive(Debug, Clone)]
pub(super) struct GuardLayer(Catalog);

impl GuardLayer {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self(catalog)
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            catalog: self.0.clone(),
        }
    }
}

/// Lets active agents through to everything, strangers to enrolment only, and
/// bounds what a call may send.
#[derive(Debug, Clone)]
pub(super) struct Guard<S> {
    inner: S,
    catalog: Catalog,
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
        Box::pin(async move {
            let Some(peer) = request.extensions().get::<Peer>().cloned() else {
                unreachable!("every connection of the port brings its peer")
            };
            let answering = peer.visit.request();
            let answer = match admit(request, &peer, &catalog).await {
                Ok(request) => inner.call(request).await?,
                Err(status) => status.into_http(),
            };
            Ok(answer.map(|body| Held::new(body, answering)))
        })
    }
}

/// The request as it may go on: with the agent that sent it, and bounded.
async fn admit(
    mut request: Request<Body>,
    peer: &Peer,
    catalog: &Catalog,
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
        request.extensions_mut().insert(known);
    }
    Ok(match most {
        Some(most) => request.map(|body| bounded(body, most)),
        None => request,
    })
}

/// `/service/method`
fn split(path: &str) -> (&str, &str) {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default()
}

/// How much a call may send. A session goes on for as long as the agent lives:
/// there each message is bounded.
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

fn bounded(body: Body, most: usize) -> Body {
    Body::new(Limited::new(body, most).map_err(move |error| {
        if error.is::<LengthLimitError>() {
            Status::out_of_range(format!("this call may send {most} bytes at most"))
        } else {
            Status::from_error(error)
        }
    }))
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
    async fn a_body_that_is_too_long_ends_in_a_status() {
        let body = |length: usize| Body::new(http_body_util::Full::from(vec![0; length]));
        let read = async |length| bounded(body(length), 10).collect().await;
        assert_eq!(read(10).await.unwrap().to_bytes().len(), 10);
        let status = read(11).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
    }
}
