//! Trades a join token for a certificate.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use strongroom_layout::AgentId;
use strongroom_proto::v1::{self, enrolment_server::Enrolment};
use strongroom_runtime::telemetry::trace;
use strongroom_wire::identity::{EnrolRequest, EnrolResponse};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    Authority, Peer,
    throttle::{self, MAX_REFUSALS, Throttle},
};
use crate::{
    catalog::{self, Catalog, RedeemError},
    model::{AgentCertificate, SecretHash},
};

/// What a host may call itself and its binary's version, bytes.
const MAX_TEXT: usize = 255;

/// The gRPC service `Enrolment`.
#[derive(Debug)]
pub struct EnrolmentService {
    catalog: Catalog,
    authority: Arc<Authority>,
    throttle: Arc<Throttle>,
    /// One enrolment at a time: what the throttle says of an address holds until
    /// its outcome is counted. The catalog takes one at a time anyway.
    turn: Mutex<()>,
}

impl EnrolmentService {
    /// Signs with `authority` for those whose token `catalog` knows.
    pub fn new(catalog: Catalog, authority: Arc<Authority>) -> Self {
        Self {
            catalog,
            authority,
            throttle: Arc::default(),
            turn: Mutex::default(),
        }
    }

    /// Audits bursts of refusals until `cancel`. Each of the first is audited
    /// by itself; this is for what was refused unheard after them.
    pub fn report(&self, cancel: CancellationToken) -> impl Future<Output = ()> + use<> {
        throttle::report(
            Arc::clone(&self.throttle),
            "agent.enrol",
            MAX_REFUSALS + 1,
            self.catalog.clone(),
            cancel,
        )
    }

    /// For who calls from an address.
    async fn enrol_from(
        &self,
        address: Option<IpAddr>,
        request: v1::EnrolRequest,
    ) -> Result<EnrolResponse, Status> {
        // Those that are throttled do not queue with the others.
        self.check_throttle(address)?;
        let _turn = self.turn.lock().await;
        self.check_throttle(address)?;
        let request = EnrolRequest::try_from(request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let outcome = Outcome {
            service: self,
            address,
            counts: AtomicBool::new(false),
        };
        let result = self.enrol(request, &outcome).await;
        if let Err(status) = &result
            && status.code() != Code::Unavailable
        {
            outcome.count();
        }
        result
    }

    async fn enrol(
        &self,
        request: EnrolRequest,
        outcome: &Outcome<'_>,
    ) -> Result<EnrolResponse, Status> {
        if request.hostname.len() > MAX_TEXT || request.agent_version.len() > MAX_TEXT {
            return Err(Status::invalid_argument(
                "hostname or agent_version is longer than 255 bytes",
            ));
        }
        let secret = SecretHash::of(&request.token_secret);
        // Nothing is signed for whoever has no token.
        self.catalog
            .look_at_join_token(&request.token_id, &secret, &request.hostname, || {
                outcome.count();
            })
            .await
            .map_err(|error| refusal(&error))?;
        let replaced = self.catalog.agent_to_replace(&request.token_id, &secret);
        let replaced = replaced.await.map_err(|error| refusal(&error.into()))?;
        let agent = replaced.unwrap_or_else(|| AgentId(Uuid::new_v4()));
        let issued = self
            .authority
            .issue(agent, &request.csr_pem)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let enrolment = catalog::Enrolment {
            agent,
            hostname: request.hostname,
            version: request.agent_version,
            certificate: AgentCertificate::new(
                agent,
                issued.serial,
                self.catalog.clock().now(),
                issued.not_after,
            ),
        };
        // The certificate leaves this function only if the token was good.
        let agent = self
            .catalog
            .redeem_join_token(&request.token_id, &secret, &enrolment)
            .await
            .map_err(|error| refusal(&error))?;
        tracing::info!(agent = %agent.id, name = agent.name, "an agent has enrolled");
        Ok(EnrolResponse {
            agent_id: agent.id,
            agent_name: agent.name,
            certificate_pem: issued.chain_pem,
            ca_pem: self.authority.ca_pem().to_owned(),
        })
    }

    fn check_throttle(&self, address: Option<IpAddr>) -> Result<(), Status> {
        let now = self.catalog.clock().now();
        let Some(address) = address else {
            return Ok(());
        };
        match self.throttle.wait(address, now) {
            None => Ok(()),
            Some(wait) => {
                self.throttle.refused(address, now);
                Err(Status::resource_exhausted(format!(
                    "too many refused enrolments from this address: wait {} seconds",
                    wait.as_secs().max(1)
                )))
            }
        }
    }
}

/// Counts an enrolment that was refused, even when its caller goes before the end. One
/// that was dropped before anything was found out was no guess.
struct Outcome<'a> {
    service: &'a EnrolmentService,
    address: Option<IpAddr>,
    counts: AtomicBool,
}

impl Outcome<'_> {
    fn count(&self) {
        self.counts.store(true, Ordering::Relaxed);
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if let (true, Some(address)) = (*self.counts.get_mut(), self.address) {
            let now = self.service.catalog.clock().now();
            self.service.throttle.refused(address, now);
        }
    }
}

/// Says which of the things that can be wrong with a token it is.
fn refusal(error: &RedeemError) -> Status {
    let message = error.to_string();
    match error {
        RedeemError::Unknown => Status::unauthenticated(message),
        RedeemError::Used { .. } | RedeemError::Expired { .. } | RedeemError::Revoked { .. } => {
            Status::permission_denied(message)
        }
        RedeemError::NameTaken { .. } => Status::already_exists(message),
        RedeemError::Catalog(error) => {
            tracing::error!(%error, "cannot redeem a join token");
            Status::unavailable("the catalog does not answer; try again")
        }
    }
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let span = tracing::info_span!("enrol");
        trace::set_parent_from(&span, request.metadata());
        let peer = request.extensions().get::<Peer>();
        let address = peer.map(|peer| peer.visit.address().ip());
        let enrolled = self.enrol_from(address, request.into_inner());
        let result = enrolled.instrument(span).await;
        result.map(|response| Response::new(response.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Coordinator;

    fn request(token_id: &str, token_secret: &str) -> v1::EnrolRequest {
        v1::EnrolRequest {
            token_id: token_id.into(),
            token_secret: token_secret.into(),
            csr_pem: "no request".into(),
            hostname: "web-1".into(),
            agent_version: "0".into(),
        }
    }

    #[tokio::test]
    async fn an_enrolment_that_is_dropped_was_no_guess_and_a_refused_one_was() {
        let coordinator = Coordinator::start().await;
        let authority = Arc::clone(&coordinator.authority);
        let service = EnrolmentService::new(coordinator.catalog.clone(), authority);
        let address = Some("192.0.2.1".parse().unwrap());
        let token = coordinator.invite().await;
        for _ in 0..3 * MAX_REFUSALS {
            let dropped = service.enrol_from(address, request(&token, "secret"));
            let mut dropped = std::pin::pin!(dropped);
            assert!(futures::poll!(dropped.as_mut()).is_pending());
        }
        for _ in 0..MAX_REFUSALS {
            let refused = service.enrol_from(address, request(&token, "guess"));
            assert_eq!(refused.await.unwrap_err().code(), Code::Unauthenticated);
        }
        let refused = service.enrol_from(address, request(&token, "guess"));
        assert_eq!(refused.await.unwrap_err().code(), Code::ResourceExhausted);
    }
}
