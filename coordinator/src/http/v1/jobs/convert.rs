//! From the catalog's jobs to the API's.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use strongroom_compare::EscapedPath;
use strongroom_spec::ListOutcome;
use strongroom_wire::session;

use crate::{
    http::{
        answer::{Started, location},
        dto::{AgentRef, Attempt, Job, JobFailure, JobState, Listing, Progress, Warning},
        problem::Problem,
        state::ApiState,
        v1::{self, limits},
    },
    model, stores,
};

/// Jobs as they stand in a list.
pub(in crate::http::v1) async fn listed(
    state: &ApiState,
    jobs: Vec<model::Job>,
) -> Result<Vec<Job>, Problem> {
    let mut progress = state.progress_of(&jobs).await?;
    let jobs = jobs.into_iter().map(|job| {
        let attempt = job.attempt_ref();
        let progress = attempt.and_then(|attempt| progress.remove(&attempt));
        with_revision(base(state, job, progress))
    });
    Ok(jobs.collect())
}

/// A job as it stands in a list.
pub(in crate::http::v1) async fn brief(state: &ApiState, job: model::Job) -> Result<Job, Problem> {
    let progress = state.progress_of(std::slice::from_ref(&job)).await?;
    Ok(with_revision(base(
        state,
        job,
        progress.into_values().next(),
    )))
}

/// A job that has just been made: it has come nowhere yet.
pub(in crate::http::v1) fn made(state: &ApiState, job: model::Job) -> Job {
    with_revision(base(state, job, None))
}

/// The answer to whoever has started a job.
pub(in crate::http::v1) fn started(state: &ApiState, job: model::Job) -> Started<Job> {
    let job = made(state, job);
    Started(location("jobs", &job.id), job)
}

/// A job with its attempts, result and warnings.
pub(in crate::http::v1) async fn detailed(
    state: &ApiState,
    detail: model::JobDetail,
) -> Result<Job, Problem> {
    let progress = state.progress_of(std::slice::from_ref(&detail.job)).await?;
    let mut job = base(state, detail.job, progress.into_values().next());
    job.attempts = detail.attempts.iter().map(attempt).collect();
    job.result = detail.result;
    job.warnings = detail.warnings.iter().map(warning).collect();
    job.duration_ms = detail.duration_ms;
    Ok(with_revision(job))
}

/// The revision is a hash over all that is shown: whatever changes it is a
/// change, and no count of changes has to be kept anywhere.
fn with_revision(mut job: Job) -> Job {
    let text = serde_json::to_vec(&job).unwrap_or_default();
    let hash = Sha256::digest(&text);
    job.revision = HEXLOWER.encode(hash.get(..8).unwrap_or_default());
    job
}

fn base(state: &ApiState, job: model::Job, so_far: Option<session::Progress>) -> Job {
    let store_outage = state
        .checked
        .get(&job.store)
        .filter(|_| job.finished_at().is_none())
        .and_then(stores::Store::outage)
        .filter(|outage| outage.until.is_none())
        .map(v1::stores::outage);
    let snapshot = job.snapshot.or(job.spec.facts().snapshot);
    let (failure, not_before) = match &job.state {
        model::JobState::Pending {
            not_before,
            failure: last,
        } => (last.as_ref().map(failure), Some(*not_before)),
        model::JobState::Failed { failure: last, .. } => (Some(failure(last)), None),
        model::JobState::Cancelled { reason, .. } => (
            Some(JobFailure {
                code: "cancelled".into(),
                message: reason.clone(),
            }),
            None,
        ),
        _ => (None, None),
    };
    Job {
        id: job.id.to_string(),
        kind: job.kind,
        state: word(job.state.word()),
        revision: String::new(),
        agent: AgentRef {
            id: job.agent.to_string(),
            name: job.agent_name.clone(),
        },
        policy: job.policy().map(str::to_owned),
        dataset: job.dataset.as_ref().map(ToString::to_string),
        snapshot: snapshot.map(|id| id.to_string()),
        after: job.after.map(|id| id.to_string()),
        requested_by: job.requested_by.to_string(),
        created_at: job.created_at,
        started_at: job.started_at,
        finished_at: job.finished_at(),
        not_before,
        progress: so_far.map(progress),
        failure,
        result: None,
        duration_ms: None,
        peak_resident_bytes: job.peak_resident_bytes,
        cancel_requested: job.cancel.is_some(),
        warning_count: job.warning_count,
        warnings: Vec::new(),
        attempts: Vec::new(),
        attempts_allowed: job.limits.max_attempts,
        limits: limits::shape(&job.limits),
        waits_for: None,
        store_outage,
        alarm: job.alarm,
        trace_id: Some(job.trace.trace_id),
        repository: Some(job.repository),
    }
}

