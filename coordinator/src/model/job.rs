//! Jobs and their attempts.

use std::num::NonZeroU64;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::Serialize;
use strongroom_layout::{AgentId, AttemptRef, JobId, ObjectId};
use strongroom_spec::{Failure, JobKind, JobSpec, Outcome, ResourceLimits, Warning, WarningCode};
use uuid::Uuid;

use super::{Actor, DatasetName, words::words};

/// A unit of work for an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// UUIDv7: sorts by the time of creation.
    pub id: JobId,
    /// What sort of work.
    pub kind: JobKind,
    /// The dataset that is backed up, or to which the snapshot belongs.
    pub dataset: Option<DatasetName>,
    /// Who does it.
    pub agent: AgentId,
    /// What that agent is called.
    pub agent_name: String,
    /// The store of the repository.
    pub store: String,
    /// Where the data lies. It may not be in the catalog before the first
    /// attempt.
    pub repository: String,
    /// What the agent is asked to do. A backup's parent is filled in when it
    /// is dispatched.
    pub spec: JobSpec,
    /// How long, how often, how fast.
    pub limits: JobLimits,
    /// The job's trace.
    pub trace: TraceRef,
    /// The job that must have succeeded before this one begins.
    pub after: Option<JobId>,
    /// Who asked for it.
    pub requested_by: Actor,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: JobState,
    /// The number of the current or last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts that failed or were lost; one that never reached its agent
    /// does not count.
    pub failed_attempts: u32,
    /// When the current or last attempt began on its agent.
    pub started_at: Option<Timestamp>,
    /// An operator wants it to end.
    pub cancel: Option<CancelRequest>,
    /// The snapshot that a backup wrote.
    pub snapshot: Option<ObjectId>,
    /// How many paths could not be treated as asked.
    pub warning_count: u64,
    /// Peak resident memory of the agent, bytes.
    pub peak_resident_bytes: Option<u64>,
    /// What the coordinator finds odd about it, for people.
    pub alarm: Option<String>,
}

impl Job {
    /// The current or last attempt; `None` before the first.
    pub fn attempt_ref(&self) -> Option<AttemptRef> {
        (self.attempt > 0).then_some(AttemptRef {
            job: self.id,
            attempt: self.attempt,
        })
    }

    /// The policy that asks for it.
    pub fn policy(&self) -> Option<&str> {
        self.dataset.as_ref().map(|dataset| dataset.policy.as_str())
    }

    /// When it ended.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match &self.state {
            JobState::Succeeded { at }
            | JobState::Failed { at, .. }
            | JobState::Cancelled { at, .. } => Some(*at),
            JobState::Pending { .. } | JobState::Dispatched(_) | JobState::Running(_) => None,
        }
    }

    /// Its state for people: `succeeded with warnings` where it applies.
    pub fn shown_state(&self) -> &'static str {
        match self.state.word() {
            StateWord::Succeeded if self.warning_count > 0 => "succeeded with warnings",
            word => word.as_str(),
        }
    }
}

words! {
    /// A job's state without its data.
    StateWord {
        /// Waits for its time, its agent, or a free place.
        Pending = "pending",
        /// Offered to its agent.
        Dispatched = "dispatched",
        /// At work.
        Running = "running",
        /// Done, perhaps with warnings.
        Succeeded = "succeeded",
        /// All attempts failed.
        Failed = "failed",
        /// Ended by an operator.
        Cancelled = "cancelled",
    }
}

