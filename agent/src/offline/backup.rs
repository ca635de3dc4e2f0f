//! `offline backup`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::HumanBytes;
use strongroom_layout::ObjectId;
use strongroom_repository::{
    Repository,
    store::cache::{Cache, DEFAULT_CACHE_SIZE},
};
use strongroom_spec::{BackupOutcome, FilesSource};
use tokio::runtime::Handle;

use super::{
    Common, Output, Session,
    limits::{DownloadArgs, MachineArgs, StoreLimits, limiter},
    locator::{self, Place},
    output, progress,
};
use crate::{
    allowed::AllowedPaths,
    backup::{BackupRequest, BackupSource, PreparedBackup},
    config::{ByteRate, parse_rate},
    host::hostname,
    sources::{command::Command, throttle::Pace},
};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct BackupArgs {
    #[command(flatten)]
    common: Common,
    /// What to back up; with --command, a program and its arguments behind --
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Back up what a program writes to its standard output, as a file of this
    /// name; a program that fails leaves no snapshot
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["include", "exclude", "one_file_system", "exclude_caches", "parent"]
    )]
    command: Option<String>,
    /// With --command: a program that writes nothing is no failure
    #[arg(long, requires = "command")]
    allow_empty: bool,
    /// Take only files that match this glob (repeatable)
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave out what matches this glob, with all below it (repeatable)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Do not descend into other file systems
    #[arg(long, short = 'x')]
    one_file_system: bool,
    /// Leave out directories that a CACHEDIR.TAG marks
    #[arg(long)]
    exclude_caches: bool,
    /// Tag the snapshot (repeatable)
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Take unchanged files from this snapshot [default: the newest of the
    /// same host and paths]
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    parent: Option<String>,
    /// Read every file, changed or not
    #[arg(long)]
    force: bool,
    /// The host's name in the snapshot [default: this host's]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    #[command(flatten)]
    machine: MachineArgs,
    /// Keep indexes and trees here, so that they need not be fetched, and notes
    /// of what is stored, so that after an interruption it is not uploaded
    /// again; at most 1 GiB, encrypted, safe to delete [default: none]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Upload no faster than this, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    limit_upload: Option<ByteRate>,
    #[command(flatten)]
    download: DownloadArgs,
    /// Read the source no faster than this, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    limit_read: Option<ByteRate>,
}

pub(super) async fn run(args: BackupArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let output = args.common.output;
    let source = source(&args)?;
    let limits = StoreLimits {
        upload: args.limit_upload,
        ..args.download.into()
    };
    let place = Place::new(&args.common, session, limits)?;
    let repository = cached(place.open().await?, args.cache.as_deref());
    let host = args.host.clone().unwrap_or_else(hostname);
    let parent = match &source {
        BackupSource::Files(source) => parent(&args, &repository, &host, &source.paths).await?,
        BackupSource::Command(_)
        | BackupSource::Logical(_)
        | BackupSource::Cluster(_)
        | BackupSource::Redis(_)
        | BackupSource::Upload(_) => None,
    };
    let (threads, memory_budget) = args.machine.fitted();
    let request = BackupRequest {
        source,
        parent,
        tags: args.tag,
        hostname: host,
        threads: Some(threads),
        memory_budget,
        pace: Pace::new(limiter(args.limit_read), Handle::current()),
        cache: args.cache,
        clock: session.clock.clone(),
        // Whoever sits here may read what the process may.
        allowed: AllowedPaths::default(),
        probe: None,
    };
    let lock = locator::lock(&repository, session, false).await?;
    let prepared = prepare(session, output, repository.clone(), request).await;
    let published = match prepared {
        Ok(prepared) => publish(&repository, prepared).await,
        Err(error) => Err(error),
    };
    locator::release(lock).await;
    let result = published?;
    report(&result, output, session, started)?;
    Ok(session.exit_code())
}

