//! `strongroom status`

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::Context;
use crate::{
    cli::{
        args::StatusArgs,
        error::{CliError, Exit},
        render::{Table, format, job, recovery},
    },
    http::dto::{DatasetStatus, JobState, Status, StoreOutage, StoreState, StoreStatus},
    sessions::Skew,
};

pub(super) async fn run(context: &Context, args: &StatusArgs) -> Result<Exit, CliError> {
    let status: Status = context.client()?.get(&["status"], &[]).await?;
    let now = context.renderer.now;
    context
        .renderer
        .show(&status, |status| overview(status, now))?;
    Ok(if args.exit_code {
        verdict(&status, now)
    } else {
        Exit::Done
    })
}

/// What `--exit-code` makes of it.
pub(super) fn verdict(status: &Status, now: Timestamp) -> Exit {
    let is_away = |store: &StoreStatus| {
        let outage = store.outage.as_ref();
        outage.is_some_and(|outage| outage.until.is_none())
    };
    let is_signed_for = |store: &StoreStatus| {
        matches!(store.state, StoreState::Safe | StoreState::RiskAccepted) && !is_away(store)
    };
    let mut logs = status.recovery.iter();
    let counts = &status.counts;
    let all_well = status.clocks.is_empty() && counts.agents_connected >= counts.agents;
    let of_dataset = |dataset: &DatasetStatus| match dataset.last_job_state {
        Some(JobState::Failed) => Exit::Failed,
        _ if dataset.alarm.is_some() => Exit::Failed,
        _ if dataset.warning_count > 0 => Exit::Warnings,
        _ => Exit::Done,
    };
    let first = match all_well {
        _ if !status.contested.is_empty() || !status.losses.is_empty() => Exit::Failed,
        _ if !status.stores.iter().all(is_signed_for) => Exit::Failed,
        _ if logs.any(|cluster| recovery::needs_somebody(cluster, now)) => Exit::Failed,
        true => Exit::Done,
        false => Exit::Warnings,
    };
    let datasets = status.datasets.iter().map(of_dataset);
    datasets.fold(first, Exit::worse)
}

pub(super) fn overview(status: &Status, now: Timestamp) -> String {
    let counts = &status.counts;
    let mut text = format!(
        "coordinator {}, started {}\n",
        status.version,
        format::relative(status.started_at, now)
    );
    let _ = writeln!(
        text,
        "{} of {} connected, {}, {}, {} at work, {} waiting\n",
        counts.agents_connected,
        format::plural(counts.agents, "agent"),
        format::counted(counts.policies, "policy", "policies"),
        format::plural(counts.snapshots, "snapshot"),
        format::plural(counts.jobs_running, "job"),
        counts.jobs_pending,
    );
    for contested in &status.contested {
        let name = format::printable(&contested.agent);
        let _ = writeln!(
            text,
            "CONTESTED agent {name} {}: {}. It is not served: see `strongroom agents show {name}`\n",
            format::relative(contested.contest.at, now),
            format::printable(&contested.contest.sign),
        );
    }
    for loss in &status.losses {
        let name = format::printable(&loss.repository);
        let snapshots = match loss.snapshots {
            0 => String::new(),
            snapshots => format!(", {} among them", format::plural(snapshots, "snapshot")),
        };
        let _ = writeln!(
            text,
            "LOST {} of repository {name}{snapshots}: gone from the store, noticed {}. See \
             `strongroom repositories losses {name}`\n",
            format::plural(loss.objects, "object"),
            format::relative(loss.since, now),
        );
    }
    for clock in &status.clocks {
        let _ = writeln!(
            text,
            "agent {}: its clock is {}\n",
            format::printable(&clock.agent),
            Skew(SignedDuration::from_secs(clock.skew_seconds)),
        );
    }
    for store in &status.stores {
        let (name, state) = (&store.name, store.state);
        if let Some(outage) = of_the_same(store) {
            let outage = job::store_outage(outage, now);
            let _ = writeln!(text, "store {name}: {state}, {outage}\n");
            continue;
        }
        if let Some(outage) = &store.outage {
            let _ = writeln!(text, "store {name}: {}\n", job::store_outage(outage, now));
        }
        let _ = match &store.problem {
            Some(problem) => {
                let problem = format::printable(problem);
                writeln!(text, "store {name}: {state}: {problem}\n")
            }
            None if state == StoreState::Safe => Ok(()),
            None => writeln!(text, "store {name}: {state}\n"),
        };
    }
    let mut table = Table::new(
        "no datasets: apply a policy that selects an agent",
        &[
            "dataset",
            "last snapshot",
            "last restore",
            "last job",
            "next run",
        ],
    );
    for dataset in &status.datasets {
        table.row(&[
            dataset.dataset.clone(),
            last_snapshot(dataset, now),
            format::distance(dataset.last_restore_at, now),
            last_job(dataset),
            format::distance(dataset.next_run_at, now),
        ]);
    }
    text.push_str(&table.render());
    for dataset in &status.datasets {
        if let Some(alarm) = &dataset.alarm {
            let _ = writeln!(text, "\nunusual: {}: {alarm}", dataset.dataset);
        }
    }
    text.push_str(&recovery::lines(&status.recovery, now));
    text
}

/// The outage for which a store could not be checked either: said once.
fn of_the_same(store: &StoreStatus) -> Option<&StoreOutage> {
    let (outage, problem) = (store.outage.as_ref()?, store.problem.as_ref()?);
    (outage.until.is_none() && problem.ends_with(&outage.problem)).then_some(outage)
}

/// One that lacks something does not stand for a whole one.
fn last_snapshot(dataset: &DatasetStatus, now: Timestamp) -> String {
    let last = format::distance(dataset.last_snapshot_at, now);
    match dataset.last_whole_snapshot_at {
        whole if whole == dataset.last_snapshot_at => last,
        None => format!("{last}, partial; never a whole one"),
        whole => format!("{last}, partial; whole {}", format::distance(whole, now)),
    }
}

fn last_job(dataset: &DatasetStatus) -> String {
    match dataset.last_job_state {
        None => format::dash(),
        Some(JobState::Succeeded) if dataset.warning_count > 0 => format!(
            "succeeded with {}",
            format::plural(dataset.warning_count, "warning")
        ),
        Some(state) => state.to_string(),
    }
}