impl StateWord {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum JobState {
    /// Waits for its time, its agent, or a free place.
    Pending {
        /// Not to be dispatched earlier.
        not_before: Timestamp,
        /// Why the last attempt failed.
        failure: Option<Failure>,
    },
    /// Offered to its agent.
    Dispatched(Lease),
    /// At work.
    Running(Lease),
    /// Done, perhaps with warnings.
    Succeeded {
        /// When.
        at: Timestamp,
    },
    /// All attempts failed, or one in a way that no other would mend.
    Failed {
        /// When.
        at: Timestamp,
        /// Of the last attempt.
        failure: Failure,
    },
    /// Ended by an operator.
    Cancelled {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

impl JobState {
    /// Without its data.
    pub fn word(&self) -> StateWord {
        match self {
            Self::Pending { .. } => StateWord::Pending,
            Self::Dispatched(_) => StateWord::Dispatched,
            Self::Running(_) => StateWord::Running,
            Self::Succeeded { .. } => StateWord::Succeeded,
            Self::Failed { .. } => StateWord::Failed,
            Self::Cancelled { .. } => StateWord::Cancelled,
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(&self) -> bool {
        self.word().is_final()
    }

    /// The current attempt's lease.
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Dispatched(lease) | Self::Running(lease) => Some(lease),
            _ => None,
        }
    }
}

/// An attempt's right to work, renewed by heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The agent's process that got the job.
    pub boot_id: Uuid,
    /// When it was offered.
    pub dispatched_at: Timestamp,
    /// From then on the attempt is fenced.
    pub expires_at: Timestamp,
}

/// How long, how often, how fast, and what is no reason to worry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobLimits {
    /// The agent ends an attempt after this many seconds.
    pub timeout_seconds: Option<u32>,
    /// Attempts that may fail before the job does; at least 1.
    pub max_attempts: u32,
    /// What it may write to the store in all its attempts, bytes.
    pub new_data: Option<NonZeroU64>,
    /// What an attempt may take of its host.
    pub resources: ResourceLimits,
    /// Warnings that are listed and not counted.
    pub accept: Vec<WarningCode>,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            timeout_seconds: None,
            max_attempts: 1,
            new_data: None,
            resources: ResourceLimits::default(),
            accept: Vec::new(),
        }
    }
}

/// An operator's wish that a job end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancelRequest {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// Why.
    pub reason: String,
}

/// A job's trace: the ids of the trace and of the job's root span in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceRef {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub root_span_id: String,
}

impl TraceRef {
    /// A new trace.
    pub fn random() -> Self {
        let random = *Uuid::new_v4().as_bytes();
        let span = *Uuid::new_v4().as_bytes();
        Self {
            trace_id: HEXLOWER.encode(&random),
            root_span_id: HEXLOWER.encode(&span[..8]),
        }
    }

    /// The W3C trace context of the root span, sampled.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.root_span_id)
    }
}

/// A job to be entered into the catalog.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// See [`Job::dataset`].
    pub dataset: Option<DatasetName>,
    /// See [`Job::agent`].
    pub agent: AgentId,
    /// See [`Job::store`].
    pub store: String,
    /// See [`Job::repository`].
    pub repository: String,
    /// See [`Job::spec`].
    pub spec: JobSpec,
    /// See [`Job::limits`].
    pub limits: JobLimits,
    /// See [`Job::after`].
    pub after: Option<JobId>,
    /// See [`Job::trace`]; a new one when `None`.
    pub trace: Option<TraceRef>,
    /// See [`Job::requested_by`].
    pub requested_by: Actor,
    /// A second job with the same key is not made: the first is returned.
    pub idempotency_key: Option<String>,
}

/// A job with what its reports said in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobDetail {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// Every attempt, first to last.
    pub attempts: Vec<Attempt>,
    /// What it achieved.
    pub result: Option<Outcome>,
    /// The first warnings; [`Job::warning_count`] counts all.
    pub warnings: Vec<Warning>,
    /// Wall time of the last attempt on the agent, milliseconds.
    pub duration_ms: Option<u64>,
}

/// A stage that an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobMark {
    /// Which attempt.
    pub attempt: u32,
    /// When its agent said so.
    pub at: Timestamp,
    /// As the agent calls it.
    pub stage: String,
    /// Entries done until then.
    pub files: u64,
    /// Source bytes done until then.
    pub bytes: u64,
}

/// One try of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    /// Counts from 1.
    pub attempt: u32,
    /// The agent's process.
    pub boot_id: Uuid,
    /// When it was offered.
    pub dispatched_at: Timestamp,
    /// When the agent accepted it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
}
