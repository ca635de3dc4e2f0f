//! Jobs for people: as rows, and one with everything.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;
use strongroom_runtime::units::{self, ByteRate, ByteSize};

use super::{Table, fields, format, progress};
use strongroom_spec::{BackupOutcome, DownloadOutcome, Outcome, RestoreOutcome};

use crate::http::dto::{Attempt, Job, JobLogEntry, JobState, Jobs, Limits, StoreOutage, Warning};

/// Warnings and planned actions that are printed; `--output json` has more.
const SHOWN: usize = 20;

/// One row a job.
pub(crate) fn list(jobs: &Jobs, now: Timestamp) -> String {
    let mut table = Table::new(
        "no jobs",
        &["id", "kind", "dataset", "agent", "state", "created", "took"],
    );
    for job in &jobs.jobs {
        table.row(&[
            format::short_job(&job.id).to_owned(),
            job.kind.to_string(),
            job.dataset.clone().unwrap_or_else(format::dash),
            job.agent.name.clone(),
            state(job),
            format::relative(job.created_at, now),
            took(job).unwrap_or_else(format::dash),
        ]);
    }
    table.render_page("strongroom jobs list", jobs.next_before.as_deref())
}

fn state(job: &Job) -> String {
    match job.state {
        JobState::Succeeded if job.warning_count > 0 => format!(
            "succeeded with {}",
            format::plural(job.warning_count, "warning")
        ),
        JobState::Running if job.cancel_requested => "running, told to stop".into(),
        JobState::Running => progress::describe(job),
        state => state.to_string(),
    }
}

fn took(job: &Job) -> Option<String> {
    let took = job.finished_at?.duration_since(job.started_at?);
    Some(units::duration(Duration::try_from(took).ok()?))
}

/// Everything about a job.
pub(crate) fn one(job: &Job, now: Timestamp) -> String {
    let mut rows = vec![
        ("job", job.id.clone()),
        ("kind", job.kind.to_string()),
        ("state", state(job)),
        ("agent", job.agent.name.clone()),
    ];
    rows.extend(job.dataset.clone().map(|dataset| ("dataset", dataset)));
    rows.extend(job.after.clone().map(|first| ("after job", first)));
    rows.push(("requested by", job.requested_by.clone()));
    rows.push((
        "created",
        format::moment_and_distance(Some(job.created_at), now),
    ));
    rows.extend(took(job).map(|took| ("took", took)));
    if job.state == JobState::Pending && job.not_before.is_some_and(|at| at > now) {
        rows.push(("starts", format::moment_and_distance(job.not_before, now)));
    }
    rows.extend(limits(&job.limits).map(|limits| ("limits", limits)));
    rows.extend(job.snapshot.clone().map(|id| ("snapshot", id)));
    match &job.result {
        Some(Outcome::Backup(figures) | Outcome::Upload(figures)) => {
            if figures.partial {
                let what = "partial: it lacks something that was asked for".to_owned();
                rows.push(("whole", what));
            }
            rows.extend(backup(figures));
        }
        Some(Outcome::Restore(figures)) => rows.extend(restore(figures)),
        Some(Outcome::Download(figures)) => rows.extend(download(figures)),
        Some(Outcome::Wal(figures)) => rows.push((
            "archived",
            format!(
                "{} of log, stored as {} in {}",
                format::bytes(figures.bytes),
                format::bytes(figures.bytes_stored),
                format::plural(figures.objects, "object")
            ),
        )),
        Some(Outcome::List(_)) | None => {}
    }
    rows.extend(
        job.peak_resident_bytes
            .map(|bytes| ("agent's memory", format::bytes(bytes))),
    );
    if let Some(waits) = &job.waits_for {
        let since = format::moment_and_distance(Some(waits.since), now);
        rows.push(("waits for", format!("{}; since {since}", waits.message)));
    }
    if let Some(outage) = &job.store_outage {
        rows.push(("its store", store_outage(outage, now)));
    }
    if let Some(failure) = &job.failure {
        rows.push(("failure", format!("{}: {}", failure.code, failure.message)));
    }
    rows.extend(job.alarm.clone().map(|alarm| ("unusual", alarm)));
    rows.extend(job.trace_id.clone().map(|id| ("trace", id)));
    let mut text = fields(rows);
    if job.attempts.len() > 1 {
        let _ = write!(text, "\n{}\n", attempts(&job.attempts, now));
    }
    if let Some(Outcome::Restore(figures)) = &job.result {
        text.push_str(&plan(figures));
        text.push_str(&notes(figures));
    }
    text.push_str(&warnings(&job.warnings, job.warning_count));
    text
}

/// Since when a store is away, or when it was.
pub(crate) fn store_outage(outage: &StoreOutage, now: Timestamp) -> String {
    let problem = format::printable(&outage.problem);
    match outage.until {
        None => format!(
            "AWAY since {}: {problem}",
            format::moment_and_distance(Some(outage.since), now)
        ),
        Some(until) => format!(
            "was away for {} s until {}: {problem}",
            until.duration_since(outage.since).as_secs(),
            format::moment_and_distance(Some(until), now),
        ),
    }
}

