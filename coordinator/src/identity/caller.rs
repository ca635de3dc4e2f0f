//! Who speaks: known by the certificate of the connection alone, never by
//! what a message says.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use strongroom_layout::AgentId;
use strongroom_runtime::pki;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::{
    catalog::{Catalog, CatalogError, SessionStart},
    door::{Connection, Visit},
    model::{Agent, AgentCertificate, CertificateEnd, ContestSign, Holder},
};

/// The other end of a connection to the agents' port.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its connection.
    pub visit: Visit,
    /// What its certificate says; `None` without one.
    pub caller: Option<Caller>,
    /// For its calls that are being answered: so many at a time.
    pub(crate) turns: Arc<Semaphore>,
}

/// Calls of one connection that are answered at a time. An agent has a session and,
/// for each of its jobs, a batch of grants or two under way.
pub(crate) const ANSWERED_AT_ONCE: usize = 32;

impl Peer {
    /// Whose connection this is. It counts as a stranger's until the first call
    /// of an agent that may be served: TLS knows nothing of revocation.
    pub fn of(connection: &Connection) -> Self {
        let caller = connection.certificate().and_then(Caller::of);
        let visit = connection.visit().clone();
        Self {
            visit,
            caller,
            turns: Arc::new(Semaphore::new(ANSWERED_AT_ONCE)),
        }
    }
}

/// An agent as its certificate names it. TLS has verified that our authority
/// signed it and that it held when the connection was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The agent.
    pub agent: AgentId,
    /// The certificate's serial number, lowercase hex.
    pub serial: Arc<str>,
    /// From when on it holds.
    pub not_before: Timestamp,
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
            serial: info.serial.into(),
            not_before: info.not_before,
            not_after: info.not_after,
        })
    }
}

/// An agent that may be served.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// As its certificate names it.
    pub(crate) caller: Caller,
    /// As the catalog knows it.
    pub(crate) agent: Agent,
}

/// How long an honest agent may go on showing a certificate after it has used
/// the renewed one: on calls that crossed the change.
const CROSSING: SignedDuration = SignedDuration::from_mins(1);

/// The agent that sent a request, if it may be served, or why it is refused.
/// Asked for each request: a connection outlives revocation and the end of its
/// certificate.
pub(crate) async fn authenticate(peer: &Peer, catalog: &Catalog) -> Result<Known, Status> {
    let Some(caller) = &peer.caller else {
        return Err(Status::unauthenticated(
            "an agent's certificate is required: enrol with `strongroom-agent enroll`",
        ));
    };
    let now = catalog.clock().now();
    if caller.not_after <= now {
        return Err(Status::unauthenticated(format!(
            "the certificate of agent {} ended at {}: connect again with the renewed one, \
             or enrol again",
            caller.agent, caller.not_after
        )));
    }
    let (agent, shown) = match catalog.agent_showing(caller.agent, &caller.serial).await {
        Ok(found) => found,
        Err(CatalogError::NotFound { .. }) => {
            return Err(Status::permission_denied(format!(
                "agent {} is not known here: enrol again",
                caller.agent
            )));
        }
        Err(error) => return Err(unanswered(&error)),
    };
    if !agent.is_active() {
        return Err(Status::permission_denied(revoked(&agent.name)));
    }
    if agent.contest.is_some() {
        return Err(Status::unavailable(contested(&agent.name)));
    }
    let shown = shown.unwrap_or_else(|| {
        let serial = caller.serial.to_string();
        AgentCertificate::new(caller.agent, serial, caller.not_before, caller.not_after)
    });
    match shown.ended {
        Some(end) => Err(ended(peer, caller, &agent, end, catalog).await),
        None if shown.first_used_at.is_none() => match catalog.first_use(&shown).await {
            Ok(()) => Ok(Known {
                caller: caller.clone(),
                agent,
            }),
            Err(error) => Err(unanswered(&error)),
        },
        None => Ok(Known {
            caller: caller.clone(),
            agent,
        }),
    }
}

