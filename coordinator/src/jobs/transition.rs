//! The transitions of a job. Each consumes a job and gives the next.
//!
//! `pending → dispatched → running → succeeded | failed | cancelled`, and
//! back to `pending` when an attempt fails that may be repeated. Every
//! attempt has a number of its own; whoever speaks for another number is
//! fenced.

use jiff::Timestamp;
use strongroom_spec::{Failure, FailureCode, JobSpec};
use strongroom_wire::job::Report;
use uuid::Uuid;

use super::Backoff;
use crate::model::{CancelRequest, Job, JobState, Lease, StateWord};

/// A job is not in a state that allows this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job {job} is {state} and cannot be {wanted}")]
pub struct InvalidTransition {
    /// Which job.
    pub job: strongroom_layout::JobId,
    /// Its state.
    pub state: StateWord,
    /// What was asked.
    pub wanted: &'static str,
}

/// Why an attempt's word about its job does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// The attempt has ended, or a newer one has begun.
    #[error("attempt {attempt} of job {job} is fenced: the job is {state} at attempt {current}")]
    Fenced {
        /// Which job.
        job: strongroom_layout::JobId,
        /// The attempt that spoke.
        attempt: u32,
        /// The job's attempt now.
        current: u32,
        /// The job's state now.
        state: StateWord,
    },
    /// The job is in another state.
    #[error(transparent)]
    Invalid(#[from] InvalidTransition),
}

