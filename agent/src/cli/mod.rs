//! The command line of `strongroom-agent`.

mod config;
mod enroll;
mod run;
mod wal;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use strongroom_runtime::{causes, printable};

use crate::{
    config::Address,
    offline::{self, OfflineArgs},
};

/// Backs up the host it runs on, and restores to it, as a Strongroom
/// coordinator asks and agent.toml allows.
#[derive(Debug, Parser)]
#[command(
    name = "strongroom-agent",
    version,
    after_help = "Exit status: 0 success; 1 failure; 2 wrong usage; 3 the coordinator dismissed \
                  this agent, or its certificate has ended: starting it again does not help \
                  (of `offline`: done, with warnings)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the coordinator until told to stop
    ///
    /// Holds a session with the coordinator and does its jobs. SIGTERM and
    /// Ctrl-C end running jobs, which the coordinator tries again later; a
    /// second one ends at once. At SIGHUP it reads its configuration again: what it
    /// allows, commands, servers, rates and log level hold for jobs that begin from
    /// then on; what else has changed is named in the log and needs a restart.
    Run(RunArgs),
    /// Trade a join token for this host's identity
    ///
    /// Make the token with `strongroom agents invite`. It works once, and
    /// pins the coordinator's certificate authority: nobody in between can
    /// stand in for it.
    #[command(alias = "enrol")]
    Enroll(EnrollArgs),
    /// Look at agent.toml
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Offline(OfflineArgs),
    /// What PostgreSQL servers run to archive their logs, and to have them back
    #[command(subcommand)]
    Wal(wal::WalCommand),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// What this host allows, and where its state lies
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_CONFIG)]
    config: PathBuf,
    /// End when the process that started this one ends, even by SIGKILL
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

#[derive(Debug, Args)]
struct EnrollArgs {
    /// The coordinator's port for agents, such as backup.example.org:7443
    /// [default: as in the configuration file]
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: Option<Address>,
    /// The join token; `-` reads it from standard input
    #[arg(
        long,
        value_name = "TOKEN",
        env = "STRONGROOM_JOIN_TOKEN",
        hide_env_values = true
    )]
    token: String,
    /// Where the identity goes [default: state_dir of the configuration file]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The configuration file [default: /etc/strongroom/agent.toml if it is
    /// there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Give up an identity that is there and enrol as a new agent
    #[arg(long)]
    force: bool,
}

/// What a command says of its exit status holds for those below it.
fn with_exit_status(command: clap::Command) -> clap::Command {
    let help = command.get_after_help().cloned();
    command.mut_subcommands(|below| {
        with_exit_status(match (&help, below.get_after_help()) {
            (Some(help), None) => below.after_help(help.clone()),
            _ => below,
        })
    })
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let matches = with_exit_status(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // Whatever makes its own TLS configuration uses the same cryptography; it
    // can only be installed twice by a defect, and then the first one counts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let foreign = matches!(cli.command, Command::Offline(_));
    let result = match cli.command {
        Command::Run(args) => run::main(&args),
        Command::Enroll(args) => enroll::main(args),
        Command::Config(command) => config::main(&command),
        Command::Wal(command) => wal::main(command),
        Command::Offline(args) => {
            runtime().and_then(|runtime| runtime.block_on(offline::run(args)))
        }
    };
    result.unwrap_or_else(|error| {
        let mut said = causes::said(&*error);
        if foreign {
            // A repository of strangers may stand in every error.
            said = printable::line(&said).into_owned();
        }
        printable::err(&format!("strongroom-agent: {said}"));
        ExitCode::FAILURE
    })
}

/// Two threads carry all that waits; what computes has threads of its own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context;

    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_cause_is_said_once() {
        let error = anyhow::anyhow!("no route").context("cannot reach it: no route");
        assert_eq!(causes::said(&*error), "cannot reach it: no route");
        let error = anyhow::anyhow!("no route").context("cannot reach it");
        assert_eq!(causes::said(&*error), "cannot reach it: no route");
    }

    fn check(mut command: clap::Command) {
        let help = command.render_long_help().to_string();
        assert_eq!(help.matches("Exit status:").count(), 1, "{help}");
        let below = command.get_subcommands().cloned();
        // clap's own lists the others.
        below.filter(|it| it.get_name() != "help").for_each(check);
    }

    #[test]
    fn every_help_has_the_exit_codes() {
        check(with_exit_status(Cli::command()));
    }
}
