//! `strongroom-agent wal …`: what PostgreSQL servers run.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use strongroom_runtime::printable::{self, Line};

use crate::{
    config::DEFAULT_WAL_SOCKET,
    restore::cluster::recovery::serve::{Served, serve},
    wal::push,
};

/// Of `wal fetch`: above 125 the server stops; above 128 so do its older
/// versions. 143 would look like its own SIGTERM.
const STOP: u8 = 200;

#[derive(Debug, Subcommand)]
pub(super) enum WalCommand {
    /// Hand a file of the write-ahead log to the agent, for archive_command
    ///
    /// Ends with 0 once the file is archived: the server may then forget it.
    /// With anything else the server keeps the file and asks again.
    ///
    ///   archive_command = 'strongroom-agent wal push %p'
    #[command(
        verbatim_doc_comment,
        after_help = "Exit status: 0 archived; 1 not yet, or it cannot be; 2 wrong usage."
    )]
    Push(PushArgs),
    /// Wait for a file of the log that a restore brings, and copy it
    ///
    /// Restores of clusters put this into the restore_command of servers that
    /// they start; nobody else needs it.
    #[command(
        after_help = "Exit status: 0 copied; 1 the file is not part of the restore; 200 it should \
                      come, but the restore was interrupted: the server stops, instead of ending \
                      recovery too early."
    )]
    Fetch(FetchArgs),
}

#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// The file, as the server gives it by %p
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Where the agent listens: [wal] socket of its agent.toml
    #[arg(long, value_name = "PATH", default_value = DEFAULT_WAL_SOCKET)]
    socket: PathBuf,
    /// Seconds to wait for the store; the agent goes on meanwhile
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// Where the restore puts the log: strongroom_wal in the data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The file's name, as the server says it (%f)
    file: String,
    /// Where the server wants it (%p)
    destination: PathBuf,
}

pub(super) fn main(command: WalCommand) -> anyhow::Result<ExitCode> {
    match command {
        WalCommand::Push(args) => {
            let patience = Duration::from_secs(args.timeout);
            push::push(&args.path, &args.socket, patience)?;
            Ok(ExitCode::SUCCESS)
        }
        WalCommand::Fetch(args) => Ok(fetch(&args)),
    }
}

fn fetch(args: &FetchArgs) -> ExitCode {
    match serve(&args.directory, &args.file, &args.destination) {
        Ok(Served::Copied) => ExitCode::SUCCESS,
        Ok(Served::NotPlanned) => ExitCode::FAILURE,
        Err(error) => {
            printable::err(&format!("strongroom-agent: {}", Line(error)));
            ExitCode::from(STOP)
        }
    }
}
