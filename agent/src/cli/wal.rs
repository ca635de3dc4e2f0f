//! `strongroom-agent wal …`: what PostgreSQL servers run.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};

use crate::{config::DEFAULT_WAL_SOCKET, wal::push};

#[derive(Debug, Subcommand)]
pub(super) enum WalCommand {
    /// Hand a file of the write-ahead log to the agent, for archive_command
    ///
    /// Ends with 0 once the file is archived: the server may then forget it.
    /// With anything else the server keeps the file and asks again.
    ///
    ///   archive_command = 'strongroom-agent wal push %p'
    #[command(verbatim_doc_comment)]
    Push(PushArgs),
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

pub(super) fn main(command: WalCommand) -> anyhow::Result<ExitCode> {
    match command {
        WalCommand::Push(args) => {
            let patience = Duration::from_secs(args.timeout);
            push::push(&args.path, &args.socket, patience)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
