//! `offline check`

use std::{
    num::NonZeroU32,
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use clap::Args;
use strongroom_repository::{
    Repository,
    check::{CheckOptions, CheckProgress, CheckReport, check},
};

use super::{
    Common, Output, Session,
    limits::DownloadArgs,
    locator::{self, Place},
    output, progress,
};
use crate::{config::parse_threads, monitor::Monitor};

/// How often the progress is carried over.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    common: Common,
    /// Read and verify every pack, too
    #[arg(long)]
    read_data: bool,
    /// Do not lock the repository: for one that is read-only
    #[arg(long)]
    no_lock: bool,
    /// Packs to read and verify at once, each on a thread and wholly in memory
    /// [default: 2]
    #[arg(long, value_name = "COUNT", value_parser = parse_threads)]
    threads: Option<NonZeroU32>,
    #[command(flatten)]
    download: DownloadArgs,
}

pub(super) async fn run(args: CheckArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let output = args.common.output;
    let repository = Place::new(&args.common, session, args.download.into())?
        .open()
        .await?;
    let options = CheckOptions {
        read_data: args.read_data,
        at_once: args.threads.map_or(0, |threads| threads.get() as usize),
    };
    let lock = locator::lock(&repository, session, args.no_lock).await?;
    let checked = progress::watch(session, output, move |runtime, monitor| {
        runtime.block_on(watched(&repository, options, &monitor))
    })
    .await;
    locator::release(lock).await;
    let report = checked??;
    print(&report, args.read_data, output)?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Checks, and tells the monitor how far it is.
async fn watched(
    repository: &Arc<Repository>,
    options: CheckOptions,
    monitor: &Monitor,
) -> anyhow::Result<CheckReport> {
    monitor.enter("checking");
    let progress = Arc::new(CheckProgress::default());
    let checking = check(repository, options, &progress);
    let mut checking = std::pin::pin!(checking);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            report = &mut checking => return Ok(report?),
            () = monitor.cancel.cancelled() => anyhow::bail!("the check was interrupted"),
            _ = ticks.tick() => {
                monitor.bytes.store(progress.bytes.load(Relaxed), Relaxed);
                if options.read_data {
                    let total = progress.total_bytes.load(Relaxed);
                    monitor.total_bytes.store(total, Relaxed);
                }
            }
        }
    }
}

fn print(report: &CheckReport, read_data: bool, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::json(report);
    }
    for problem in &report.problems {
        output::line(&format!("problem: {problem}"))?;
    }
    let more = report
        .problem_count
        .saturating_sub(report.problems.len() as u64);
    if more > 0 {
        output::line(&format!("problem: and {more} more"))?;
    }
    for note in &report.notes {
        output::line(&format!("note: {note}"))?;
    }
    let verdict = match report.problem_count {
        0 => "no problems".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let read = if read_data {
        "all data read"
    } else {
        "data not read (--read-data does)"
    };
    output::line(&format!(
        "{verdict}: {} snapshots, {} trees, {} packs, {} blobs, {read}",
        report.snapshots, report.trees, report.packs, report.blobs
    ))
}
