//! One session: hello, then heartbeats, acceptances and reports until it ends.

use std::{net::IpAddr, task::Poll, time::Duration};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use prost::Message as _;
use strongroom_layout::AttemptRef;
use strongroom_proto::v1;
use strongroom_wire::{
    PROTOCOL,
    job::Report,
    session::{AgentHello, AgentMessage, CoordinatorHello, CoordinatorMessage, Heartbeat},
};
use tokio::{sync::mpsc, time::error::Elapsed};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    clocks::Change,
    contend::{self, Asked, Question, Side},
    gateway::Shared,
    record_root_span,
    registry::{End, Handle},
    reports::Reports,
    status,
};
use crate::{
    catalog::{Catalog, CatalogError, Finished},
    grants::BorneOut,
    identity::{Caller, Known},
    model::{Agent, AgentFacts, Job},
};

/// Messages that wait for an agent to read them.
const BACKLOG: usize = 64;
/// For an agent to say hello, and to read what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// A session without a sign of life ends after so many heartbeats.
const MISSED_HEARTBEATS: u32 = 3;
/// Texts in a hello, bytes; what is longer is cut.
const MAX_TEXT: usize = 255;

/// Shakes hands and starts the session; gives what is sent to the agent.
pub(super) async fn begin(
    shared: Shared,
    tasks: &TaskTracker,
    Known { caller, agent }: Known,
    address: IpAddr,
    mut inbound: Streaming<v1::AgentMessage>,
) -> Result<impl Stream<Item = Result<v1::CoordinatorMessage, Status>> + Send + use<>, Status> {
    let another =
        || Status::unavailable("another session of this agent is just beginning; try again");
    // Before it takes the place of one that is beginning as well.
    shared
        .grants
        .keep_pace_of_start(agent.id, address)
        .await
        .map_err(|error| status::grant(&error))?;
    // Before anything is read: one of an agent's calls may say hello.
    let beginning = shared.registry.begin(agent.id).ok_or_else(another)?;
    let hello = tokio::select! {
        hello = receive_hello(&mut inbound) => hello?,
        () = beginning.displaced() => return Err(another()),
    };
    if !beginning.heard() {
        return Err(another());
    }
    // To say hello takes time, in which another may have taken its place.
    let dismissed = contend::dismissed(&shared, agent.id, &caller.serial).await;
    match dismissed.map_err(|error| status::catalog(&error))? {
        None => {}
        Some((reason, true)) => return Err(Status::unavailable(reason)),
        Some((reason, false)) => return Err(Status::permission_denied(reason)),
    }
    if hello.protocol < PROTOCOL {
        return Err(too_old(&shared.catalog, &agent, &hello).await);
    }
    let version = Some(cut(&hello.agent_version));
    let side = contend::side(&hello, version, address, &caller.serial);
    contend::contend(&shared, &agent, &side).await?;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let (asker, questions) = contend::questions();
    let session = Session {
        id: Uuid::new_v4(),
        boot: hello.boot_id,
        side,
        asker,
        caller,
        agent,
        sender,
        end: End::default(),
        shared,
    };
    let span = tracing::info_span!("session", agent = %session.agent.id, session = %session.id);
    session
        .greet(hello)
        .instrument(span.clone())
        .await
        .map_err(|error| status::catalog(&error))?;
    tasks.spawn(session.run(inbound, questions).instrument(span));
    drop(beginning);
    Ok(ReceiverStream::new(receiver).map(|message: CoordinatorMessage| Ok(message.into())))
}

/// Says whom to update, to the host and to operators.
async fn too_old(catalog: &Catalog, agent: &Agent, hello: &AgentHello) -> Status {
    let version = cut(&hello.agent_version);
    if let Err(error) = catalog.agent_too_old(agent.id, &version).await {
        return status::catalog(&error);
    }
    tracing::warn!(agent = %agent.id, name = agent.name, version, "an agent is too old: update it");
    Status::failed_precondition(format!(
        "this agent (version {version}) is older than the coordinator (version {}) understands: \
         update strongroom-agent on this host",
        env!("CARGO_PKG_VERSION")
    ))
}

