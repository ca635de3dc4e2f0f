//! A second session of an agent that has one.
//!
//! Either the first one is lost and this side does not know it yet, or two
//! hold the agent's identity. The first one tells: its agent is asked to answer
//! on it. One that was lost is never answered on, because the process that had
//! it has let go of it, or is gone.

use std::{net::IpAddr, time::Duration};

use strongroom_layout::AgentId;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tonic::Status;
use uuid::Uuid;

use super::{gateway::Shared, registry::Handle, status};
use crate::{
    catalog::{CatalogError, SessionStart},
    identity::{contested, revoked},
    model::{Agent, AgentCertificate, ContestSign, Holder},
};

/// An agent that knows no challenges is told by its next heartbeat, unless the
/// stream ends right behind it: then that was on its way when the stream was
/// lost.
const SETTLES: Duration = Duration::from_secs(2);
/// Longer than that its successor does not wait.
const LONGEST: Duration = Duration::from_secs(15);

/// Asks a session whether its agent is there. Dropped: the session has ended.
pub(super) type Question = oneshot::Sender<()>;

/// What a session knows of its agent's side.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub(super) start: SessionStart,
    /// See [`strongroom_wire::session::AgentHello::answers_challenges`].
    pub(super) answers_challenges: bool,
}

/// Where a session is asked.
pub(super) fn questions() -> (mpsc::Sender<Question>, mpsc::Receiver<Question>) {
    mpsc::channel(1)
}

/// Lets a new session take the place of an older one whose agent is not there
/// any more. If it is, both are refused, and the agent is contested.
pub(super) async fn contend(shared: &Shared, agent: &Agent, new: &Side) -> Result<(), Status> {
    let Some(older) = shared.registry.handle(agent.id) else {
        return Ok(());
    };
    // Whose place was taken by an invitation has no say.
    let serial = &older.side.start.serial;
    let known = shared.catalog.agent_showing(agent.id, serial).await;
    let (_, certificate) = known.map_err(|error| status::catalog(&error))?;
    if let Some(reason) = replaced(&agent.name, certificate.as_ref()) {
        older.end.ask(reason, false);
        return Ok(());
    }
    if !is_there(&older, shared.config.challenge, shared.config.heartbeat).await {
        return Ok(());
    }
    let holders = [&older.side, new].map(|side| Holder::from(side.start.clone()));
    let sign = ContestSign::TwoSessions;
    shared
        .catalog
        .contest_agent(agent.id, sign, holders.into())
        .await
        .map_err(|error| status::catalog(&error))?;
    tracing::error!(
        agent = %agent.id, name = agent.name, first = %older.side.start.address,
        second = %new.start.address, "two hold one identity: contested"
    );
    let reason = contested(&agent.name);
    older.end.ask(reason.clone(), true);
    Err(Status::unavailable(reason))
}

/// Why an agent is not served under a certificate any more, and whether it may
/// come back; `None`: it is served.
pub(super) async fn dismissed(
    shared: &Shared,
    agent: AgentId,
    serial: &str,
) -> Result<Option<(String, bool)>, CatalogError> {
    let (agent, certificate) = shared.catalog.agent_showing(agent, serial).await?;
    if !agent.is_active() {
        return Ok(Some((revoked(&agent.name), false)));
    }
    if let Some(reason) = replaced(&agent.name, certificate.as_ref()) {
        return Ok(Some((reason, false)));
    }
    let contested = agent.contest.is_some();
    Ok(contested.then(|| (self::contested(&agent.name), true)))
}

/// What a session is told whose certificate an operator has ended; `None`: none
/// has.
pub(super) fn replaced(name: &str, certificate: Option<&AgentCertificate>) -> Option<String> {
    let end = certificate?.ended.filter(|end| end.by_operator)?;
    Some(format!(
        "another host took the place of agent {name} at {}, by an invitation or because an operator \
         trusts it; if this is the right host, ask for a new join token and enrol again",
        end.at
    ))
}

async fn is_there(older: &Handle, challenge: Duration, heartbeat: Duration) -> bool {
    let patience = if older.side.answers_challenges {
        challenge
    } else {
        (heartbeat + SETTLES + challenge).min(LONGEST)
    };
    let (question, answer) = oneshot::channel();
    let answered = async {
        // There may be a question of somebody who has gone: a session that is
        // busy has not taken it yet. Closed: it has ended.
        older.questions.send(question).await.ok()?;
        answer.await.ok()
    };
    matches!(tokio::time::timeout(patience, answered).await, Ok(Some(())))
}

/// The question that a session has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Asked(Option<Open>);

#[derive(Debug)]
struct Open {
    nonce: Uuid,
    question: Question,
    /// Of an agent that knows no challenges: when its heartbeat counts.
    settles: Option<Instant>,
}

impl Asked {
    /// Takes a question; gives the number of the challenge to be sent.
    pub(super) fn ask(&mut self, question: Question) -> Uuid {
        let nonce = Uuid::new_v4();
        self.0 = Some(Open {
            nonce,
            question,
            settles: None,
        });
        nonce
    }

    /// The agent has sent a heartbeat.
    pub(super) fn heard(&mut self, challenge: Option<Uuid>, answers_challenges: bool) {
        let Some(open) = &mut self.0 else { return };
        if challenge == Some(open.nonce) {
            self.answer();
        } else if !answers_challenges && open.settles.is_none() {
            open.settles = Some(Instant::now() + SETTLES);
        }
    }

    /// Waits until a heartbeat counts as an answer; for ever if none does.
    pub(super) async fn settled(&self) {
        match self.0.as_ref().and_then(|open| open.settles) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Its agent is there.
    pub(super) fn answer(&mut self) {
        if let Some(open) = self.0.take() {
            // Whoever asked may have given up.
            let _ = open.question.send(());
        }
    }
}

/// The side of an agent that says hello.
pub(super) fn side(
    hello: &strongroom_wire::session::AgentHello,
    version: Option<String>,
    address: IpAddr,
    serial: &str,
) -> Side {
    Side {
        start: SessionStart {
            address,
            boot: hello.boot_id,
            serial: serial.to_owned(),
            version,
        },
        answers_challenges: hello.answers_challenges,
    }
}

#[cfg(test)]
mod tests;
