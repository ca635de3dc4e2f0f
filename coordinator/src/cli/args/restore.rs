//! `strongroom restore`

use clap::{ArgGroup, Args};

use crate::http::shape::{Overwrite, Relocation};

/// Examples of every kind.
pub(crate) const EXAMPLES: &str = "\
Examples:
  strongroom restore 3f9a --agent web-1 --target /srv/restore --path /srv/site
  strongroom restore 3f9a --agent db-1 --postgres orders --database shop --as shop_yesterday
  strongroom restore 3f9a --agent db-1 --postgres orders --database shop --replace --confirm shop
  strongroom restore 3f9a --agent db-2 --target /var/lib/postgresql/restored --cluster --start
  strongroom restore 3f9a --agent db-1 --redis sessions --confirm sessions
  strongroom restore 3f9a --agent db-1 --redis sessions --key 'user:*' --confirm sessions
";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("destination").required(true).args(["target", "postgres", "redis"]))]
pub(crate) struct RestoreArgs {
    /// Id or unique prefix.
    pub(crate) snapshot: String,
    /// The agent that writes: name or id.
    #[arg(long)]
    pub(crate) agent: String,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait for the end and show the progress.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) directory: DirectoryArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) redis: RedisArgs,
    #[command(flatten)]
    pub(crate) safety: SafetyArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Into a directory")]
pub(crate) struct DirectoryArgs {
    /// Absolute directory on the agent's host; made if missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) target: Option<String>,
    /// Only this path inside the snapshot; may be given several times.
    #[arg(
        long = "path",
        value_name = "PATH",
        requires = "target",
        conflicts_with = "cluster"
    )]
    pub(crate) paths: Vec<String>,
    /// What to do with files that are there.
    #[arg(long, value_enum, default_value_t = Overwrite::Never)]
    pub(crate) overwrite: Overwrite,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "As a PostgreSQL cluster (physical snapshots)")]
pub(crate) struct ClusterArgs {
    /// Make the target a data directory that a server can be started on.
    #[arg(long, requires = "target")]
    pub(crate) cluster: bool,
    /// Put a tablespace elsewhere; may be given several times.
    #[arg(
        long = "tablespace",
        value_name = "OLD=NEW",
        requires = "cluster",
        value_parser = relocation
    )]
    pub(crate) tablespaces: Vec<Relocation>,
    /// Bring a server up on it, on a free port.
    #[arg(long, requires = "cluster")]
    pub(crate) start: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Into a PostgreSQL server (logical snapshots)")]
pub(crate) struct PostgresArgs {
    /// A connection of the agent's agent.toml.
    #[arg(long, value_name = "CONNECTION", requires = "database")]
    pub(crate) postgres: Option<String>,
    /// The database as it is called in the snapshot.
    #[arg(long, value_name = "NAME", requires = "postgres")]
    pub(crate) database: Option<String>,
    /// What it is to be called; by default as in the snapshot.
    #[arg(long = "as", value_name = "NAME", requires = "postgres")]
    pub(crate) to: Option<String>,
    /// The database of that name gives way once the restored one is whole; it
    /// stays under a dated name.
    #[arg(long, requires = "postgres")]
    pub(crate) replace: bool,
    /// Only this schema; may be given several times.
    #[arg(long = "schema", value_name = "NAME", requires = "postgres")]
    pub(crate) schemas: Vec<String>,
    /// Only this table; may be given several times.
    #[arg(long = "table", value_name = "NAME", requires = "postgres")]
    pub(crate) tables: Vec<String>,
    /// Make the snapshot's roles that are missing.
    #[arg(long, requires = "postgres")]
    pub(crate) roles: bool,
    /// Parallel jobs; by default as many as the attempt has threads.
    #[arg(long, value_name = "N", requires = "postgres", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) jobs: Option<u32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Into a Redis server")]
pub(crate) struct RedisArgs {
    /// A connection of the agent's agent.toml. Without --key the snapshot takes
    /// the place of everything that is there.
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) redis: Option<String>,
    /// Only keys that match this glob, beside those that are there; may be
    /// given several times.
    #[arg(long = "key", value_name = "PATTERN", requires = "redis")]
    pub(crate) keys: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Before data of a server are replaced")]
pub(crate) struct SafetyArgs {
    /// The name of what is replaced, once more: the database with --replace,
    /// the connection with --redis.
    #[arg(long, value_name = "NAME")]
    pub(crate) confirm: Option<String>,
    /// Do not back it up first.
    #[arg(long)]
    pub(crate) no_safety_backup: bool,
}

fn relocation(text: &str) -> Result<Relocation, String> {
    match text.split_once('=') {
        Some((from, to)) if from.starts_with('/') && to.starts_with('/') => Ok(Relocation {
            from: from.into(),
            to: to.into(),
        }),
        _ => Err("write OLD=NEW, two absolute directories".into()),
    }
}
