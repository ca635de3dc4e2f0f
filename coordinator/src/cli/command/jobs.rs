//! `strongroom run` and `strongroom jobs …`

use std::{collections::HashSet, fmt::Write as _};

use strongroom_runtime::{
    clock::{Clock as _, SystemClock},
    printable,
};

use super::Context;
use crate::{
    cli::{
        args::{JobsCommand, JobsListArgs, RunArgs},
        client::{Client, MAX_PAGE, page_limit},
        error::{CliError, Exit},
        render::{format, job, progress::ProgressView},
        watch,
    },
    http::dto::{Job, JobLog, JobLogEntry, JobState, Jobs, RunRequest, StartedJobs},
};

pub(super) async fn start(context: &Context, args: RunArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let request = RunRequest { agent: args.agent };
    let runs: StartedJobs = client
        .post_keyed(&["policies", &args.policy, "runs"], &request)
        .await?;
    if args.wait {
        for note in &runs.notes {
            printable::err(&format::printable(note));
        }
        return wait(context, &client, runs.jobs).await;
    }
    context.renderer.show(&runs, |runs| {
        let mut text: String = runs.jobs.iter().map(started).collect();
        for note in &runs.notes {
            let _ = writeln!(text, "{}", format::printable(note));
        }
        text
    })?;
    Ok(Exit::Done)
}

pub(super) async fn run(context: &Context, command: JobsCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        JobsCommand::List(args) => {
            let jobs: Jobs = client.get(&["jobs"], &filters(args)).await?;
            context.renderer.show(&jobs, |jobs| job::list(jobs, now))?;
        }
        JobsCommand::Show { job } => {
            let job: Job = client.get(&["jobs", &job], &[]).await?;
            context.renderer.show(&job, |job| job::one(job, now))?;
        }
        JobsCommand::Logs { job, follow } => return logs(context, &client, &job, follow).await,
        JobsCommand::Cancel { job } => {
            let job: Job = client.post(&["jobs", &job, "cancel"], &()).await?;
            context.renderer.show(&job, |job| match job.state {
                JobState::Cancelled => format!("job {} is cancelled.", format::short_job(&job.id)),
                state => format!(
                    "job {} is {state}; its agent was told to stop.",
                    format::short_job(&job.id)
                ),
            })?;
        }
    }
    Ok(Exit::Done)
}

/// Prints what happened to a job, and with `follow` what happens, until it has ended.
async fn logs(
    context: &Context,
    client: &Client,
    job: &str,
    follow: bool,
) -> Result<Exit, CliError> {
    let mut log: JobLog = client.get(&["jobs", job, "log"], &[]).await?;
    let mut last = log.entries.clone();
    context.renderer.show(&log, |log| job::log(&log.entries))?;
    let mut known: Job = client.get(&["jobs", &log.job], &[]).await?;
    while follow && !log.state.is_final() {
        let next = watch::next(client, &known);
        tokio::select! {
            next = next => known = next?,
            Ok(()) = tokio::signal::ctrl_c() => {
                printable::err(&goes_on(&[log.job]));
                return Ok(Exit::Interrupted);
            }
        }
        let job = log.job.clone();
        log = client.get(&["jobs", &job, "log"], &[]).await?;
        let now = std::mem::take(&mut log.entries);
        log.entries = news(&last, &now);
        last = now;
        if !log.entries.is_empty() {
            context.renderer.show(&log, |log| job::log(&log.entries))?;
        }
    }
    Ok(Exit::Done)
}

/// What was not in a job's log when it was last read. Not by place: the oldest give
/// way to newer ones, and warnings come before the report that brings them.
fn news(last: &[JobLogEntry], now: &[JobLogEntry]) -> Vec<JobLogEntry> {
    let known: HashSet<_> = last.iter().collect();
    let new = now.iter().filter(|entry| !known.contains(entry));
    new.cloned().collect()
}

/// Follows jobs to their end and says how each ended.
pub(super) async fn wait(
    context: &Context,
    client: &Client,
    jobs: Vec<Job>,
) -> Result<Exit, CliError> {
    let view = ProgressView::new(context.renderer.is_json());
    let ids: Vec<_> = jobs.iter().map(|job| job.id.clone()).collect();
    let jobs = tokio::select! {
        done = watch::until_done(client, jobs, &view) => done?,
        Ok(()) = tokio::signal::ctrl_c() => {
            drop(view);
            printable::err(&goes_on(&ids));
            return Ok(Exit::Interrupted);
        }
    };
    let exit = jobs
        .iter()
        .fold(Exit::Done, |exit, job| exit.worse(exit_of(job)));
    // The wait took its time.
    let now = SystemClock.now();
    context.renderer.show(
        &Jobs {
            jobs,
            next_before: None,
        },
        |jobs| {
            let shown: Vec<_> = jobs.jobs.iter().map(|job| job::one(job, now)).collect();
            shown.join("\n")
        },
    )?;
    Ok(exit)
}

/// What becomes of jobs that nobody waits for any longer.
fn goes_on(ids: &[String]) -> String {
    let line = |id: &String| {
        let id = format::short_job(id);
        format!(
            "job {id} goes on: `strongroom jobs show {id}` follows it, `strongroom jobs cancel {id}` \
             stops it"
        )
    };
    let lines: Vec<_> = ids.iter().map(line).collect();
    lines.join("\n")
}

fn exit_of(job: &Job) -> Exit {
    match job.state {
        JobState::Succeeded if job.warning_count > 0 => Exit::Warnings,
        JobState::Succeeded => Exit::Done,
        _ => Exit::Failed,
    }
}

fn filters(args: JobsListArgs) -> Vec<(&'static str, String)> {
    let mut query = vec![page_limit(args.limit, MAX_PAGE)];
    query.extend(args.agent.map(|agent| ("agent", agent)));
    query.extend(args.policy.map(|policy| ("policy", policy)));
    query.extend(args.state.map(|state| ("state", state.to_string())));
    query.extend(args.kind.map(|kind| ("kind", kind.to_string())));
    query.extend(args.before.map(|before| ("before", before)));
    query
}

/// Says that a job was made and how to follow it.
pub(super) fn started(job: &Job) -> String {
    let id = format::short_job(&job.id);
    let after = job.after.as_ref().map_or_else(String::new, |first| {
        format!(", after job {}", format::short_job(first))
    });
    format!(
        "{} job {id} on {}{after}: `strongroom jobs show {id}` follows it\n",
        job.kind,
        format::printable(&job.agent.name),
    )
}

#[cfg(test)]
mod tests {
    use strongroom_runtime::clock::SystemClock;

    use super::*;

    #[test]
    fn what_is_new_in_a_log_is_shown_once_wherever_it_stands() {
        let at = SystemClock.now();
        let entry = |kind: &str, text: &str| JobLogEntry {
            at,
            attempt: Some(1),
            kind: kind.into(),
            text: text.into(),
        };
        let [asked, opening, reading] = [
            entry("event", "asked for"),
            entry("progress", "opening"),
            entry("progress", "reading"),
        ];
        let [warning, report] = [entry("warning", "x"), entry("event", "succeeded")];
        let last = [asked.clone(), opening.clone(), reading.clone()];
        assert_eq!(news(&[], &last), last);
        assert_eq!(news(&last, &last), []);
        // The oldest stage has given way, and a warning comes in between.
        let now = [
            asked,
            warning.clone(),
            warning.clone(),
            reading,
            report.clone(),
        ];
        assert_eq!(news(&last, &now), [warning.clone(), warning, report]);
    }
}
