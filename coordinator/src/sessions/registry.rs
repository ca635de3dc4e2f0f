//! The registry: who is live here, when they were heard of, and how far their work is.
//! In memory; `presence` writes into the catalog what others are to see of it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use strongroom_layout::{AgentId, AttemptRef, JobId};
use strongroom_wire::session::{CoordinatorMessage, Progress};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    clocks::{Change, Clock, Skew},
    contend::{Question, Side},
};
use crate::{
    jobs::LiveAgent,
    model::{NotedProgress, Session},
};

/// Live sessions; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    live: Mutex<HashMap<AgentId, Handle>>,
    /// The sessions that are just beginning: of each agent one.
    beginning: Mutex<HashMap<AgentId, Begun>>,
    /// Of agents that are live.
    clocks: Mutex<HashMap<AgentId, Clock>>,
    /// When agents were last heard of that are or were live here.
    heard: Mutex<HashMap<AgentId, Timestamp>>,
    progress: Mutex<HashMap<AttemptRef, NotedProgress>>,
    changes: watch::Sender<()>,
    progress_changes: watch::Sender<()>,
}

/// The agent has no session, or its session cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent has no session, or does not read what it is sent")]
pub struct NotLive;

/// What reaches one session.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    pub(super) session: Uuid,
    pub(super) boot: Uuid,
    pub(super) since: Timestamp,
    pub(super) side: Side,
    pub(super) sender: mpsc::Sender<CoordinatorMessage>,
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) end: End,
    /// Its agent has said that it stops.
    pub(super) leaving: bool,
}

/// A session that is just beginning.
#[derive(Debug)]
struct Begun {
    number: Uuid,
    /// Its hello has come.
    heard: bool,
    displaced: CancellationToken,
}

/// While this lives and has been [heard](Self::heard), no other session of the
/// agent begins. Before that it gives way to the next one, so that nobody keeps an
/// agent out by saying nothing.
#[derive(Debug)]
pub(super) struct Beginning {
    registry: Registry,
    agent: AgentId,
    number: Uuid,
    displaced: CancellationToken,
}

impl Beginning {
    /// Waits until another session has taken its place.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }

    /// Its hello has come. `false`: another one has taken its place.
    pub(super) fn heard(&self) -> bool {
        let mut beginning = self.registry.0.beginning.lock();
        let own = beginning.get_mut(&self.agent);
        let own = own.filter(|it| it.number == self.number);
        own.map(|it| it.heard = true).is_some()
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        let mut beginning = self.registry.0.beginning.lock();
        if let Entry::Occupied(begun) = beginning.entry(self.agent)
            && begun.get().number == self.number
        {
            begun.remove();
        }
    }
}

/// Ends a session, once, with a reason.
#[derive(Debug, Clone, Default)]
pub(super) struct End(Arc<(CancellationToken, OnceLock<(String, bool)>)>);

impl End {
    /// The first reason counts.
    pub(super) fn ask(&self, reason: impl Into<String>, reconnect: bool) {
        let (token, goodbye) = &*self.0;
        goodbye.get_or_init(|| (reason.into(), reconnect));
        token.cancel();
    }

    /// Waits until somebody asks; gives the goodbye.
    pub(super) async fn asked(&self) -> CoordinatorMessage {
        let (token, goodbye) = &*self.0;
        token.cancelled().await;
        let (reason, reconnect) = goodbye.get().cloned().unwrap_or_default();
        CoordinatorMessage::Goodbye { reason, reconnect }
    }
}

impl Registry {
    /// The one session of the agent that may begin now; `None`: another one is
    /// at it.
    pub(super) fn begin(&self, agent: AgentId) -> Option<Beginning> {
        let (number, displaced) = (Uuid::new_v4(), CancellationToken::new());
        let begun = Begun {
            number,
            heard: false,
            displaced: displaced.clone(),
        };
        match self.0.beginning.lock().entry(agent) {
            Entry::Occupied(other) if other.get().heard => return None,
            Entry::Occupied(mut other) => other.insert(begun).displaced.cancel(),
            Entry::Vacant(free) => {
                free.insert(begun);
            }
        }
        Some(Beginning {
            registry: self.clone(),
            agent,
            number,
            displaced,
        })
    }

    /// The agent's session.
    pub(super) fn handle(&self, agent: AgentId) -> Option<Handle> {
        self.0.live.lock().get(&agent).cloned()
    }

    /// A newer session replaces an older one of the same agent.
    pub(super) fn enter(&self, agent: AgentId, handle: Handle) {
        self.note_heard(agent, handle.since);
        let older = self.0.live.lock().insert(agent, handle);
        if let Some(older) = older {
            older
                .end
                .ask("a newer session of this agent has begun", true);
        }
        self.0.changes.send_replace(());
    }

    /// The session has ended; a newer one of the agent stays.
    pub(super) fn leave(&self, agent: AgentId, session: Uuid) {
        let mut live = self.0.live.lock();
        if live.get(&agent).is_some_and(|it| it.session == session) {
            live.remove(&agent);
            drop(live);
            self.0.clocks.lock().remove(&agent);
            self.0.changes.send_replace(());
        }
    }