fn source(args: &BackupArgs) -> anyhow::Result<BackupSource> {
    if let Some(name) = &args.command {
        return Ok(BackupSource::Command(Command {
            name: name.clone(),
            argv: args
                .paths
                .iter()
                .map(|word| text(word))
                .collect::<Result<_, _>>()?,
            filename: None,
            report_stderr: true,
            allow_empty: args.allow_empty,
        }));
    }
    Ok(BackupSource::Files(FilesSource {
        paths: absolute(&args.paths)?,
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        one_file_system: args.one_file_system,
        exclude_caches: args.exclude_caches,
    }))
}

fn text(word: &Path) -> anyhow::Result<String> {
    let text = word.to_str().map(str::to_owned);
    text.with_context(|| format!("{} is not UTF-8", word.display()))
}

fn cached(repository: Arc<Repository>, directory: Option<&Path>) -> Arc<Repository> {
    let Some(directory) = directory else {
        return repository;
    };
    let store = repository.store().clone();
    let store = Cache::new(directory, DEFAULT_CACHE_SIZE).before(store, repository.config().id);
    Arc::new(repository.with_store(store))
}

async fn prepare(
    session: &Session,
    output: Output,
    repository: Arc<Repository>,
    request: BackupRequest,
) -> anyhow::Result<PreparedBackup> {
    let run = move |runtime, monitor| crate::backup::run(repository, runtime, request, monitor);
    Ok(progress::watch(session, output, run).await??)
}

/// Everything is durable; the snapshot file makes it a backup.
async fn publish(
    repository: &Repository,
    prepared: PreparedBackup,
) -> anyhow::Result<BackupOutcome> {
    let store = repository.store();
    store.put(prepared.object, prepared.body).await?;
    Ok(prepared.result)
}

async fn parent(
    args: &BackupArgs,
    repository: &Repository,
    host: &str,
    paths: &[String],
) -> anyhow::Result<Option<ObjectId>> {
    if args.force {
        return Ok(None);
    }
    if let Some(query) = &args.parent {
        return Ok(Some(repository.find_snapshot(query).await?.0));
    }
    let snapshots = repository.snapshots().await?;
    let newest = snapshots
        .into_iter()
        .rev()
        .find(|(_, snapshot)| snapshot.hostname == host && snapshot.paths == paths);
    Ok(newest.map(|(id, _)| id))
}

/// Absolute and sorted, as snapshots carry them.
fn absolute(paths: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        let absolute = std::path::absolute(path)
            .with_context(|| format!("{} is not a path", path.display()))?;
        match absolute.into_os_string().into_string() {
            Ok(path) => all.push(path),
            Err(path) => bail!(
                "{} is not UTF-8: name a directory above it instead",
                path.display()
            ),
        }
    }
    all.sort();
    all.dedup();
    Ok(all)
}

fn report(
    result: &BackupOutcome,
    output: Output,
    session: &Session,
    started: Instant,
) -> anyhow::Result<()> {
    let seconds = started.elapsed().as_secs_f64();
    if output == Output::Json {
        let (warnings, warning_count) = output::warnings(&session.monitor);
        return output::json(&serde_json::json!({
            "snapshot": result.snapshot,
            "result": result,
            "seconds": seconds,
            "warnings": warnings,
            "warning_count": warning_count,
        }));
    }
    output::print_warnings(&session.monitor);
    output::line(&format!(
        "snapshot {}: {} files ({} unchanged), {} directories, {}; \
         read {}, {} new, {} stored, in {seconds:.1} s ({}/s)",
        result.snapshot.short(),
        result.files,
        result.files_unmodified,
        result.directories,
        HumanBytes(result.bytes_total),
        HumanBytes(result.bytes_read),
        HumanBytes(result.bytes_new),
        HumanBytes(result.bytes_stored),
        HumanBytes((result.bytes_read as f64 / seconds.max(0.001)) as u64),
    ))
}