async fn receive_hello(inbound: &mut Streaming<v1::AgentMessage>) -> Result<AgentHello, Status> {
    let expected = || Status::invalid_argument("the first message of a session must be a Hello");
    let message = tokio::time::timeout(PATIENCE, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello came"))??
        .ok_or_else(expected)?;
    let message = AgentMessage::try_from(message).map_err(status::invalid)?;
    match message.bounded() {
        AgentMessage::Hello(hello) => Ok(hello),
        _ => Err(expected()),
    }
}

struct Session {
    id: Uuid,
    boot: Uuid,
    side: Side,
    asker: mpsc::Sender<Question>,
    caller: Caller,
    agent: Agent,
    sender: mpsc::Sender<CoordinatorMessage>,
    end: End,
    shared: Shared,
}

/// What a session goes on with.
enum Heard {
    /// A message, the end of them, or silence.
    Message(Result<Result<Option<v1::AgentMessage>, Status>, Elapsed>),
    /// A report that its store bore out or refuted.
    Report(Result<BorneOut, CatalogError>),
}

/// Why a session ends from this side.
enum Ending {
    /// With a goodbye.
    Goodbye(CoordinatorMessage),
    /// The agent is gone, or does not listen.
    Gone,
}

impl Session {
    /// Compares the agent's clock with ours.
    fn note_clock(&self, shown: Option<Timestamp>) {
        let Some(shown) = shown else { return };
        let now = self.shared.catalog.clock().now();
        let name = &self.agent.name;
        match self.shared.registry.note_clock(self.agent.id, shown, now) {
            None => {}
            Some(Change::Wrong(skew)) => tracing::warn!(
                name,
                "the agent's clock is {skew}: its snapshots are ordered by the coordinator's; \
                 check the time of both hosts"
            ),
            Some(Change::Right(_)) => tracing::info!(name, "the agent's clock is right again"),
        }
    }

    /// Settles what became of the agent's attempts, answers the hello, and
    /// lets jobs come.
    async fn greet(&self, hello: AgentHello) -> Result<(), CatalogError> {
        let Shared {
            catalog,
            registry,
            config,
            ..
        } = &self.shared;
        let clock = hello.clock;
        let alive = [&hello.running[..], &hello.reported[..]].concat();
        let ended = catalog
            .reconcile_attempts(self.agent.id, self.boot, &alive, &config.backoff)
            .await?;
        self.note_ended(&ended);
        let until = config.lease_end(catalog.clock().now());
        let renewed = catalog
            .renew_leases(self.agent.id, &hello.running, until)
            .await?;
        let is_fenced = |attempt: &AttemptRef| !renewed.contains(attempt);
        let answer = CoordinatorHello {
            session_id: self.id,
            coordinator_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            heartbeat_seconds: seconds(config.heartbeat),
            lease_seconds: seconds(config.lease),
            fenced: hello.running.iter().copied().filter(is_fenced).collect(),
        };
        // The channel is new: there is room.
        let _ = self.sender.try_send(CoordinatorMessage::Hello(answer));
        catalog.agent_hello(self.agent.id, &facts(hello)).await?;
        catalog
            .session_begins(self.agent.id, &self.side.start)
            .await?;
        tracing::info!(name = self.agent.name, boot = %self.boot, "an agent's session begins");
        let handle = Handle {
            session: self.id,
            boot: self.boot,
            since: catalog.clock().now(),
            side: self.side.clone(),
            questions: self.asker.clone(),
            sender: self.sender.clone(),
            end: self.end.clone(),
            leaving: false,
        };
        registry.enter(self.agent.id, handle);
        self.note_clock(clock);
        Ok(())
    }

    async fn run(
        self,
        mut inbound: Streaming<v1::AgentMessage>,
        mut questions: mpsc::Receiver<Question>,
    ) {
        let ending = self.listen(&mut inbound, &mut questions).await;
        // Whoever asks from now on learns at once that it has ended.
        drop(questions);
        // Nothing new comes for this session; what is on its way may go.
        self.shared.registry.leave(self.agent.id, self.id);
        self.shared.grants.forget_session(self.id);
        match ending {
            Ending::Goodbye(goodbye) => {
                tracing::info!(?goodbye, "ending an agent's session");
                self.send(goodbye).await;
            }
            Ending::Gone => tracing::info!("an agent's session has ended"),
        }
    }

    async fn listen(
        &self,
        inbound: &mut Streaming<v1::AgentMessage>,
        questions: &mut mpsc::Receiver<Question>,
    ) -> Ending {
        let mut asked = Asked::default();
        let silence = self.shared.config.heartbeat * MISSED_HEARTBEATS;
        let mut reports = Reports::default();
        let mut heard = tokio::time::Instant::now();
        loop {
            let heard_now = tokio::select! {
                // Nothing more is taken from whoever is to go.
                biased;
                goodbye = self.end.asked() => return Ending::Goodbye(goodbye),
                () = self.shared.shutdown.cancelled() => {
                    return goodbye("the coordinator shuts down", true);
                }
                () = self.sender.closed() => return Ending::Gone,
                Some(question) = questions.recv() => {
                    let nonce = asked.ask(question);
                    let challenge = CoordinatorMessage::Challenge(nonce);
                    if self.side.answers_challenges && self.sender.try_send(challenge).is_err() {
                        return Ending::Gone;
                    }
                    continue;
                }
                () = asked.settled() => {
                    asked.answer();
                    continue;
                }
                report = reports.next() => Heard::Report(report),
                message = tokio::time::timeout_at(heard + silence, inbound.message()) => {
                    Heard::Message(message)
                }
            };
            if let Heard::Message(Ok(Ok(Some(message)))) = &heard_now {
                let length = message.encoded_len();
                if let Err(ending) = self.keep_pace(length, questions, &mut asked).await {
                    return ending;
                }
                heard = tokio::time::Instant::now();
            }
            let handled = match heard_now {
                Heard::Report(Ok(looked)) => self.enter(looked, &mut reports).await,
                Heard::Report(Err(error)) => Err(error),
                Heard::Message(Ok(Ok(Some(message)))) => match AgentMessage::try_from(message) {
                    Ok(message) => {
                        if let AgentMessage::Heartbeat(heartbeat) = &message {
                            asked.heard(heartbeat.challenge, self.side.answers_challenges);
                        }
                        self.handle(message.bounded(), &mut reports).await
                    }
                    Err(error) => return goodbye(&error.to_string(), true),
                },
                Heard::Message(Ok(Ok(None))) => return Ending::Gone,
                Heard::Message(Ok(Err(error))) => {
                    tracing::debug!(%error, "the session broke");
                    return Ending::Gone;
                }
                Heard::Message(Err(_)) => return goodbye("no heartbeat came", true),
            };
            match handled {
                Ok(true) => {}
                Ok(false) => return Ending::Gone,
                Err(error) => {
                    tracing::error!(%error, "the catalog failed during a session");
                    return goodbye("the coordinator's catalog does not answer", true);
                }
            }
            if self.caller.not_after <= self.shared.catalog.clock().now() {
                return goodbye("the certificate of this connection has ended", true);
            }
        }
    }

    /// Waits if too much is said here. Whoever asks meanwhile whether the agent is
    /// there is told that it is: it said something a moment ago, and the answer to a
    /// challenge may lie behind that, unread.
    async fn keep_pace(
        &self,
        length: usize,
        questions: &mut mpsc::Receiver<Question>,
        asked: &mut Asked,
    ) -> Result<(), Ending> {
        let (agent, grants) = (self.agent.id, &self.shared.grants);
        let paced = grants.keep_pace_of_message(agent, self.id, length);
        let mut paced = std::pin::pin!(paced);
        let at_once = futures::poll!(paced.as_mut());
        if let Poll::Ready(Ok(())) = at_once {
            return Ok(());
        }
        asked.answer();
        if let Poll::Ready(Err(error)) = at_once {
            if let Ok(question) = questions.try_recv() {
                let _ = question.send(());
            }
            return Err(goodbye(&error.to_string(), true));
        }
        loop {
            tokio::select! {
                biased;
                goodbye = self.end.asked() => return Err(Ending::Goodbye(goodbye)),
                () = self.shared.shutdown.cancelled() => {
                    return Err(goodbye("the coordinator shuts down", true));
                }
                Some(question) = questions.recv() => {
                    // Whoever asked may have given up.
                    let _ = question.send(());
                }
                paced = paced.as_mut() => {
                    return paced.map_err(|error| goodbye(&error.to_string(), true));
                }
            }
        }
    }

    /// Whether the agent still listens.
    async fn handle(
        &self,
        message: AgentMessage,
        reports: &mut Reports,
    ) -> Result<bool, CatalogError> {
        // What it reports is compared with its store, whoever it is.
        if !matches!(message, AgentMessage::Report(_)) {
            let serial = &self.side.start.serial;
            let dismissed = contend::dismissed(&self.shared, self.agent.id, serial).await?;
            if let Some((reason, reconnect)) = dismissed {
                self.end.ask(reason, reconnect);
                return Ok(true);
            }
        }
        match message {
            AgentMessage::Hello(_) => {
                self.end.ask("a session has one Hello", true);
                Ok(true)
            }
            AgentMessage::Heartbeat(heartbeat) => {
                let reported = reports.attempts().collect();
                self.heartbeat(heartbeat, reported).await
            }
            AgentMessage::JobAccepted(attempt) => self.accepted(attempt).await,
            AgentMessage::Inventory(mut connections) => {
                let catalog = &self.shared.catalog;
                let now = catalog.clock().now();
                for connection in &mut connections {
                    connection.checked_at = connection.checked_at.min(now);
                }
                catalog
                    .note_connections(self.agent.id, &connections)
                    .await?;
                Ok(true)
            }
            AgentMessage::Report(report) => {
                self.take(report, reports);
                Ok(true)
            }
        }
    }

    /// Has a report compared with the store.
    fn take(&self, report: Report, reports: &mut Reports) {
        if !reports.take(&self.shared.grants, self.agent.id, report) {
            self.end.ask("too many reports wait for their stores", true);
        }
    }

    /// Enters a report that was checked, and acknowledges it.
    async fn enter(
        &self,
        BorneOut { report, seen }: BorneOut,
        reports: &mut Reports,
    ) -> Result<bool, CatalogError> {
        let catalog = &self.shared.catalog;
        let backoff = &self.shared.config.backoff;
        let finished = catalog
            .finish_attempt(self.agent.id, &report, seen, backoff)
            .await?;
        match finished {
            Finished::Recorded(job) => {
                tracing::info!(
                    job = %job.id,
                    state = job.shown_state(),
                    trace_id = job.trace.trace_id,
                    "an attempt was reported"
                );
                record_root_span(&job);
            }
            Finished::Duplicate => {}
            Finished::Unseen => {
                self.take(report, reports);
                return Ok(true);
            }
            Finished::Fenced { reason } => {
                tracing::warn!(attempt = %report.attempt, reason, "a report came too late");
            }
        }
        self.shared.registry.forget_progress(report.attempt);
        self.shared.grants.forget_lost_lease(report.attempt);
        Ok(self
            .send(CoordinatorMessage::ReportAck(report.report_id))
            .await)
    }

    /// Renews the leases of what is at work, and of what was `reported` and waits
    /// for its store.
    async fn heartbeat(
        &self,
        heartbeat: Heartbeat,
        reported: Vec<AttemptRef>,
    ) -> Result<bool, CatalogError> {
        self.note_clock(heartbeat.clock);
        let catalog = &self.shared.catalog;
        if heartbeat.leaving {
            self.shared.registry.note_leaving(self.agent.id, self.id);
        }
        let running = heartbeat.running.iter().map(|it| it.attempt);
        let running: Vec<_> = running.chain(reported).collect();
        let until = self.shared.config.lease_end(catalog.clock().now());
        let renewed = catalog.renew_leases(self.agent.id, &running, until).await?;
        let now = catalog.clock().now();
        self.shared.registry.note_heard(self.agent.id, now);
        let mut progress = heartbeat.running;
        progress.retain(|it| renewed.contains(&it.attempt));
        let marks = self.shared.registry.note_progress(progress, now);
        if let Err(error) = catalog.note_marks(&marks).await {
            // They are for people; the leases are renewed.
            tracing::warn!(%error, "the stages of jobs were not noted");
        }
        Ok(self.send(CoordinatorMessage::HeartbeatAck(renewed)).await)
    }

    async fn accepted(&self, attempt: AttemptRef) -> Result<bool, CatalogError> {
        let catalog = &self.shared.catalog;
        if catalog
            .accept_attempt(self.agent.id, attempt)
            .await?
            .is_some()
        {
            return Ok(true);
        }
        let reason = "the attempt has ended or a newer one has begun".to_owned();
        Ok(self
            .send(CoordinatorMessage::CancelJob { attempt, reason })
            .await)
    }

    fn note_ended(&self, jobs: &[Job]) {
        for job in jobs {
            record_root_span(job);
            if let Some(attempt) = job.attempt_ref() {
                self.shared.registry.forget_progress(attempt);
                tracing::warn!(%attempt, "the agent no longer knows an attempt of its own");
            }
        }
    }

    async fn send(&self, message: CoordinatorMessage) -> bool {
        matches!(
            tokio::time::timeout(PATIENCE, self.sender.send(message)).await,
            Ok(Ok(()))
        )
    }
}

fn goodbye(reason: &str, reconnect: bool) -> Ending {
    Ending::Goodbye(CoordinatorMessage::Goodbye {
        reason: reason.to_owned(),
        reconnect,
    })
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1)
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn facts(hello: AgentHello) -> AgentFacts {
    AgentFacts {
        version: Some(cut(&hello.agent_version)),
        hostname: Some(cut(&hello.hostname)),
        os: Some(cut(&hello.os)),
        architecture: Some(cut(&hello.architecture)),
        consent: Some(hello.consent),
        transfer_key: hello.transfer_key,
    }
}
