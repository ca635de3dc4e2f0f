//! The service `AgentGateway`: converts and delegates; nothing else.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use strongroom_proto::v1::{self, agent_gateway_server::AgentGateway};
use strongroom_runtime::telemetry::trace;
use strongroom_wire::grant::{
    ListObjectsRequest, PublishRequest, PublishResponse, ReleaseLocksRequest, SignRequest,
    SignResponse,
};
use strongroom_wire::identity::{RenewRequest, RenewResponse};
use strongroom_wire::wal::{ArchivedWalRequest, RecordWalRequest};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};
use tracing::{Instrument as _, Span};

use super::{Registry, session, status};
use crate::{
    catalog::{Catalog, RenewError},
    grants::Grants,
    identity::{Authority, Known, Peer, contest_of_waste},
    jobs::Backoff,
    model::AgentCertificate,
};

/// Ample for an answer that needs no thought, and short enough for an agent
/// that starts anew while its last connection is not known to be dead.
pub(crate) const CHALLENGE: Duration = Duration::from_secs(4);

/// How sessions are kept alive.
#[derive(Debug, Clone, Copy)]
pub struct SessionConfig {
    /// How often an agent gives a sign of life.
    pub heartbeat: Duration,
    /// How long a lease lasts without one.
    pub lease: Duration,
    /// When a lost attempt is tried again.
    pub backoff: Backoff,
    /// How long an agent may take to answer that it still holds a session.
    pub challenge: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            lease: Duration::from_mins(1),
            backoff: Backoff::default(),
            challenge: CHALLENGE,
        }
    }
}

impl SessionConfig {
    /// When a lease that is given now ends.
    pub(crate) fn lease_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(SignedDuration::try_from(self.lease).unwrap_or(SignedDuration::MAX))
            .unwrap_or(Timestamp::MAX)
    }
}

/// What every session needs.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) catalog: Catalog,
    pub(super) registry: Registry,
    pub(super) grants: Arc<Grants>,
    pub(super) config: SessionConfig,
    /// Ends all sessions with a goodbye.
    pub(super) shutdown: CancellationToken,
}

/// The gRPC service `AgentGateway`.
#[derive(Debug)]
pub struct Gateway {
    shared: Shared,
    grants: Arc<Grants>,
    authority: Arc<Authority>,
    sessions: TaskTracker,
}

impl Gateway {
    /// Serves until `shutdown`.
    pub fn new(
        catalog: Catalog,
        registry: Registry,
        grants: Arc<Grants>,
        authority: Arc<Authority>,
        config: SessionConfig,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            shared: Shared {
                catalog,
                registry,
                grants: Arc::clone(&grants),
                config,
                shutdown,
            },
            grants,
            authority,
            sessions: TaskTracker::new(),
        }
    }

    /// Whoever waits for this waits for the end of all sessions.
    pub(super) fn sessions(&self) -> TaskTracker {
        self.sessions.clone()
    }

    /// What authenticates agents before their calls come here.
    pub(super) fn catalog(&self) -> Catalog {
        self.shared.catalog.clone()
    }
}

/// The agent that the guard has let in.
fn known<T>(request: &Request<T>) -> Result<Known, Status> {
    let known = request.extensions().get::<Known>();
    known
        .cloned()
        .ok_or_else(|| Status::internal("a call came past the guard"))
}

/// The span of a call, a child of the agent's.
fn child(span: Span, metadata: &MetadataMap) -> Span {
    trace::set_parent_from(&span, metadata);
    span
}

