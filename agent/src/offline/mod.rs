//! The engine without any coordinator: for recovery when it is gone, for
//! drills on a desk, and for benchmarks.
//!
//! Works on any restic repository whose password is known, on local disk or in
//! S3. This is the one place in the agent that can use storage credentials; it
//! takes them from the standard AWS environment.

mod backup;
mod check;
mod limits;
mod list;
mod locator;
mod output;
mod progress;
mod restore;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand, ValueEnum};
use strongroom_runtime::clock::{SharedClock, SystemClock};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{limits::StoreLimits, locator::Place};
use crate::monitor::Monitor;

/// All was done, but some paths could not be treated as asked.
const WARNINGS: u8 = 3;

/// Back up, restore and check without a coordinator
///
/// Works on any restic repository, on disk or in S3. Credentials for S3 come
/// from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and
/// AWS_REGION. The commands run at the priority of whoever starts them: put
/// `nice` and `ionice` before them where they are to stand back.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 success; 1 failure; 2 wrong usage; 3 done, with warnings.")]
pub struct OfflineArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a repository
    Init(Common),
    /// Back up files and directories
    Backup(backup::BackupArgs),
    /// List the snapshots of a repository
    Snapshots(Common),
    /// List what a snapshot holds
    Ls(list::LsArgs),
    /// Restore a snapshot, or parts of it
    Restore(restore::RestoreArgs),
    /// Check that a repository is whole
    Check(check::CheckArgs),
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// The repository: a directory, or s3:ENDPOINT/BUCKET[/PREFIX]
    #[arg(long, short, value_name = "PLACE", env = "RESTIC_REPOSITORY")]
    repository: String,
    /// Where the bucket stands in requests to S3: behind the host, in front of
    /// it, or as is known of the service
    #[arg(long, value_enum, value_name = "STYLE", default_value_t)]
    addressing: Style,
    /// A file with the repository's password
    #[arg(long, short, value_name = "FILE", env = "RESTIC_PASSWORD_FILE")]
    password_file: PathBuf,
    /// How to print results
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Where the bucket stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Style {
    /// In front of the hosts of services that are known to want it there, else
    /// behind the host.
    #[default]
    Auto,
    /// `https://host/bucket`
    Path,
    /// `https://bucket.host`
    VirtualHost,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// What the commands work with.
struct Session {
    monitor: Arc<Monitor>,
    clock: SharedClock,
    /// Locks are released through it.
    tracker: TaskTracker,
}

/// Runs one of the commands. Interrupting it (Ctrl-C) ends it in good order:
/// an interrupted restore or backup can be run again.
pub async fn run(args: OfflineArgs) -> anyhow::Result<ExitCode> {
    let cancel = CancellationToken::new();
    let session = Session {
        monitor: Arc::new(Monitor::new(cancel.clone())),
        clock: SystemClock::shared(),
        tracker: TaskTracker::new(),
    };
    let command = dispatch(args.command, &session);
    let mut command = std::pin::pin!(command);
    let result = tokio::select! {
        result = &mut command => result,
        _ = tokio::signal::ctrl_c() => {
            cancel.cancel();
            command.await
        }
    };
    session.tracker.close();
    session.tracker.wait().await;
    result
}

async fn dispatch(command: Command, session: &Session) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(common) => init(&common, session).await,
        Command::Backup(args) => backup::run(args, session).await,
        Command::Snapshots(common) => list::snapshots(&common, session).await,
        Command::Ls(args) => list::ls(args, session).await,
        Command::Restore(args) => restore::run(args, session).await,
        Command::Check(args) => check::run(args, session).await,
    }
}

async fn init(common: &Common, session: &Session) -> anyhow::Result<ExitCode> {
    let place = Place::new(common, session, StoreLimits::default())?;
    let id = place.create().await?;
    match common.output {
        Output::Json => output::json(&serde_json::json!({ "repository": id }))?,
        Output::Text => output::line(&format!(
            "created repository {} at {}",
            id.short(),
            common.repository
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Session {
    /// Success, or success with warnings.
    fn exit_code(&self) -> ExitCode {
        if self.monitor.warning_count() == 0 {
            ExitCode::SUCCESS
        } else {
            WARNINGS.into()
        }
    }
}
