//! What a restore is asked to do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RestorePoint;

/// Restores a snapshot: into a directory of an agent's host (`target`), or
/// into what exactly one of `postgres`, `cluster` and `redis` names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreRequest {
    /// Id or unique prefix; empty with `dataset`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub snapshot: String,
    /// Instead of a snapshot: a policy, or `policy@agent`. Of a PostgreSQL
    /// cluster the base backup that fits is taken, and its log replayed as far
    /// as `until` says; of anything else the newest snapshot, or the newest
    /// at `until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Where to end; default: as late as can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<RestorePoint>,
    /// Of a cluster: the timeline to follow; default: the newest that the
    /// archived log leads onto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// Name or id of the agent that writes.
    pub agent: String,
    /// Absolute directory on its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// With `target`: paths inside the snapshot; empty: everything.
    pub paths: Vec<String>,
    /// With `target`: what to do with files that are there.
    pub overwrite: Overwrite,
    /// With `target`: owners have their numbers of the snapshot; otherwise those
    /// that their names have on the agent's host.
    pub numeric_ids: bool,
    /// With `target`: which zeros of files become holes.
    #[serde(skip_serializing_if = "Sparse::is_default")]
    pub sparse: Sparse,
    /// A database, into a PostgreSQL server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresTarget>,
    /// A PostgreSQL cluster, into a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterTarget>,
    /// Keys, into a Redis server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisTarget>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Where a database of a logical snapshot goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the API")]
pub struct PostgresTarget {
    /// A connection in the agent's `agent.toml` that allows restores.
    pub connection: String,
    /// The database as it is called in the snapshot.
    #[serde(default)]
    pub database: String,
    /// Instead of one: every database of the snapshot, one after the other. One
    /// that fails does not stop the others; the job fails then, and names it.
    #[serde(default)]
    pub all_databases: bool,
    /// What it is called afterwards; default: as in the snapshot. Of all
    /// databases: with a `*` that stands for the name of each.
    #[serde(default, rename = "as")]
    pub to: Option<String>,
    /// The database that is called so now gives way once the restored one is
    /// whole.
    #[serde(default)]
    pub replace: bool,
    /// With `replace`: the name of the database that gives way, once more; of
    /// all databases the connection's.
    #[serde(default)]
    pub confirm: Option<String>,
    /// Only these schemas; empty: all.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// Only these tables; empty: all.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Make the snapshot's roles that are missing.
    #[serde(default)]
    pub roles: bool,
    /// Parallel jobs; default: the attempt's threads.
    #[serde(default)]
    pub jobs: Option<u32>,
    /// With `replace`: back the database up first.
    #[serde(default = "yes")]
    pub safety_backup: bool,
    /// A database that lacks rows in the end is kept under its temporary name,
    /// which the failure says, instead of being dropped.
    #[serde(default)]
    pub keep_incomplete: bool,
    /// How restored rows are compared with those of the dump.
    #[serde(default)]
    pub verify: VerifyRows,
}

/// How restored rows are compared.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyRows {
    /// By their number, and by a checksum of each table: every row is read once
    /// more.
    #[default]
    Content,
    /// By their number.
    Counts,
}

/// Where a physical snapshot goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterTarget {
    /// Absolute directory on the agent's host; empty, or made if missing.
    pub directory: String,
    /// Where tablespaces go that are not to lie where they lay, those included
    /// that are made by the log that is replayed.
    #[serde(default)]
    pub tablespaces: Vec<Relocation>,
    /// Bring a server up on it.
    #[serde(default)]
    pub start: bool,
    /// With `start`: the server does all that the original did. Otherwise it
    /// archives nothing, subscribes to nothing, listens on 127.0.0.1 only, and
    /// preloads no libraries but those that replay needs.
    #[serde(default)]
    pub keep_settings: bool,
}

/// A tablespace's move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Relocation {
    /// Its directory when it was made or backed up, or its number (OID).
    pub from: String,
    /// Its directory from now on.
    pub to: String,
}

/// Where a Redis snapshot goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisTarget {
    /// A connection in the agent's `agent.toml` that allows restores.
    pub connection: String,
    /// Glob patterns: only keys that match, beside those that are there.
    /// Empty: the whole dataset, in place of what is there.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The whole dataset even where replicas follow the server or a Sentinel
    /// watches it, which may take its restore for a failure, promote a replica
    /// with the old data, and so wipe what was restored.
    #[serde(default)]
    pub allow_replicas: bool,
    /// The connection's name, once more.
    #[serde(default)]
    pub confirm: Option<String>,
    /// Back the server up first.
    #[serde(default = "yes")]
    pub safety_backup: bool,
}

fn yes() -> bool {
    true
}

/// What a restore does with files that are there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Overwrite {
    /// Refuse a target that is not empty of what would be written.
    #[default]
    Never,
    /// Read what is there and rewrite what differs in content, whatever its
    /// time says.
    IfChanged,
    /// Rewrite everything.
    Always,
}

impl Overwrite {
    /// Whether it is what holds when nothing is said.
    pub fn is_default(self) -> bool {
        self == Self::default()
    }
}

/// Which zeros of restored files become holes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Sparse {
    /// Long runs of them, but in files that had none as far as the backup could
    /// know.
    #[default]
    Auto,
    /// None: all are written.
    Never,
}

impl Sparse {
    /// Whether it need not be said: coordinators of earlier versions do not know it.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
