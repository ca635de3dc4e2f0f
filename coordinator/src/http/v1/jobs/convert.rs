//! From the catalog's jobs to the API's.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use strongroom_compare::EscapedPath;
use strongroom_wire::{
    job::{self as wire, Success},
    session,
};

use crate::{
    http::{
        answer::{Started, location},
        dto::{
            AgentRef, Attempt, BackupFigures, DownloadFigures, Entry, Job, JobFailure, JobKind,
            JobResult, JobState, ListFigures, Listing, PlannedAction, Progress, RawPath,
            RestoreFigures, StartedServer, WalFigures, Warning,
        },
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
    job.result = detail.result.map(result);
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
    let snapshot = job.snapshot.or(job.work.snapshot());
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
        kind: kind(job.kind),
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

fn kind(kind: model::JobKind) -> JobKind {
    match kind {
        model::JobKind::Backup => JobKind::Backup,
        model::JobKind::Restore => JobKind::Restore,
        model::JobKind::List => JobKind::List,
        model::JobKind::Download => JobKind::Download,
        model::JobKind::Wal => JobKind::Wal,
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

fn failure(failure: &wire::Failure) -> JobFailure {
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

pub(in crate::http::v1) fn warning(warning: &wire::Warning) -> Warning {
    Warning {
        code: warning.code.to_string(),
        accepted: warning.accepted,
        path: RawPath::from(&*warning.path),
        cause: warning.cause.clone(),
    }
}

fn result(result: Success) -> JobResult {
    match result {
        Success::Backup(it) => JobResult::Backup(BackupFigures {
            snapshot: it.snapshot.to_string(),
            files: it.files,
            directories: it.directories,
            files_unmodified: it.files_unmodified,
            bytes_read: it.bytes_read,
            bytes_total: it.bytes_total,
            bytes_new: it.bytes_new,
            bytes_stored: it.bytes_stored,
            partial: it.partial,
        }),
        Success::Restore(it) => JobResult::Restore(RestoreFigures {
            files: it.files,
            directories: it.directories,
            bytes_written: it.bytes_written,
            files_kept: it.files_kept,
            bytes_fetched: it.bytes_fetched,
            plan: it.plan.iter().map(action).collect(),
            plan_count: it.plan_count,
            notes: it.notes.clone(),
            server: it.server.map(|server| StartedServer {
                port: server.port,
                socket_directory: server.socket_directory,
                log: server.log,
            }),
        }),
        Success::Download(it) => JobResult::Download(DownloadFigures {
            manifest: it.manifest.to_string(),
            bytes: it.bytes,
            file_name: it.file_name,
            files: it.files,
            archive: it.archive,
        }),
        Success::Wal(it) => JobResult::Wal(WalFigures {
            objects: it.objects,
            bytes: it.bytes,
            bytes_stored: it.bytes_stored,
        }),
        Success::List(it) => JobResult::List(ListFigures {
            listing: listing(it),
        }),
    }
}

fn action(action: &wire::PlannedAction) -> PlannedAction {
    PlannedAction {
        path: RawPath::from(&*action.path),
        action: action.action.clone(),
        bytes: action.bytes,
    }
}

fn listing(result: wire::ListResult) -> Listing {
    let last = result.entries.last().filter(|_| result.truncated);
    Listing {
        truncated: result.truncated,
        next_after: last.map(|last| place(&last.path)),
        entries: result.entries.into_iter().map(entry).collect(),
    }
}

/// A place in a listing as agents read it: escaped, or a name that holds a
/// backslash or is not UTF-8 would be read as another.
fn place(path: &[u8]) -> String {
    EscapedPath(OsStr::from_bytes(path).as_ref()).to_string()
}

fn entry(entry: wire::Entry) -> Entry {
    Entry {
        path: RawPath::from(&*entry.path),
        kind: entry.kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size: entry.size,
        modified: entry.modified,
        link_target: (!entry.link_target.is_empty()).then(|| RawPath::from(&*entry.link_target)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &[u8], truncated: bool) -> Listing {
        listing(wire::ListResult {
            entries: vec![wire::Entry {
                path: path.to_vec(),
                kind: "file".into(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: 1,
                modified: "2026-11-21T12:00:00Z".into(),
                link_target: Vec::new(),
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