/// Offers a waiting job to the process `boot_id` of its agent. A backup's
/// parent becomes `parent`.
pub fn dispatch(
    mut job: Job,
    boot_id: Uuid,
    parent: Option<strongroom_layout::ObjectId>,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Job, InvalidTransition> {
    if job.state.word() != StateWord::Pending {
        return Err(invalid(&job, "dispatched"));
    }
    if let JobSpec::Backup(work) = &mut job.spec {
        work.parent = parent;
    }
    job.attempt += 1;
    job.started_at = None;
    job.state = JobState::Dispatched(Lease {
        boot_id,
        dispatched_at: now,
        expires_at: lease_until,
    });
    Ok(job)
}

/// What had to succeed first has not: a waiting job fails without a try.
pub fn give_up(mut job: Job, first: &Job, now: Timestamp) -> Result<Job, InvalidTransition> {
    if job.state.word() != StateWord::Pending {
        return Err(invalid(&job, "given up"));
    }
    job.state = JobState::Failed {
        at: now,
        failure: Failure {
            code: FailureCode::Refused,
            message: format!(
                "nothing was begun: the {} that was to come first (job {}) is {}; look into that \
                 with `strongroom jobs show`, then ask again",
                first.kind,
                first.id,
                first.shown_state()
            ),
            retryable: false,
        },
    };
    Ok(job)
}

/// The offer did not reach the agent: as if it had not been made, except
/// that its attempt's number is used up.
pub fn release(mut job: Job, attempt: u32, now: Timestamp) -> Result<Job, TransitionError> {
    fence(&job, attempt)?;
    if job.state.word() != StateWord::Dispatched {
        return Err(invalid(&job, "released").into());
    }
    job.state = match job.cancel.clone() {
        Some(cancel) => cancelled(&cancel, now),
        None => JobState::Pending {
            not_before: now,
            failure: None,
        },
    };
    Ok(job)
}

/// The agent has begun. Said again, it changes nothing.
pub fn accept(mut job: Job, attempt: u32, now: Timestamp) -> Result<Job, TransitionError> {
    fence(&job, attempt)?;
    if let JobState::Dispatched(lease) = job.state {
        job.state = JobState::Running(lease);
        job.started_at = Some(now);
    }
    Ok(job)
}

/// The agent says how the attempt ended.
pub fn finish(
    mut job: Job,
    report: &Report,
    backoff: &Backoff,
    now: Timestamp,
) -> Result<Job, TransitionError> {
    fence(&job, report.attempt.attempt)?;
    job.warning_count = report.warning_count;
    job.peak_resident_bytes = Some(report.peak_resident_bytes);
    match &report.outcome {
        Ok(outcome) if job.kind == outcome.kind() => {
            if let Some(made) = outcome.made() {
                job.snapshot = Some(made.snapshot);
            }
            job.state = JobState::Succeeded { at: now };
            Ok(job)
        }
        Ok(outcome) => {
            let failure = Failure {
                code: FailureCode::Version,
                message: format!(
                    "the agent reported what comes of a {} for a {}: update the agent",
                    outcome.kind(),
                    job.kind
                ),
                retryable: false,
            };
            Ok(fail(job, failure, backoff, now))
        }
        Err(failure) => Ok(fail(job, failure.clone(), backoff, now)),
    }
}

/// The attempt ends without a word of its agent: its lease ran out, the agent
/// restarted, or the time is over.
pub fn lose(
    job: Job,
    cause: Failure,
    backoff: &Backoff,
    now: Timestamp,
) -> Result<Job, InvalidTransition> {
    if job.state.lease().is_none() {
        return Err(invalid(&job, "lost"));
    }
    Ok(fail(job, cause, backoff, now))
}

/// The job can never be done: its agent was revoked.
pub fn abandon(mut job: Job, failure: Failure, now: Timestamp) -> Result<Job, InvalidTransition> {
    if job.state.is_final() {
        return Err(invalid(&job, "abandoned"));
    }
    job.state = JobState::Failed { at: now, failure };
    Ok(job)
}

/// An operator wants the job to end: at once when it waits, else as soon as
/// its agent has been told and reports.
pub fn cancel(mut job: Job, request: CancelRequest) -> Result<Job, InvalidTransition> {
    match job.state.word() {
        StateWord::Pending => job.state = cancelled(&request, request.at),
        StateWord::Dispatched | StateWord::Running => {}
        _ => return Err(invalid(&job, "cancelled")),
    }
    job.cancel.get_or_insert(request);
    Ok(job)
}

/// What goes on without an end counts failures in a row: an attempt that was at
/// work for long enough was none, whatever ended it, and one that ended because
/// its agent went away says nothing about the next. What the agent does not allow
/// ends that, too: whoever makes such jobs waits for another `agent.toml`.
fn fail(mut job: Job, failure: Failure, backoff: &Backoff, now: Timestamp) -> Job {
    let endless = job.spec.facts().endless;
    let was_at_work = was_at_work(&job, now);
    if endless && was_at_work {
        job.failed_attempts = 0;
    }
    // One that takes its agent down says nothing and is lost as soon as it begins.
    let went_away = match failure.code {
        FailureCode::Cancelled => true,
        FailureCode::Fenced => was_at_work,
        _ => false,
    };
    if !(endless && went_away) {
        job.failed_attempts += 1;
    }
    job.state = if let Some(cancel) = &job.cancel {
        cancelled(cancel, now)
    } else {
        let failed = job.failed_attempts;
        let next = if endless && went_away {
            Some(now)
        } else if endless && failure.code == FailureCode::NotAllowed {
            None
        } else if endless {
            let again = Failure {
                retryable: true,
                ..failure.clone()
            };
            Backoff::URGENT.next_attempt(&again, failed, u32::MAX, now)
        } else {
            backoff.next_attempt(&failure, failed, job.limits.max_attempts, now)
        };
        match next {
            Some(not_before) => JobState::Pending {
                not_before,
                failure: Some(failure),
            },
            None => JobState::Failed { at: now, failure },
        }
    };
    job
}

fn was_at_work(job: &Job, now: Timestamp) -> bool {
    job.started_at
        .is_some_and(|start| now.duration_since(start) >= Backoff::URGENT.max)
}

fn cancelled(request: &CancelRequest, at: Timestamp) -> JobState {
    JobState::Cancelled {
        at,
        reason: request.reason.clone(),
    }
}

fn fence(job: &Job, attempt: u32) -> Result<(), TransitionError> {
    if job.attempt == attempt && job.state.lease().is_some() {
        Ok(())
    } else {
        Err(TransitionError::Fenced {
            job: job.id,
            attempt,
            current: job.attempt,
            state: job.state.word(),
        })
    }
}

fn invalid(job: &Job, wanted: &'static str) -> InvalidTransition {
    InvalidTransition {
        job: job.id,
        state: job.state.word(),
        wanted,
    }
}

#[cfg(test)]
mod tests;