    /// The agent stops: it is offered nothing more, and its reports still count.
    pub(super) fn note_leaving(&self, agent: AgentId, session: Uuid) {
        let mut live = self.0.live.lock();
        if let Some(handle) = live.get_mut(&agent).filter(|it| it.session == session) {
            handle.leaving = true;
        }
    }

    /// Every session, also of those that are about to leave.
    pub(super) fn sessions(&self) -> Vec<Session> {
        let live = self.0.live.lock();
        let sessions = live.iter().map(|(agent, handle)| Session {
            agent: *agent,
            id: handle.session,
            boot: handle.boot,
            since: handle.since,
        });
        sessions.collect()
    }

    /// An agent gave a sign of life.
    pub(super) fn note_heard(&self, agent: AgentId, at: Timestamp) {
        self.0.heard.lock().insert(agent, at);
    }

    /// When an agent was last heard of here.
    pub fn last_heard(&self, agent: AgentId) -> Option<Timestamp> {
        self.0.heard.lock().get(&agent).copied()
    }

    /// When each agent was last heard of that is or was live here.
    pub fn all_heard(&self) -> Vec<(AgentId, Timestamp)> {
        let heard = self.0.heard.lock();
        heard.iter().map(|(agent, at)| (*agent, *at)).collect()
    }

    /// Every live agent that stays.
    pub fn live(&self) -> Vec<LiveAgent> {
        let live = self.0.live.lock();
        live.iter()
            .filter(|(_, handle)| !handle.leaving)
            .map(|(agent, handle)| LiveAgent {
                agent: *agent,
                boot_id: handle.boot,
            })
            .collect()
    }

    /// Whether an agent has a session.
    pub fn is_live(&self, agent: AgentId) -> bool {
        self.0.live.lock().contains_key(&agent)
    }

    /// The session of an agent's process.
    pub(crate) fn session(&self, of: LiveAgent) -> Option<Uuid> {
        let live = self.0.live.lock();
        let handle = live.get(&of.agent)?;
        (handle.boot == of.boot_id).then_some(handle.session)
    }

    /// Sends to an agent, if it is still the same process. A session that
    /// does not read what it is sent is ended: the agent may come back.
    pub(crate) fn send(&self, to: LiveAgent, message: CoordinatorMessage) -> Result<(), NotLive> {
        let handle = {
            let live = self.0.live.lock();
            let handle = live.get(&to.agent).filter(|it| it.boot == to.boot_id);
            handle.ok_or(NotLive)?.clone()
        };
        handle.sender.try_send(message).map_err(|_| {
            handle.end.ask("this session is not read", true);
            self.leave(to.agent, handle.session);
            NotLive
        })
    }

    /// Ends an agent's session, if it has one. With `reconnect` false the
    /// agent does not come back: it was revoked.
    pub fn end(&self, agent: AgentId, reason: &str, reconnect: bool) {
        let handle = self.0.live.lock().get(&agent).cloned();
        if let Some(handle) = handle {
            handle.end.ask(reason, reconnect);
        }
    }

    /// What an agent's clock showed in a message that has come.
    pub(super) fn note_clock(
        &self,
        agent: AgentId,
        shown: Timestamp,
        now: Timestamp,
    ) -> Option<Change> {
        let mut clocks = self.0.clocks.lock();
        clocks.entry(agent).or_default().note(shown, now)
    }

    /// How far the clock of an agent with a session is from the coordinator's.
    pub fn skew(&self, agent: AgentId) -> Option<Skew> {
        self.0.clocks.lock().get(&agent)?.skew()
    }

