//! The events: what changed, for programs that follow.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use strongroom_layout::{AgentId, JobId, ObjectId};

use super::{DatasetName, Job, Snapshot, StateWord, words::words};

words! {
    /// What changed, as `noun.participle`.
    EventKind {
        /// A job was asked for.
        JobCreated = "job.created",
        /// An attempt was offered to its agent.
        JobDispatched = "job.dispatched",
        /// The agent has begun.
        JobStarted = "job.started",
        /// An attempt failed, was lost, or did not reach its agent: the job waits for
        /// another one.
        JobWaiting = "job.waiting",
        /// Done, perhaps with warnings.
        JobSucceeded = "job.succeeded",
        /// All attempts failed.
        JobFailed = "job.failed",
        /// A job at work is to end.
        JobCancelRequested = "job.cancel-requested",
        /// Ended by an operator.
        JobCancelled = "job.cancelled",
        /// Something about a job is odd.
        JobAlarmed = "job.alarmed",
        /// A snapshot is there, and listed from now on.
        SnapshotConfirmed = "snapshot.confirmed",
        /// A snapshot that was to be written never was.
        SnapshotDropped = "snapshot.dropped",
        /// A snapshot is gone from its store.
        SnapshotLost = "snapshot.lost",
        /// A lost snapshot is there again.
        SnapshotFound = "snapshot.found",
        /// A snapshot is kept whatever retention says.
        SnapshotPinned = "snapshot.pinned",
        /// No longer.
        SnapshotUnpinned = "snapshot.unpinned",
        /// A repository was entered; it is not in its store yet.
        RepositoryCreated = "repository.created",
        /// A repository has another agent, which took over its first one's name.
        RepositoryTakenOver = "repository.taken-over",
        /// A repository is in its store.
        RepositoryReady = "repository.ready",
        /// A store has lost objects.
        RepositoryLostObjects = "repository.lost-objects",
        /// Objects that were lost are there again.
        RepositoryFoundObjects = "repository.found-objects",
        /// The losses are no alarm any more.
        RepositoryLossesAccepted = "repository.losses-accepted",
        /// A line of log has ended for a dataset.
        LogEnded = "log.ended",
        /// A host has redeemed an invitation.
        AgentEnrolled = "agent.enrolled",
        /// An agent has other labels.
        AgentLabelled = "agent.labelled",
        /// An agent is never let in again.
        AgentRevoked = "agent.revoked",
        /// An agent's identity has more than one holder.
        AgentContested = "agent.contested",
        /// A contested agent has one holder again.
        AgentTrusted = "agent.trusted",
        /// An agent has a session. Of one that comes and goes all the time, not each is
        /// told.
        AgentConnected = "agent.connected",
        /// An agent has no session any more.
        AgentDisconnected = "agent.disconnected",
        /// A process of a coordinator has begun its work.
        CoordinatorStarted = "coordinator.started",
        /// A process of a coordinator has ended, and all its sessions with it.
        CoordinatorStopped = "coordinator.stopped",
        /// A policy was applied for the first time.
        PolicyCreated = "policy.created",
        /// A policy was applied, and is another than before.
        PolicyChanged = "policy.changed",
        /// A policy was deleted.
        PolicyDeleted = "policy.deleted",
    }
}

impl EventKind {
    /// A job has come to this state.
    pub fn of(state: StateWord) -> Self {
        match state {
            StateWord::Pending => Self::JobWaiting,
            StateWord::Dispatched => Self::JobDispatched,
            StateWord::Running => Self::JobStarted,
            StateWord::Succeeded => Self::JobSucceeded,
            StateWord::Failed => Self::JobFailed,
            StateWord::Cancelled => Self::JobCancelled,
        }
    }
}

/// What an event concerns, as far as there is such a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// A job.
    pub job: Option<JobId>,
    /// An agent.
    pub agent: Option<AgentId>,
    /// A dataset.
    pub dataset: Option<DatasetName>,
    /// A policy's name.
    pub policy: Option<String>,
    /// A repository's name.
    pub repository: Option<String>,
    /// A snapshot in that repository.
    pub snapshot: Option<ObjectId>,
}

impl Subject {
    /// A job, and what it works with.
    pub fn job(job: &Job) -> Self {
        Self {
            job: Some(job.id),
            agent: Some(job.agent),
            dataset: job.dataset.clone(),
            policy: job.policy().map(str::to_owned),
            repository: Some(job.repository.clone()),
            snapshot: job.snapshot.or(job.spec.facts().snapshot),
        }
    }

    /// A snapshot, and what it is of.
    pub fn snapshot(snapshot: &Snapshot) -> Self {
        Self {
            job: Some(snapshot.attempt.job),
            agent: Some(snapshot.agent),
            dataset: Some(snapshot.dataset.clone()),
            policy: Some(snapshot.dataset.policy.clone()),
            repository: Some(snapshot.repository.clone()),
            snapshot: Some(snapshot.id),
        }
    }

    /// An agent.
    pub fn agent(agent: AgentId) -> Self {
        Self {
            agent: Some(agent),
            ..Self::default()
        }
    }

    /// A policy.
    pub fn policy(name: &str) -> Self {
        Self {
            policy: Some(name.into()),
            ..Self::default()
        }
    }

    /// A repository.
    pub fn repository(name: &str) -> Self {
        Self {
            repository: Some(name.into()),
            ..Self::default()
        }
    }
}

/// An event to be written; the catalog adds number and time.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What changed.
    pub kind: EventKind,
    /// Of what.
    pub subject: Subject,
    /// The trace it belongs to, 32 hex digits.
    pub trace_id: Option<String>,
    /// More, as the kind has it. Never a secret.
    pub detail: Value,
}

impl NewEvent {
    /// A change without detail.
    pub fn new(kind: EventKind, subject: Subject) -> Self {
        Self {
            kind,
            subject,
            trace_id: None,
            detail: Value::Null,
        }
    }

    /// The same, with detail.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The same, as part of a trace.
    #[must_use]
    pub fn trace(mut self, trace_id: impl Into<String>) -> Self {
        self.trace_id = Some(trace_id.into());
        self
    }
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Its number, from 1: grows by one from commit to commit.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// A word of [`EventKind`]; one that a newer coordinator wrote may be none of them.
    pub kind: String,
    /// Of what.
    #[serde(flatten)]
    pub subject: Subject,
    /// See [`NewEvent::trace_id`].
    pub trace_id: Option<String>,
    /// See [`NewEvent::detail`].
    pub detail: Value,
}
