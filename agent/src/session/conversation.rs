//! One stream, from Hello to its end.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use strongroom_layout::AttemptRef;
use strongroom_proto::v1::{self, agent_gateway_client::AgentGatewayClient};
use strongroom_runtime::causes;
use strongroom_wire::{
    MAX_MESSAGE_BYTES, PROTOCOL,
    session::{AgentHello, AgentMessage, Consent, CoordinatorHello, CoordinatorMessage, Heartbeat},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming, transport::Channel};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::{
    Session,
    renewal::{self, RenewError},
};
use crate::{
    enrol::Identity,
    runner::{Stop, resident_bytes},
};

/// How long the coordinator may take to answer the Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a message may wait for room on the stream.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// A report that is not acknowledged in this time is sent again.
const RESEND: Duration = Duration::from_secs(30);
/// After a renewal failed, the next try, at the latest.
const RENEW_AGAIN: Duration = Duration::from_mins(5);
/// How long to wait for acknowledgements, or for the coordinator's last words,
/// when the agent ends the stream.
const FAREWELL: Duration = Duration::from_secs(3);
/// So many heartbeats without a word: the coordinator is gone.
const SILENT_HEARTBEATS: u32 = 4;

/// How a stream ended.
pub(super) enum Outcome {
    /// Not by us: try again.
    Lost {
        /// For the log.
        reason: String,
        /// There was a session worth the name.
        healthy: bool,
    },
    /// There is a new certificate: connect with it.
    Renewed,
    /// `agent.toml` allows something else now: say so.
    Changed,
    /// Never come back.
    Dismissed {
        /// As the coordinator put it.
        reason: String,
    },
    /// The agent ends.
    Stopped,
}

/// Why a conversation cannot go on.
enum Broken {
    Lost(String),
    Dismissed(String),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                Self::Dismissed(status.message().to_owned())
            }
            // The transport's own words are in the source.
            _ => Self::Lost(describe(&status)),
        }
    }
}

/// The status and what lies below it: "transport error" alone helps nobody.
fn describe(status: &Status) -> String {
    let text = format!("{}: {}", status.code(), status.message());
    causes::behind(text, status)
}

pub(super) struct Conversation<'a> {
    session: &'a mut Session,
    channel: Channel,
    outgoing: mpsc::Sender<v1::AgentMessage>,
    incoming: Streaming<v1::CoordinatorMessage>,
    hello: CoordinatorHello,
    /// As it was said, until it changes.
    consent: watch::Receiver<Consent>,
    /// Reports sent on this stream and not acknowledged.
    sent: HashSet<Uuid>,
    /// Attempts whose lease a heartbeat has renewed.
    renewed: BTreeSet<AttemptRef>,
    last_heard: Instant,
    renew_at: Timestamp,
    renew_not_before: Instant,
    renewal: Option<BoxFuture<'static, Result<Identity, RenewError>>>,
    /// The agent stops, and has said so.
    leaving: bool,
}

impl<'a> Conversation<'a> {
    /// Talks until the stream ends, for whatever reason.
    pub(super) async fn hold(
        session: &'a mut Session,
        channel: Channel,
        renew_at: Timestamp,
        stop: &CancellationToken,
    ) -> Outcome {
        let opened = tokio::select! {
            opened = Self::open(session, channel, renew_at) => opened,
            () = stop.cancelled() => return Outcome::Stopped,
        };
        let (broken, healthy) = match opened {
            Err(broken) => (broken, false),
            Ok(mut conversation) => match conversation.talk(stop).await {
                Ok(outcome) => {
                    conversation.close().await;
                    return outcome;
                }
                Err(broken) => (broken, true),
            },
        };
        match broken {
            Broken::Lost(reason) => Outcome::Lost { reason, healthy },
            Broken::Dismissed(reason) => Outcome::Dismissed { reason },
        }
    }