/// What it may take of its host, as a policy has it.
fn limits(limits: &Limits) -> Option<String> {
    let rate = |bytes: Option<u64>| bytes.and_then(ByteRate::from_bytes_per_second);
    let rates = [
        ("upload", rate(limits.upload_bytes_per_second)),
        ("download", rate(limits.download_bytes_per_second)),
        ("read", rate(limits.read_bytes_per_second)),
    ];
    let rates = rates
        .into_iter()
        .filter_map(|(word, rate)| Some(format!("{word} {}", rate?)));
    let threads = limits.threads.map(|threads| format!("threads {threads}"));
    let memory = limits
        .memory_bytes
        .map(|bytes| format!("memory {}", ByteSize(bytes)));
    let new_data = limits
        .new_data_bytes
        .map(|bytes| format!("new data {}", ByteSize(bytes)));
    let all: Vec<_> = rates.chain(threads).chain(memory).chain(new_data).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn download(figures: &DownloadOutcome) -> [(&'static str, String); 2] {
    [
        ("file", figures.file_name.clone()),
        ("size", format::bytes(figures.bytes)),
    ]
}

fn backup(figures: &BackupOutcome) -> [(&'static str, String); 4] {
    [
        (
            "files",
            format!(
                "{} in {}, {} unchanged",
                format::count(figures.files),
                format::counted(figures.directories, "directory", "directories"),
                format::count(figures.files_unmodified)
            ),
        ),
        ("size", format::bytes(figures.bytes_total)),
        ("read", format::bytes(figures.bytes_read)),
        (
            "new",
            format!(
                "{}, stored as {}",
                format::bytes(figures.bytes_new),
                format::bytes(figures.bytes_stored)
            ),
        ),
    ]
}

fn restore(figures: &RestoreOutcome) -> Vec<(&'static str, String)> {
    // Only a dry run has a plan.
    let done = if figures.plan_count > 0 {
        "to restore"
    } else {
        "restored"
    };
    let mut rows = vec![
        (
            "files",
            format!(
                "{} {done}, {} kept",
                format::count(figures.files),
                format::count(figures.files_kept)
            ),
        ),
        (
            "written",
            format!(
                "{}, fetched {}",
                format::bytes(figures.bytes_written),
                format::bytes(figures.bytes_fetched)
            ),
        ),
    ];
    if let Some(server) = &figures.server {
        let directory = format::printable(&server.socket_directory);
        rows.push(("server", format!("127.0.0.1:{}", server.port)));
        rows.push(("socket", directory.to_string()));
        rows.push(("log", format::printable(&server.log).to_string()));
    }
    rows
}

fn attempts(attempts: &[Attempt], now: Timestamp) -> String {
    let mut table = Table::new("no attempts", &[">attempt", "began", "end"]);
    for attempt in attempts {
        let end = match (&attempt.failure, attempt.finished_at) {
            (Some(failure), _) => format!("{}: {}", failure.code, failure.message),
            (None, Some(_)) => "done".into(),
            (None, None) => "at work".into(),
        };
        table.row(&[
            attempt.number.to_string(),
            format::relative(attempt.dispatched_at, now),
            end,
        ]);
    }
    table.render()
}

fn plan(figures: &RestoreOutcome) -> String {
    let mut text = String::new();
    for action in figures.plan.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "{:7}  {}  {}",
            format::printable(&action.action),
            format::printable(&action.path.text()),
            format::bytes(action.bytes)
        );
    }
    text.push_str(&more(figures.plan.len(), figures.plan_count));
    text
}

/// What happened to a job, a line each.
pub(crate) fn log(entries: &[JobLogEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let attempt = match entry.attempt {
            Some(attempt) => format!("[{attempt}]"),
            None => String::new(),
        };
        let kind = match entry.kind.as_str() {
            "warning" => "warning: ",
            _ => "",
        };
        let _ = writeln!(
            text,
            "{}  {attempt:>4}  {kind}{}",
            format::moment(entry.at),
            format::printable(&entry.text)
        );
    }
    text
}

/// What is where now.
fn notes(figures: &RestoreOutcome) -> String {
    let mut text = String::new();
    for note in figures.notes.iter().take(SHOWN) {
        let _ = writeln!(text, "{}", format::printable(note));
    }
    text.push_str(&more(figures.notes.len(), figures.notes.len() as u64));
    text
}

/// A line for each of the first of `all` warnings.
pub(crate) fn warnings(warnings: &[Warning], all: u64) -> String {
    let mut text = String::new();
    for warning in warnings.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "{}: {}: {} [{}]",
            if warning.accepted {
                "accepted"
            } else {
                "warning"
            },
            format::printable(&warning.path.text()),
            format::printable(&warning.cause),
            format::printable(&warning.code)
        );
    }
    text.push_str(&more(warnings.len(), all));
    text
}

/// Says how many are not shown; nothing when all are.
fn more(listed: usize, all: u64) -> String {
    let shown = listed.min(SHOWN) as u64;
    if shown == 0 || all <= shown {
        return String::new();
    }
    format!(
        "… and {} more; --output json lists up to {}\n",
        format::count(all - shown),
        format::count(strongroom_spec::MAX_WARNINGS as u64)
    )
}