/// What becomes of who shows a certificate that has ended before its time. If
/// a renewed one has taken its place, somebody has the old one still: a copy of
/// the host, or the host itself, restored from before the renewal. Which of
/// them is the right one, an operator has to say.
async fn ended(
    peer: &Peer,
    caller: &Caller,
    agent: &Agent,
    end: CertificateEnd,
    catalog: &Catalog,
) -> Status {
    let name = &agent.name;
    let holder = Holder {
        address: peer.visit.address().ip(),
        serial: caller.serial.to_string(),
        boot: None,
        version: None,
    };
    if end.by_operator {
        if let Err(error) = catalog.note_ended_certificate(agent.id, &holder).await {
            return unanswered(&error);
        }
        return Status::permission_denied(format!(
            "an operator trusts another holder of agent {name}'s identity than this one since {}: \
             if this is the right host, ask for a new join token and enrol again",
            end.at
        ));
    }
    let since = catalog.clock().now().duration_since(end.at);
    let connected = SignedDuration::try_from(peer.visit.age()).unwrap_or(SignedDuration::MAX);
    if since < CROSSING || connected >= since {
        return Status::unavailable(format!(
            "the certificate of this connection was replaced at {}: connect with the renewed one",
            end.at
        ));
    }
    let holders = match catalog.last_session(agent.id).await {
        Ok(last) => last.map(Holder::from).into_iter().chain([holder]).collect(),
        Err(error) => return unanswered(&error),
    };
    let sign = ContestSign::EndedCertificate;
    match catalog.contest_agent(agent.id, sign, holders).await {
        Ok(agent) => {
            tracing::error!(agent = %agent.id, name, "an ended certificate was used: contested");
            Status::unavailable(contested(name))
        }
        Err(error) => unanswered(&error),
    }
}

/// Whoever has certificates renewed again and again, and uses none of them, keeps the
/// agent from renewing its own, until that ends. The agent is contested; gives what
/// its callers are told from now on. `None`: that is not so.
pub(crate) async fn contest_of_waste(
    catalog: &Catalog,
    caller: &Caller,
    peer: Option<Peer>,
    lifetime: SignedDuration,
) -> Result<Option<Status>, Status> {
    let wastes = catalog.wastes_renewals(caller.agent, lifetime).await;
    if !wastes.map_err(|error| unanswered(&error))? {
        return Ok(None);
    }
    let last = catalog.last_session(caller.agent).await;
    let last = last.map_err(|error| unanswered(&error))?.map(Holder::from);
    let asking = peer.map(|peer| Holder {
        address: peer.visit.address().ip(),
        serial: caller.serial.to_string(),
        boot: None,
        version: None,
    });
    let holders = last.into_iter().chain(asking).collect();
    let sign = ContestSign::UnusedRenewals;
    let agent = catalog.contest_agent(caller.agent, sign, holders).await;
    let agent = agent.map_err(|error| unanswered(&error))?;
    tracing::error!(agent = %agent.id, name = agent.name, "renewals are wasted: contested");
    Ok(Some(Status::unavailable(contested(&agent.name))))
}

impl From<SessionStart> for Holder {
    fn from(start: SessionStart) -> Self {
        Self {
            address: start.address,
            serial: start.serial,
            boot: Some(start.boot),
            version: start.version,
        }
    }
}

fn unanswered(error: &CatalogError) -> Status {
    tracing::error!(%error, "cannot look up an agent");
    Status::unavailable("the catalog does not answer; try again")
}

/// What a revoked agent is told.
pub(crate) fn revoked(name: &str) -> String {
    format!("agent {name} was revoked; ask an operator for a new join token and enrol again")
}

/// What each holder of a contested identity is told.
pub(crate) fn contested(name: &str) -> String {
    format!(
        "the identity of agent {name} is contested: more than one hold its certificate, and none \
         is served until an operator decides. Was this host copied, or restored from a backup of \
         its disk? `strongroom agents show {name}` tells who they are"
    )
}