    /// Hello both ways.
    async fn open(
        session: &'a mut Session,
        channel: Channel,
        renew_at: Timestamp,
    ) -> Result<Self, Broken> {
        let (outgoing, queue) = mpsc::channel(64);
        let mut consent = session.consent.clone();
        let allowed = consent.borrow_and_update().clone();
        let hello = v1::AgentMessage::from(AgentMessage::Hello(greeting(session, allowed)));
        outgoing
            .try_send(hello)
            .map_err(|error| Broken::Lost(error.to_string()))?;
        let mut client = AgentGatewayClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let exchange = async {
            let mut incoming = client
                .session(ReceiverStream::new(queue))
                .await?
                .into_inner();
            let first = incoming.message().await?;
            Ok::<_, Broken>((incoming, first))
        };
        let (incoming, first) = tokio::time::timeout(HELLO_TIMEOUT, exchange)
            .await
            .map_err(|_| Broken::Lost("the coordinator did not answer the Hello".into()))??;
        let first = first.ok_or_else(|| Broken::Lost("the stream ended at once".into()))?;
        let hello = match CoordinatorMessage::try_from(first) {
            Ok(CoordinatorMessage::Hello(hello)) => hello,
            Ok(CoordinatorMessage::Goodbye { reason, reconnect }) => {
                return Err(goodbye(reason, reconnect));
            }
            Ok(_) => return Err(Broken::Lost("the first message was no Hello".into())),
            Err(error) => return Err(Broken::Lost(error.to_string())),
        };
        if hello.protocol < PROTOCOL {
            return Err(Broken::Lost(format!(
                "the coordinator (version {}) is older than this agent and does not understand \
                 it: update the coordinator",
                hello.coordinator_version
            )));
        }
        info!(coordinator = %session.coordinator, session = %hello.session_id,
            version = hello.coordinator_version, "connected");
        for attempt in &hello.fenced {
            session.runner.stop(*attempt, Stop::Fenced);
        }
        let now = Instant::now();
        Ok(Self {
            session,
            channel,
            outgoing,
            incoming,
            hello,
            consent,
            sent: HashSet::new(),
            renewed: BTreeSet::new(),
            last_heard: now,
            renew_at,
            renew_not_before: now,
            renewal: None,
            leaving: false,
        })
    }

    async fn talk(&mut self, stop: &CancellationToken) -> Result<Outcome, Broken> {
        let period = Duration::from_secs(self.hello.heartbeat_seconds.into());
        let mut heartbeat = interval(period);
        let mut resend = interval(RESEND);
        resend.reset();
        let mut changes = self.session.outbox.changes();
        let mut found = self.session.found.clone();
        found.mark_changed();
        let runner = self.session.runner.clone();
        let idle = runner.idle();
        let mut idle = std::pin::pin!(idle.fuse());
        let mut farewell = std::pin::pin!(futures::future::Fuse::terminated());
        self.send_reports().await?;
        loop {
            tokio::select! {
                message = self.incoming.message() => {
                    let message = message?
                        .ok_or_else(|| Broken::Lost("the coordinator ended the stream".into()))?;
                    self.last_heard = Instant::now();
                    match CoordinatorMessage::try_from(message) {
                        Ok(message) => self.hear(message).await?,
                        Err(error) => warn!(%error, "a message that makes no sense; \
                            is the coordinator newer than this agent?"),
                    }
                }
                _ = heartbeat.tick() => {
                    if self.last_heard.elapsed() > period * SILENT_HEARTBEATS {
                        return Err(Broken::Lost("the coordinator fell silent".into()));
                    }
                    self.beat(None).await?;
                    self.renew_when_due();
                }
                _ = resend.tick() => {
                    self.sent.clear();
                    self.send_reports().await?;
                }
                _ = changes.changed() => self.send_reports().await?,
                // Whoever looked has ended: there will be no more news.
                Ok(()) = found.changed() => {
                    let connections = found.borrow_and_update().clone();
                    if let Some(connections) = connections {
                        self.say(AgentMessage::Inventory(connections.to_vec())).await?;
                    }
                }
                Ok(()) = self.consent.changed(), if !self.leaving => return Ok(Outcome::Changed),
                renewed = wait(&mut self.renewal) => {
                    self.renewal = None;
                    if self.take_renewal(renewed).await {
                        return Ok(Outcome::Renewed);
                    }
                }
                () = stop.cancelled(), if !self.leaving => {
                    self.leaving = true;
                    // Before any report of what ends now: whoever hears that
                    // something ended would offer it again.
                    self.beat(None).await?;
                    runner.stop_all(&Stop::Shutdown);
                }
                () = &mut idle, if self.leaving => {
                    self.send_reports().await?;
                    farewell.set(tokio::time::sleep(FAREWELL).fuse());
                    if self.session.outbox.is_empty() {
                        return Ok(Outcome::Stopped);
                    }
                }
                () = &mut farewell, if self.leaving => return Ok(Outcome::Stopped),
            }
            // In this order: an attempt leaves its report before it is gone.
            if self.leaving && runner.running().is_empty() && self.session.outbox.is_empty() {
                return Ok(Outcome::Stopped);
            }
        }
    }

