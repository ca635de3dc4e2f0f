//! `strongroom restore`

use clap::{ArgGroup, Args};
use jiff::Timestamp;

use strongroom_layout::position::Lsn;
use strongroom_spec::{Overwrite, PostgresTarget, RecoveryTarget, Relocation, Sparse, VerifyRows};

use super::moment::moment;

/// Examples of every kind.
pub(crate) const EXAMPLES: &str = "\
Examples:
  strongroom restore 3f9a --agent web-1 --target /srv/restore --path /srv/site
  strongroom restore 3f9a --agent db-1 --postgres orders --database shop --as shop_yesterday
  strongroom restore 3f9a --agent db-1 --postgres orders --database shop --replace --confirm shop
  strongroom restore 3f9a --agent db-1 --postgres orders --all-databases --as '*_yesterday'
  strongroom restore 3f9a --agent db-2 --target /var/lib/postgresql/restored --cluster --start
  strongroom restore --dataset orders-cluster --at '2026-11-20 12:03:07' --agent db-2 --target /var/lib/postgresql/restored --start
  strongroom restore 3f9a --agent db-1 --redis sessions --confirm sessions
  strongroom restore 3f9a --agent db-1 --redis sessions --key 'user:*' --confirm sessions
";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("destination").required(true).args(["target", "postgres", "redis"]))]
#[command(group = ArgGroup::new("of_cluster").multiple(true).args(["cluster", "dataset"]))]
pub(crate) struct RestoreArgs {
    /// Id or unique prefix.
    #[arg(required_unless_present = "dataset", conflicts_with = "dataset")]
    pub(crate) snapshot: Option<String>,
    /// Instead of a snapshot: a policy, or policy@agent. Of a PostgreSQL cluster
    /// the base backup that fits, and its log on top of it; of anything else the
    /// newest snapshot, or the newest at --at.
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Option<String>,
    /// The agent that writes: name or id.
    #[arg(long)]
    pub(crate) agent: String,
    /// Only say what would be done, and wait for that.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait for the end and show the progress.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) directory: DirectoryArgs,
    #[command(flatten)]
    pub(crate) recovery: RecoveryArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) redis: RedisArgs,
    #[command(flatten)]
    pub(crate) safety: SafetyArgs,
}

/// What makes a cluster of a directory: nothing that is said of single files goes with it.
const OF_CLUSTERS: [&str; 7] = [
    "cluster",
    "tablespaces",
    "start",
    "lsn",
    "xid",
    "restore_point",
    "timeline",
];

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
        conflicts_with_all = OF_CLUSTERS
    )]
    pub(crate) paths: Vec<String>,
    /// What to do with files that are there; by default never.
    #[arg(long, value_enum, requires = "target", conflicts_with_all = OF_CLUSTERS)]
    pub(crate) overwrite: Option<Overwrite>,
    /// Keep the snapshot's numbers of owners; by default files get the numbers
    /// that their owners' names have on the agent's host.
    #[arg(long, requires = "target", conflicts_with_all = OF_CLUSTERS)]
    pub(crate) numeric_ids: bool,
    /// Which zeros of files become holes: long runs of them, but in files that had
    /// no holes (as far as the backup could know), by default; or none, and all are
    /// written.
    #[arg(long, value_enum, requires = "target", conflicts_with_all = OF_CLUSTERS)]
    pub(crate) sparse: Option<Sparse>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "At a point in time")]
#[command(group = ArgGroup::new("until").args(["at", "lsn", "xid", "restore_point"]))]
pub(crate) struct RecoveryArgs {
    /// A moment: RFC 3339, or a date and time of this host's time zone or of one
    /// behind it, as in '2026-11-20 12:03:07[Europe/Berlin]'.
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "of_cluster")]
    pub(crate) at: Option<Timestamp>,
    /// A position in the log, such as 16/B374D848.
    #[arg(long, value_name = "LSN", requires = "of_cluster")]
    pub(crate) lsn: Option<Lsn>,
    /// A transaction: behind its commit.
    #[arg(long, value_name = "ID", requires = "of_cluster")]
    pub(crate) xid: Option<u32>,
    /// What pg_create_restore_point named so.
    #[arg(long, value_name = "NAME", requires = "of_cluster")]
    pub(crate) restore_point: Option<String>,
    /// The timeline to follow; by default the newest that the archived log leads
    /// onto.
    #[arg(long, value_name = "N", requires = "of_cluster", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeline: Option<u32>,
}

impl RecoveryArgs {
    /// Only a cluster has these.
    pub(crate) fn is_of_cluster(&self) -> bool {
        self.lsn.is_some()
            || self.xid.is_some()
            || self.restore_point.is_some()
            || self.timeline.is_some()
    }

