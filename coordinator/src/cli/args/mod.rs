//! The command line, as clap reads it. What a command does is in `command`.

mod agents;
mod events;
mod jobs;
mod moment;
mod operators;
mod restore;
mod snapshots;
mod stores;
mod sure;
mod transfers;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    agents::{AgentsCommand, InviteArgs, LabelChange},
    events::EventsArgs,
    jobs::{JobsCommand, JobsListArgs, RunArgs},
    operators::{AuditArgs, OperatorsCommand},
    restore::{EXAMPLES as RESTORE_EXAMPLES, RestoreArgs},
    snapshots::{LsArgs, SnapshotsCommand, SnapshotsListArgs},
    stores::StoresCommand,
    sure::SureArgs,
    transfers::{DownloadArgs, UploadArgs},
};

/// What stands below every `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the command, or the job it waited for
  2  the command line is wrong
  3  the job succeeded with warnings
  4  what was named does not exist
  5  the coordinator cannot be reached, or refuses this operator";

/// Backs up a fleet: one coordinator, an agent on every host, and policy in
/// one place.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// As [`Parser::parse`], with the exit codes below the help of every
    /// command.
    pub(crate) fn read() -> Self {
        let matches = with_exit_codes(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

fn with_exit_codes(command: clap::Command) -> clap::Command {
    let help = match command.get_after_help().map(ToString::to_string) {
        // One that ends otherwise says so itself.
        Some(own) if own.contains("Exit codes:") => own,
        Some(examples) => format!("{}\n\n{EXIT_CODES}", examples.trim_end()),
        None => EXIT_CODES.into(),
    };
    command.after_help(help).mut_subcommands(with_exit_codes)
}

/// What every client command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Operator's profile: URL, token and CA of the coordinator.
    #[arg(
        long,
        global = true,
        env = "STRONGROOM_PROFILE",
        value_name = "FILE",
        help_heading = "Client options"
    )]
    pub(crate) profile: Option<PathBuf>,
    /// How results are written.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Output::Table,
        help_heading = "Client options"
    )]
    pub(crate) output: Output,
    /// Tables as wide as their cells, whatever the terminal's width is.
    #[arg(long, global = true, help_heading = "Client options")]
    pub(crate) wide: bool,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: the shapes of the REST API.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a coordinator.
    ///
    /// SIGTERM and Ctrl-C end it in order. At SIGHUP it reads its configuration again:
    /// [limits] and telemetry.log_level hold at once; what else has changed is named
    /// in the log and needs a restart. A file that cannot be used changes nothing.
    Serve(ServeArgs),
    /// Look at a coordinator's configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Bring up coordinator and agent here, back up a directory, restore it,
    /// and compare.
    Dev(DevArgs),
    #[command(flatten)]
    Client(ClientCommand),
}

/// What talks to a coordinator.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// The coordinator at a glance: every dataset and its last backup.
    Status(StatusArgs),
    /// Invite, list, show, label, trust and revoke agents.
    #[command(subcommand)]
    Agents(AgentsCommand),
    /// Apply a policy file: all of it or, with one bad line, nothing.
    Apply(ApplyArgs),
    /// List, show and delete policies.
    #[command(subcommand)]
    Policies(PoliciesCommand),
    /// Run a policy now.
    Run(RunArgs),
    /// List, show, follow and cancel jobs.
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// List, show, browse, pin, download and upload snapshots.
    #[command(subcommand)]
    Snapshots(SnapshotsCommand),
    /// Restore a snapshot: into a directory, a PostgreSQL or a Redis server.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Box<RestoreArgs>),
    /// List repositories; show what their stores have lost; show a repository's
    /// password.
    #[command(subcommand)]
    Repositories(RepositoriesCommand),
    /// List stores; check whether a store refuses forged requests.
    #[command(subcommand)]
    Stores(StoresCommand),
    /// Create, renew, list, revoke and reset operators' tokens.
    #[command(subcommand)]
    Operators(OperatorsCommand),
    /// Who did what, newest first.
    Audit(AuditArgs),
    /// What changed, oldest first; follow it.
    Events(EventsArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Whether a coordinator would start with this file: parses it, reads what it
    /// names, and says what would be refused. Starts nothing, asks no store; ends
    /// with 1 if anything is wrong.
    Check(ConfigArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Go on although the catalog was written with other keys than those of the data
    /// directory, which are made if they are missing: only if the others are lost for
    /// ever. Agents must be enrolled again, and passwords that were sealed cannot be
    /// opened.
    #[arg(long)]
    pub(crate) replace_keys: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The coordinator's configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// What to back up.
    #[arg(default_value = ".", value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// End after the comparison: 0 when identical, 1 when not, 3 when all that
    /// differs changed during the run or could not be read.
    #[arg(long)]
    pub(crate) once: bool,
    /// Where everything lives; a second run on it is incremental.
    #[arg(long, default_value = "strongroom-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The policy file, TOML; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Show the difference and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: end with 3 if anything would change.
    #[arg(long, requires = "dry_run")]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// For scripts: end with 1 if something is wrong (a failed backup, a contested
    /// agent, a store that is not signed for, an alarm), with 3 if there is
    /// nothing worse than warnings (of backups, or a clock that is wrong).
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoliciesCommand {
    /// Every policy.
    List,
    /// One policy, as it stands in a policy file.
    Show {
        /// The policy's name.
        policy: String,
    },
    /// Delete a policy; its snapshots stay.
    Delete {
        /// The policy's name.
        policy: String,
        #[command(flatten)]
        sure: SureArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RepositoriesCommand {
    /// Every repository.
    List,
    /// What a repository's store held and holds no more. Looked for once a day.
    Losses {
        /// The repository's name.
        repository: String,
        /// Have the store compared with the catalog now, and wait for it: a request for
        /// each thousand objects.
        #[arg(long)]
        compare: bool,
        /// They are no alarm in `status` any more. Audited.
        #[arg(long)]
        accept: bool,
    },
    /// Show what opens a repository with plain restic. Audited.
    Password {
        /// The repository's name.
        repository: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let cli = Cli::parse_from(["strongroom", "agents", "list", "--output", "json"]);
        assert_eq!(cli.global.output, Output::Json);
    }

    fn check(mut command: clap::Command) {
        let help = command.render_long_help().to_string();
        assert_eq!(help.matches("Exit codes:").count(), 1, "{help}");
        let below = command.get_subcommands().cloned();
        // clap's own lists the others.
        below.filter(|it| it.get_name() != "help").for_each(check);
    }

    #[test]
    fn every_help_has_the_exit_codes() {
        check(with_exit_codes(Cli::command()));
    }
}