    /// How far a job's current attempt is, as its agent last said.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        self.noted_progress(job).map(|noted| noted.progress)
    }

    /// How far a job's current attempt is, and when its agent said so.
    pub fn noted_progress(&self, job: JobId) -> Option<NotedProgress> {
        let progress = self.0.progress.lock();
        progress
            .values()
            .filter(|it| it.progress.attempt.job == job)
            .max_by_key(|it| it.progress.attempt.attempt)
            .cloned()
    }

    /// How far all attempts are.
    pub(super) fn all_progress(&self) -> Vec<NotedProgress> {
        self.0.progress.lock().values().cloned().collect()
    }

    /// An agent said how far it is. Gives what came to another stage.
    pub(super) fn note_progress(&self, running: Vec<Progress>, at: Timestamp) -> Vec<Progress> {
        let mut progress = self.0.progress.lock();
        let mut marks = Vec::new();
        for each in running {
            let noted = NotedProgress {
                at,
                progress: each.clone(),
            };
            let before = progress.insert(each.attempt, noted);
            if before.is_none_or(|before| before.progress.stage != each.stage) {
                marks.push(each);
            }
        }
        drop(progress);
        self.0.progress_changes.send_replace(());
        marks
    }

    /// The attempt has ended.
    pub(crate) fn forget_progress(&self, attempt: AttemptRef) {
        self.0.progress.lock().remove(&attempt);
    }

    /// Wakes when an agent has said how far it is.
    pub fn progress_changes(&self) -> watch::Receiver<()> {
        self.0.progress_changes.subscribe()
    }

    /// Wakes when a session begins or ends.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::contend::questions, *};
    use crate::catalog::SessionStart;

    fn handle(session: u128, boot: u128) -> (Handle, mpsc::Receiver<CoordinatorMessage>) {
        let (sender, receiver) = mpsc::channel(1);
        let handle = Handle {
            session: Uuid::from_u128(session),
            boot: Uuid::from_u128(boot),
            since: Timestamp::UNIX_EPOCH,
            side: Side {
                start: SessionStart {
                    address: std::net::Ipv4Addr::LOCALHOST.into(),
                    boot: Uuid::from_u128(boot),
                    serial: "1".into(),
                    version: None,
                },
                answers_challenges: true,
            },
            sender,
            questions: questions().0,
            end: End::default(),
            leaving: false,
        };
        (handle, receiver)
    }

    fn to(boot: u128) -> LiveAgent {
        LiveAgent {
            agent: AgentId(Uuid::from_u128(1)),
            boot_id: Uuid::from_u128(boot),
        }
    }

    #[tokio::test]
    async fn a_newer_session_replaces_an_older_which_cannot_remove_it() {
        let registry = Registry::default();
        let agent = to(1).agent;
        let (old, _old_receiver) = handle(1, 1);
        let (new, mut receiver) = handle(2, 2);
        registry.enter(agent, old.clone());
        registry.enter(agent, new);
        assert!(matches!(
            old.end.asked().await,
            CoordinatorMessage::Goodbye { .. }
        ));
        registry.leave(agent, old.session);
        assert!(registry.is_live(agent));

        let message = || CoordinatorMessage::HeartbeatAck(Vec::new());
        assert_eq!(registry.send(to(1), message()), Err(NotLive));
        registry.send(to(2), message()).unwrap();
        assert!(receiver.try_recv().is_ok());
        registry.leave(agent, Uuid::from_u128(2));
        assert_eq!(registry.live(), []);
    }

    #[test]
    fn who_leaves_is_offered_nothing_more_until_he_comes_again() {
        let registry = Registry::default();
        let agent = to(1).agent;
        let (old, _old_receiver) = handle(1, 1);
        registry.enter(agent, old);
        // Another session's word is not his.
        registry.note_leaving(agent, Uuid::from_u128(2));
        assert_eq!(registry.live(), [to(1)]);
        registry.note_leaving(agent, Uuid::from_u128(1));
        assert_eq!(registry.live(), []);
        // What he is at, he is still told of.
        let message = CoordinatorMessage::HeartbeatAck(Vec::new());
        registry.send(to(1), message).unwrap();
        let (new, _receiver) = handle(2, 2);
        registry.enter(agent, new);
        assert_eq!(registry.live(), [to(2)]);
    }

    #[test]
    fn sessions_of_one_agent_begin_one_after_the_other() {
        let registry = Registry::default();
        let agent = to(1).agent;
        let silent = registry.begin(agent).unwrap();
        let beginning = registry.begin(agent).unwrap();
        assert!(!silent.heard(), "who says nothing gives way");
        assert!(silent.displaced.is_cancelled());
        assert!(beginning.heard());
        drop(silent);
        assert!(registry.begin(agent).is_none());
        assert!(registry.begin(AgentId(Uuid::from_u128(2))).is_some());
        assert!(!beginning.displaced.is_cancelled());
        drop(beginning);
        assert!(registry.begin(agent).is_some());
    }

    #[test]
    fn a_session_that_does_not_read_is_not_waited_for() {
        let registry = Registry::default();
        let (handle, _receiver) = handle(1, 1);
        registry.enter(to(1).agent, handle);
        let message = || CoordinatorMessage::HeartbeatAck(Vec::new());
        assert_eq!(registry.send(to(1), message()), Ok(()));
        assert_eq!(registry.send(to(1), message()), Err(NotLive));
        assert_eq!(registry.live(), [], "and its agent gets no more jobs");
    }

    #[test]
    fn progress_is_that_of_the_newest_attempt() {
        let registry = Registry::default();
        let job = JobId(Uuid::from_u128(3));
        let progress = |attempt, files| Progress {
            attempt: AttemptRef { job, attempt },
            stage: "backing up".into(),
            files,
            bytes: 0,
            total_files: None,
            total_bytes: None,
            bytes_stored: 0,
            warnings: 0,
        };
        let said = vec![progress(2, 20), progress(1, 10)];
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(registry.note_progress(said.clone(), now).len(), 2);
        assert_eq!(registry.note_progress(said, now), [], "the same stage");
        assert_eq!(registry.progress(job).unwrap().files, 20);
        assert_eq!(registry.noted_progress(job).unwrap().at, now);
        registry.forget_progress(AttemptRef { job, attempt: 2 });
        registry.forget_progress(AttemptRef { job, attempt: 1 });
        assert_eq!(registry.progress(job), None);
    }
}