    /// Where to end; clap takes one at most.
    pub(crate) fn until(self) -> Option<RecoveryTarget> {
        let time = self.at.map(RecoveryTarget::Time);
        let lsn = self.lsn.map(RecoveryTarget::Lsn);
        let xid = self.xid.map(RecoveryTarget::Xid);
        time.or(lsn)
            .or(xid)
            .or(self.restore_point.map(RecoveryTarget::RestorePoint))
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "As a PostgreSQL cluster (physical snapshots)")]
pub(crate) struct ClusterArgs {
    /// Make the target a data directory that a server can be started on.
    #[arg(long, requires = "target")]
    pub(crate) cluster: bool,
    /// Put a tablespace elsewhere, one that the replayed log makes included; OLD is
    /// its directory or its number (OID). May be given several times.
    #[arg(
        long = "tablespace",
        value_name = "OLD=NEW",
        requires = "of_cluster",
        value_parser = relocation
    )]
    pub(crate) tablespaces: Vec<Relocation>,
    /// Bring a server up on it, on a free port of 127.0.0.1. It archives nothing,
    /// subscribes to nothing and preloads only what replay needs: no scheduled jobs.
    #[arg(long, requires = "of_cluster")]
    pub(crate) start: bool,
    /// That server does all that the original did: it archives, subscribes, preloads
    /// all libraries and listens where the original listened.
    #[arg(long, requires = "start")]
    pub(crate) keep_settings: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Into a PostgreSQL server (logical snapshots)")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct PostgresArgs {
    /// A connection of the agent's agent.toml.
    #[arg(long, value_name = "CONNECTION", requires = "of_databases")]
    pub(crate) postgres: Option<String>,
    /// The database as it is called in the snapshot.
    #[arg(
        long,
        value_name = "NAME",
        requires = "postgres",
        group = "of_databases"
    )]
    pub(crate) database: Option<String>,
    /// Every database of the snapshot, one after the other; one that fails does
    /// not stop the others.
    #[arg(
        long,
        requires = "postgres",
        group = "of_databases",
        conflicts_with_all = ["schemas", "tables"]
    )]
    pub(crate) all_databases: bool,
    /// What it is to be called; by default as in the snapshot. With
    /// --all-databases a * stands for the name of each, such as '*_copy'.
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
    /// Keep a database that lacks rows in the end, under its temporary name.
    #[arg(long, requires = "postgres")]
    pub(crate) keep_incomplete: bool,
    /// How restored rows are compared: by reading all of them once more, or by
    /// counting them.
    #[arg(long, value_enum, default_value_t = VerifyRows::Content, requires = "postgres")]
    pub(crate) verify: VerifyRows,
}

impl PostgresArgs {
    /// What they name, if they do.
    pub(crate) fn target(self) -> Option<PostgresTarget> {
        self.postgres.map(|connection| PostgresTarget {
            connection,
            // clap asks for one of the two.
            database: self.database.unwrap_or_default(),
            all_databases: self.all_databases,
            to: self.to,
            replace: self.replace,
            schemas: self.schemas,
            tables: self.tables,
            roles: self.roles,
            jobs: self.jobs,
            keep_incomplete: self.keep_incomplete,
            verify: self.verify,
        })
    }
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
    /// Even where replicas follow the server or a Sentinel watches it. While it
    /// loads it is a replica of the agent; a Sentinel that takes that for a
    /// failure promotes a replica with the old data, and what was restored is
    /// wiped.
    #[arg(long, requires = "redis", conflicts_with = "keys")]
    pub(crate) allow_replicas: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Before data of a server are replaced")]
pub(crate) struct SafetyArgs {
    /// The name of what is replaced, once more: the database with --replace,
    /// the connection with --redis or with --all-databases --replace.
    #[arg(long, value_name = "NAME")]
    pub(crate) confirm: Option<String>,
    /// Do not back it up first.
    #[arg(long)]
    pub(crate) no_safety_backup: bool,
}

fn relocation(text: &str) -> Result<Relocation, String> {
    let number = text
        .split_once('=')
        .filter(|(from, _)| !from.starts_with('/'));
    let mut splits = match number {
        Some(split) => vec![split],
        // A directory's name may hold the sign itself.
        None => text
            .match_indices("=/")
            .map(|(at, _)| (&text[..at], &text[at + 1..]))
            .collect(),
    };
    if splits.len() > 1 {
        return Err(format!(
            "{text:?} can be taken apart in {} ways: write the tablespace's number (OID) in place \
             of the old directory",
            splits.len()
        ));
    }
    match splits.pop() {
        Some((from, to)) if is_tablespace(from) && to.starts_with('/') => Ok(Relocation {
            from: from.into(),
            to: to.into(),
        }),
        _ => Err(
            "write OLD=NEW: an absolute directory or a number (OID), and an absolute directory"
                .into(),
        ),
    }
}

fn is_tablespace(name: &str) -> bool {
    name.starts_with('/') || name.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tablespaces_are_named_by_directory_or_number() {
        let odd = relocation("/srv/a=b c=/srv/d=e").unwrap();
        assert_eq!((&*odd.from, &*odd.to), ("/srv/a=b c", "/srv/d=e"));
        let odd = relocation("16400=/srv/d=/e").unwrap();
        assert_eq!((&*odd.from, &*odd.to), ("16400", "/srv/d=/e"));
        assert!(relocation("/a=/b=/c").unwrap_err().contains("OID"));
        for text in ["/srv/a=/srv/b", "16400=/srv/b"] {
            let moved = relocation(text).unwrap();
            assert_eq!(format!("{}={}", moved.from, moved.to), text);
        }
        for text in ["fast=/srv/b", "16400=b", "/srv/a", "-1=/srv/b", "=/srv/b"] {
            assert!(relocation(text).unwrap_err().contains("OLD=NEW"), "{text}");
        }
    }
}
