//! Who speaks: known by the certificate of the connection alone, never by
//! what a message says.

use std::net::SocketAddr;

use http::Extensions;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use strongroom_layout::AgentId;
use strongroom_runtime::pki;
use tonic::Status;

use crate::{
    catalog::{Catalog, CatalogError},
    model::Agent,
};

/// The other end of a connection to the agents' port.
#[derive(Debug, Clone)]
pub struct Peer {
    /// From where.
    pub address: SocketAddr,
    /// What its certificate says; `None` without one.
    pub caller: Option<Caller>,
}

/// An agent as its certificate names it. TLS has verified that our authority
/// signed it and that it held when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The agent.
    pub agent: AgentId,
    /// Until when the certificate holds.
    pub not_after: Timestamp,
}

impl Caller {
    /// Whom a certificate names; `None` if it is not an agent's.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let info = pki::inspect(certificate).ok()?;
        let mut agents = info.uris.iter().filter_map(|uri| AgentId::from_uri(uri));
        let agent = agents.next()?;
        // Two names are nobody's.
        agents.next().is_none().then_some(Self {
            agent,
            not_after: info.not_after,
        })
    }
}

/// The active agent that sent a request, or why it is refused. Asked for each
/// request: a connection outlives revocation and the end of its certificate.
pub(crate) async fn authenticate(
    extensions: &Extensions,
    catalog: &Catalog,
) -> Result<(Caller, Agent), Status> {
    let caller = extensions
        .get::<Peer>()
        .and_then(|peer| peer.caller)
        .ok_or_else(|| {
            Status::unauthenticated(
                "an agent's certificate is required: enrol with `strongroom-agent enroll`",
            )
        })?;
    if caller.not_after <= catalog.clock().now() {
        return Err(Status::unauthenticated(format!(
            "the certificate of agent {} ended at {}: connect again with the renewed one, \
             or enrol again",
            caller.agent, caller.not_after
        )));
    }
    match catalog.agent(caller.agent).await {
        Ok(agent) if agent.is_active() => Ok((caller, agent)),
        Ok(agent) => Err(Status::permission_denied(revoked(&agent.name))),
        Err(CatalogError::NotFound { .. }) => Err(Status::permission_denied(format!(
            "agent {} is not known here: enrol again",
            caller.agent
        ))),
        Err(error) => {
            tracing::error!(%error, "cannot look up an agent");
            Err(Status::unavailable(
                "the catalog does not answer; try again",
            ))
        }
    }
}

/// What a revoked agent is told.
pub(crate) fn revoked(name: &str) -> String {
    format!("agent {name} was revoked; ask an operator for a new join token and enrol again")
}