    async fn hear(&mut self, message: CoordinatorMessage) -> Result<(), Broken> {
        match message {
            CoordinatorMessage::Hello(_) => warn!("a second Hello on one stream"),
            CoordinatorMessage::JobOffer(offer) => {
                let attempt = offer.attempt;
                let waiting = self.session.outbox.waiting();
                if let Some((report, _)) = waiting.iter().find(|(_, done)| *done == attempt) {
                    // Its report crossed the offer: say it again.
                    self.sent.remove(report);
                    return self.send_reports().await;
                }
                self.session.runner.begin(*offer);
                self.say(AgentMessage::JobAccepted(attempt)).await?;
            }
            CoordinatorMessage::CancelJob { attempt, reason } => {
                let stop = Stop::Cancelled { reason };
                self.session.runner.stop(attempt, stop);
            }
            CoordinatorMessage::ReportAck(report) => {
                self.sent.remove(&report);
                let outbox = self.session.outbox.clone();
                blocking(move || outbox.acknowledge(report)).await?;
            }
            CoordinatorMessage::HeartbeatAck(renewed) => self.heed_leases(renewed),
            CoordinatorMessage::Challenge(nonce) => {
                warn!(
                    "another session under this agent's certificate has begun: if it is not \
                    one of this process that was lost, the identity was copied"
                );
                return self.beat(Some(nonce)).await;
            }
            CoordinatorMessage::Goodbye { reason, reconnect } => {
                return Err(goodbye(reason, reconnect));
            }
        }
        Ok(())
    }

    /// What was renewed before and is not any more has lost its lease. An
    /// attempt that was never renewed may be younger than this heartbeat.
    fn heed_leases(&mut self, renewed: Vec<AttemptRef>) {
        let renewed: BTreeSet<_> = renewed.into_iter().collect();
        for attempt in self.session.runner.running() {
            if self.renewed.contains(&attempt) && !renewed.contains(&attempt) {
                self.session.runner.stop(attempt, Stop::Fenced);
            }
        }
        self.renewed = renewed;
    }

    async fn beat(&mut self, challenge: Option<Uuid>) -> Result<(), Broken> {
        self.say(AgentMessage::Heartbeat(Heartbeat {
            running: self.session.runner.progress(),
            resident_bytes: resident_bytes(),
            challenge,
            leaving: self.leaving,
            clock: Some(self.session.clock.now()),
        }))
        .await
    }

