//! `offline restore`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::HumanBytes;
use strongroom_spec::{DirectoryTarget, Overwrite, RestoreOutcome, RestoreSpec, Sparse};

use super::{
    Common, Output, Session,
    limits::{DownloadArgs, MachineArgs},
    locator::{self, Place},
    output, progress,
};
use crate::{
    allowed::AllowedDirectory,
    restore::{self, RestoreOptions},
};

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    common: Common,
    /// The snapshot: `latest`, its id, or the first digits of it
    snapshot: String,
    /// The directory to restore into; made if missing
    #[arg(long, short, value_name = "DIR")]
    target: PathBuf,
    /// Restore only this path of the snapshot (repeatable)
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// What to do with files that are there already
    #[arg(long, value_enum, default_value = "never")]
    overwrite: OverwriteArg,
    /// Keep the snapshot's numbers of owners; by default files get the numbers
    /// that their owners' names have on this host
    #[arg(long)]
    numeric_ids: bool,
    /// Which zeros of files become holes
    #[arg(long, value_enum, default_value = "auto")]
    sparse: SparseArg,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not lock the repository: for one that is read-only
    #[arg(long)]
    no_lock: bool,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    download: DownloadArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverwriteArg {
    /// Refuse a target where something would be overwritten
    Never,
    /// Read what is there and rewrite what differs in content, whatever its time says
    IfChanged,
    /// Rewrite everything
    Always,
}

impl From<OverwriteArg> for Overwrite {
    fn from(argument: OverwriteArg) -> Self {
        match argument {
            OverwriteArg::Never => Self::Never,
            OverwriteArg::IfChanged => Self::IfChanged,
            OverwriteArg::Always => Self::Always,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SparseArg {
    /// Long runs of them, but in files that had none as far as the backup could know
    Auto,
    /// None: all are written, as a swap file or a preallocated database file needs it
    Never,
}

impl From<SparseArg> for Sparse {
    fn from(argument: SparseArg) -> Self {
        match argument {
            SparseArg::Auto => Self::Auto,
            SparseArg::Never => Self::Never,
        }
    }
}

pub(super) async fn run(args: RestoreArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let output = args.common.output;
    let Ok(target) = std::path::absolute(&args.target)?
        .into_os_string()
        .into_string()
    else {
        bail!(
            "{} is not UTF-8: choose another target",
            args.target.display()
        );
    };
    let directory = AllowedDirectory::named(Path::new(&target));
    let directory = directory.with_context(|| format!("{target} cannot be reached"))?;
    let place = Place::new(&args.common, session, args.download.into())?;
    let repository = place.open().await?;
    let (snapshot, _) = repository.find_snapshot(&args.snapshot).await?;
    let work = RestoreSpec {
        dry_run: args.dry_run,
        ..RestoreSpec::new(
            snapshot,
            DirectoryTarget {
                directory: target,
                paths: args.path,
                overwrite: args.overwrite.into(),
                numeric_ids: args.numeric_ids,
                sparse: args.sparse.into(),
            },
        )
    };
    let defaults = RestoreOptions::default();
    let (threads, memory) = args.machine.fitted();
    let options = RestoreOptions {
        memory: memory.map_or(defaults.memory, |bytes| bytes as u64),
        threads,
        ..defaults
    };
    let lock = locator::lock(&repository, session, args.no_lock).await?;
    let for_thread = (repository, work.clone());
    let restored = progress::watch(session, output, move |runtime, monitor| {
        let (repository, work) = for_thread;
        restore::run(repository, runtime, &work, &directory, &options, monitor)
    })
    .await;
    locator::release(lock).await;
    report(&restored??, &work, output, session, started)?;
    Ok(session.exit_code())
}

fn report(
    result: &RestoreOutcome,
    work: &RestoreSpec<DirectoryTarget>,
    output: Output,
    session: &Session,
    started: Instant,
) -> anyhow::Result<()> {
    let seconds = started.elapsed().as_secs_f64();
    let plan = result.plan.iter().map(|planned| {
        let path = output::path(&planned.path);
        (planned.action.as_str(), path, planned.bytes)
    });
    if output == Output::Json {
        let (warnings, warning_count) = output::warnings(&session.monitor);
        let plan: Vec<_> = plan
            .map(|(action, path, bytes)| {
                serde_json::json!({ "action": action, "path": path, "bytes": bytes })
            })
            .collect();
        return output::json(&serde_json::json!({
            "snapshot": work.snapshot,
            "target": work.target.directory,
            "files": result.files,
            "directories": result.directories,
            "files_kept": result.files_kept,
            "bytes_written": result.bytes_written,
            "bytes_fetched": result.bytes_fetched,
            "plan": plan,
            "plan_count": result.plan_count,
            "seconds": seconds,
            "warnings": warnings,
            "warning_count": warning_count,
        }));
    }
    output::print_warnings(&session.monitor);
    for (action, path, _) in plan {
        output::line(&format!("{action:<8}{path}"))?;
    }
    let verb = if work.dry_run {
        "would restore"
    } else {
        "restored"
    };
    output::line(&format!(
        "{verb} snapshot {} to {}: {} files, {} directories, {} kept; \
         wrote {}, fetched {}, in {seconds:.1} s ({}/s)",
        work.snapshot.short(),
        work.target.directory,
        result.files,
        result.directories,
        result.files_kept,
        HumanBytes(result.bytes_written),
        HumanBytes(result.bytes_fetched),
        HumanBytes((result.bytes_written as f64 / seconds.max(0.001)) as u64),
    ))
}