#[tonic::async_trait]
impl AgentGateway for Gateway {
    type SessionStream =
        Pin<Box<dyn Stream<Item = Result<v1::CoordinatorMessage, Status>> + Send + 'static>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let known = known(&request)?;
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("a call came past the guard"))?;
        let address = peer.visit.address().ip();
        let inbound = request.into_inner();
        let shared = self.shared.clone();
        let stream = session::begin(shared, &self.sessions, known, address, inbound).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let Known { caller, .. } = known(&request)?;
        let span = child(tracing::debug_span!("sign"), request.metadata());
        let request: SignRequest = request.into_inner().try_into().map_err(status::invalid)?;
        let answers = self
            .grants
            .sign(caller.agent, request)
            .instrument(span)
            .await
            .map_err(|error| status::grant(&error))?;
        Ok(Response::new(SignResponse { answers }.into()))
    }

    async fn list_objects(
        &self,
        request: Request<v1::ListObjectsRequest>,
    ) -> Result<Response<v1::ListObjectsResponse>, Status> {
        let Known { caller, .. } = known(&request)?;
        let span = child(tracing::info_span!("list objects"), request.metadata());
        let request: ListObjectsRequest =
            request.into_inner().try_into().map_err(status::invalid)?;
        let page = self
            .grants
            .list(caller.agent, &request)
            .instrument(span)
            .await
            .map_err(|error| status::grant(&error))?;
        Ok(Response::new(page.into()))
    }

    async fn release_locks(
        &self,
        request: Request<v1::ReleaseLocksRequest>,
    ) -> Result<Response<v1::ReleaseLocksResponse>, Status> {
        let Known { caller, .. } = known(&request)?;
        let span = child(tracing::info_span!("release locks"), request.metadata());
        let request: ReleaseLocksRequest =
            request.into_inner().try_into().map_err(status::invalid)?;
        self.grants
            .release_locks(caller.agent, request.attempt, &request.ids)
            .instrument(span)
            .await
            .map_err(|error| status::grant(&error))?;
        Ok(Response::new(v1::ReleaseLocksResponse {}))
    }

    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        let Known { caller, .. } = known(&request)?;
        let span = child(tracing::info_span!("publish"), request.metadata());
        let request: PublishRequest = request.into_inner().try_into().map_err(status::invalid)?;
        let answer = self
            .grants
            .publish(caller.agent, request)
            .instrument(span)
            .await
            .map_err(|error| status::grant(&error))?;
        Ok(Response::new(PublishResponse { answer }.into()))
    }

    async fn record_wal(
        &self,
        request: Request<v1::RecordWalRequest>,
    ) -> Result<Response<v1::RecordWalResponse>, Status> {
        let Known { caller, .. } = known(&request)?;
        let span = child(tracing::debug_span!("record wal"), request.metadata());
        let request: RecordWalRequest = request.into_inner().try_into().map_err(status::invalid)?;
        self.grants
            .record_wal(caller.agent, &request)
            .instrument(span)
            .await
            .map_err(|error| status::grant(&error))?;
        Ok(Response::new(v1::RecordWalResponse {}))
    }

    async fn archived_wal(
        &self,
        request: Request<v1::ArchivedWalRequest>,
    ) -> Result<Response<v1::ArchivedWalResponse>, Status> {
        let Known { caller, .. } = known(&request)?;
        let span = child(tracing::debug_span!("archived wal"), request.metadata());
        let request: ArchivedWalRequest =
            request.into_inner().try_into().map_err(status::invalid)?;
        let known = self
            .grants
            .archived_wal(caller.agent, &request)
            .instrument(span)
            .await
            .map_err(|error| status::grant(&error))?;
        Ok(Response::new(known.into()))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let Known { caller, .. } = known(&request)?;
        let peer = request.extensions().get::<Peer>().cloned();
        self.grants
            .keep_pace_of_call(caller.agent)
            .await
            .map_err(|error| status::grant(&error))?;
        let request: RenewRequest = request.into_inner().try_into().map_err(status::invalid)?;
        let catalog = &self.shared.catalog;
        let refused = |error| status::renewal(&error);
        let lifetime = self.authority.agent_lifetime();
        match catalog.may_renew(caller.agent, lifetime).await {
            Err(RenewError::TooOften) => {
                let contested = contest_of_waste(catalog, &caller, peer, lifetime).await?;
                return Err(contested.unwrap_or_else(|| refused(RenewError::TooOften)));
            }
            checked => checked.map_err(refused)?,
        }
        let issued = self
            .authority
            .issue(caller.agent, &request.csr_pem)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let certificate = AgentCertificate::new(
            caller.agent,
            issued.serial,
            catalog.clock().now(),
            issued.not_after,
        );
        catalog
            .record_certificate(&certificate, &caller.serial)
            .await
            .map_err(refused)?;
        let certificate_pem = issued.chain_pem;
        Ok(Response::new(RenewResponse { certificate_pem }.into()))
    }
}