    /// Sends what waits in the outbox and was not sent on this stream yet.
    async fn send_reports(&mut self) -> Result<(), Broken> {
        for (id, attempt) in self.session.outbox.waiting() {
            if !self.sent.insert(id) {
                continue;
            }
            let outbox = self.session.outbox.clone();
            if let Some(report) = blocking(move || outbox.load(id)).await? {
                debug!(%attempt, report = %id, "reporting");
                self.say(AgentMessage::Report(report)).await?;
            }
        }
        Ok(())
    }

    fn renew_when_due(&mut self) {
        let due = self.session.clock.now() >= self.renew_at;
        if due && self.renewal.is_none() && Instant::now() >= self.renew_not_before {
            let identity = self.session.identity.clone();
            self.renewal = Some(renewal::renew(self.channel.clone(), identity).boxed());
        }
    }

    /// How long to wait after a renewal failed: several tries are made while the
    /// certificate still holds.
    fn renew_again(&self) -> Duration {
        let Ok((_, not_after)) = self.session.identity.validity() else {
            return RENEW_AGAIN;
        };
        let left = self.session.clock.now().duration_until(not_after);
        RENEW_AGAIN.min(Duration::try_from(left).unwrap_or_default() / 4)
    }

    /// Whether there is a new identity, on disk and in use from now on.
    async fn take_renewal(&mut self, renewed: Result<Identity, RenewError>) -> bool {
        self.renew_not_before = Instant::now() + self.renew_again();
        let identity = match renewed {
            Ok(identity) => identity,
            Err(error) => {
                warn!(%error, "the certificate could not be renewed; trying again later");
                return false;
            }
        };
        let state = self.session.state_dir.clone();
        let saved = identity.clone();
        match blocking(move || saved.save(&state)).await {
            Ok(Ok(())) => {
                self.session.identity = identity;
                true
            }
            Ok(Err(error)) => {
                warn!(%error, "the renewed certificate could not be kept; trying again later");
                false
            }
            Err(_) => false,
        }
    }

    async fn say(&mut self, message: AgentMessage) -> Result<(), Broken> {
        match tokio::time::timeout(SEND_TIMEOUT, self.outgoing.send(message.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Broken::Lost("the stream was closed".into())),
            Err(_) => Err(Broken::Lost(
                "the coordinator does not read any more".into(),
            )),
        }
    }

    /// Ends our side and hears the coordinator out, so that a job offered in
    /// the last moment is not lost on the way.
    async fn close(mut self) {
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.outgoing, closed));
        let last_words = async {
            while let Ok(Some(message)) = self.incoming.message().await {
                if let Ok(message) = CoordinatorMessage::try_from(message) {
                    // Answers have nowhere to go; the next Hello says it all.
                    let _ = self.hear(message).await;
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, last_words).await;
    }
}

fn greeting(session: &Session, consent: Consent) -> AgentHello {
    // In this order: what ends in between is in both, never in neither.
    let mut running = session.runner.running();
    let reported: Vec<_> = session
        .outbox
        .waiting()
        .into_iter()
        .map(|(_, attempt)| attempt)
        .collect();
    running.retain(|attempt| !reported.contains(attempt));
    AgentHello {
        boot_id: session.boot_id,
        agent_version: crate::VERSION.to_owned(),
        protocol: PROTOCOL,
        hostname: session.hostname.clone(),
        os: std::env::consts::OS.to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        running,
        reported,
        consent,
        transfer_key: Some(session.transfer_key),
        answers_challenges: true,
        clock: Some(session.clock.now()),
    }
}

fn goodbye(reason: String, reconnect: bool) -> Broken {
    if reconnect {
        Broken::Lost(format!("the coordinator said goodbye: {reason}"))
    } else {
        Broken::Dismissed(reason)
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The renewal's answer; never while none is under way.
async fn wait(
    renewal: &mut Option<BoxFuture<'static, Result<Identity, RenewError>>>,
) -> Result<Identity, RenewError> {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}

/// Runs what blocks on the disk where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Broken> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Broken::Lost(error.to_string()))
}