/// A state without its data.
pub(in crate::http::v1) fn word(word: model::StateWord) -> JobState {
    match word {
        model::StateWord::Pending => JobState::Pending,
        model::StateWord::Dispatched => JobState::Dispatched,
        model::StateWord::Running => JobState::Running,
        model::StateWord::Succeeded => JobState::Succeeded,
        model::StateWord::Failed => JobState::Failed,
        model::StateWord::Cancelled => JobState::Cancelled,
    }
}

fn failure(failure: &strongroom_spec::Failure) -> JobFailure {
    JobFailure {
        code: failure.code.as_str().into(),
        message: failure.message.clone(),
    }
}

fn attempt(attempt: &model::Attempt) -> Attempt {
    Attempt {
        number: attempt.attempt,
        dispatched_at: attempt.dispatched_at,
        started_at: attempt.started_at,
        finished_at: attempt.ended_at,
        failure: attempt.failure.as_ref().map(failure),
    }
}

fn progress(progress: session::Progress) -> Progress {
    Progress {
        stage: progress.stage,
        files: progress.files,
        total_files: progress.total_files,
        bytes: progress.bytes,
        total_bytes: progress.total_bytes,
        bytes_stored: progress.bytes_stored,
        warnings: progress.warnings,
    }
}

pub(in crate::http::v1) fn warning(warning: &strongroom_spec::Warning) -> Warning {
    Warning {
        code: warning.code.to_string(),
        accepted: warning.accepted,
        path: warning.path.clone(),
        cause: warning.cause.clone(),
    }
}

/// A page of a snapshot's entries.
pub(in crate::http::v1) fn listing(result: ListOutcome) -> Listing {
    let last = result.entries.last().filter(|_| result.truncated);
    Listing {
        truncated: result.truncated,
        next_after: last.map(|last| place(&last.path)),
        entries: result.entries,
    }
}

/// A place in a listing as agents read it: escaped, or a name that holds a
/// backslash or is not UTF-8 would be read as another.
fn place(path: &[u8]) -> String {
    EscapedPath(OsStr::from_bytes(path).as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use strongroom_spec::Entry;

    use super::*;

    fn page(path: &[u8], truncated: bool) -> Listing {
        listing(ListOutcome {
            entries: vec![Entry {
                path: path.into(),
                kind: "file".into(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: 1,
                modified: "2026-11-21T12:00:00Z".into(),
                link_target: None,
            }],
            truncated,
        })
    }

    /// That agents read these back, `agent/src/restore/tests/listing.rs` proves.
    #[test]
    fn a_listing_goes_on_behind_the_exact_name() {
        for (path, next) in [
            (&b"/srv/a"[..], "/srv/a"),
            ("/srv/gr\u{fc}n".as_bytes(), "/srv/gr\u{fc}n"),
            (br"/srv/a\x2db", r"/srv/a\\x2db"),
            (b"/srv/\x80", r"/srv/\x80"),
            (b"/srv/\xff/a\n", r"/srv/\xff/a\n"),
        ] {
            assert_eq!(page(path, true).next_after.as_deref(), Some(next));
            assert_eq!(page(path, false).next_after, None);
        }
    }
}
