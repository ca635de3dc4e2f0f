//! Restores into servers, and of servers.

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;
use strongroom_proto::v1;

use super::Recovery;
use crate::{
    InvalidMessage,
    field::{Reader, all, into_all},
};

/// See [`Work::RestorePostgres`](super::Work::RestorePostgres).
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the command that asks for it"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePostgresWork {
    /// Which snapshot: a logical one.
    pub snapshot: ObjectId,
    /// Into which server: a connection of `agent.toml`.
    pub connection: String,
    /// The database as it is called in the snapshot.
    pub database: String,
    /// What it is called afterwards.
    pub to: String,
    /// The database that is called so now gives way, once the restored one is
    /// whole; otherwise there must be none.
    pub replace: bool,
    /// Only these; empty: all.
    pub schemas: Vec<String>,
    /// Only these, as `table` or `schema.table`; empty: all.
    pub tables: Vec<String>,
    /// Make the roles of the snapshot that are missing.
    pub globals: bool,
    /// In parallel; `None`: as many as the attempt has threads.
    pub jobs: Option<u32>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Every database of the snapshot, one after the other; in `to` a `*` stands
    /// for the name of each, and `database` is empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// A database whose rows are not all there is kept under its temporary
    /// name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_incomplete: bool,
    /// Rows are counted, but not compared with their checksums.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counts_only: bool,
}

/// See [`Work::RestoreCluster`](super::Work::RestoreCluster).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreClusterWork {
    /// Which snapshot: a physical one.
    pub snapshot: ObjectId,
    /// Absolute directory on the agent's host; empty, or made if missing.
    pub target: String,
    /// Where tablespaces go that are not to lie where they lay.
    pub tablespaces: Vec<Relocation>,
    /// Bring a server up on it.
    pub start: bool,
    /// That server archives, subscribes, listens and preloads libraries as the
    /// original did. Otherwise it does nothing of that.
    #[serde(default)]
    pub keep_settings: bool,
    /// Replay the archived log; `None`: only what is in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// A tablespace's move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// Its absolute path when it was made or backed up, or its number.
    pub from: String,
    /// Absolute directory on the agent's host.
    pub to: String,
}

/// See [`Work::RestoreRedis`](super::Work::RestoreRedis).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRedisWork {
    /// Which snapshot: one of a Redis server.
    pub snapshot: ObjectId,
    /// Into which server: a connection of `agent.toml`.
    pub connection: String,
    /// Glob patterns: only keys that match, beside those that are there.
    /// Empty: the whole dataset, in place of what is there.
    pub keys: Vec<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The whole dataset even where replicas follow the server or Sentinels
    /// watch it, whose failover would wipe what was restored.
    #[serde(default)]
    pub allow_replicas: bool,
}

impl TryFrom<v1::RestorePostgresWork> for RestorePostgresWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::RestorePostgresWork) -> Result<Self, InvalidMessage> {
        let read = Reader("RestorePostgresWork");
        Ok(Self {
            snapshot: read.hex("snapshot", &value.snapshot)?,
            connection: read.text("connection", value.connection)?,
            database: if value.all {
                value.database
            } else {
                read.text("database", value.database)?
            },
            to: read.text("to", value.to)?,
            replace: value.replace,
            schemas: value.schemas,
            tables: value.tables,
            globals: value.globals,
            jobs: (value.jobs > 0).then_some(value.jobs),
            dry_run: value.dry_run,
            all: value.all,
            keep_incomplete: value.keep_incomplete,
            counts_only: value.counts_only,
        })
    }
}

impl From<RestorePostgresWork> for v1::RestorePostgresWork {
    fn from(value: RestorePostgresWork) -> Self {
        Self {
            snapshot: value.snapshot.to_string(),
            connection: value.connection,
            database: value.database,
            to: value.to,
            replace: value.replace,
            schemas: value.schemas,
            tables: value.tables,
            globals: value.globals,
            jobs: value.jobs.unwrap_or(0),
            dry_run: value.dry_run,
            all: value.all,
            keep_incomplete: value.keep_incomplete,
            counts_only: value.counts_only,
        }
    }
}

impl TryFrom<v1::RestoreClusterWork> for RestoreClusterWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::RestoreClusterWork) -> Result<Self, InvalidMessage> {
        let read = Reader("RestoreClusterWork");
        Ok(Self {
            snapshot: read.hex("snapshot", &value.snapshot)?,
            target: read.text("target", value.target)?,
            tablespaces: all(value.tablespaces)?,
            start: value.start,
            keep_settings: value.keep_settings,
            recovery: value.recovery.map(TryInto::try_into).transpose()?,
            dry_run: value.dry_run,
        })
    }
}

impl From<RestoreClusterWork> for v1::RestoreClusterWork {
    fn from(value: RestoreClusterWork) -> Self {
        Self {
            snapshot: value.snapshot.to_string(),
            target: value.target,
            tablespaces: into_all(value.tablespaces),
            start: value.start,
            keep_settings: value.keep_settings,
            recovery: value.recovery.map(Into::into),
            dry_run: value.dry_run,
        }
    }
}

impl TryFrom<v1::Relocation> for Relocation {
    type Error = InvalidMessage;

    fn try_from(value: v1::Relocation) -> Result<Self, InvalidMessage> {
        let read = Reader("Relocation");
        Ok(Self {
            from: read.text("from", value.from)?,
            to: read.text("to", value.to)?,
        })
    }
}

impl From<Relocation> for v1::Relocation {
    fn from(value: Relocation) -> Self {
        Self {
            from: value.from,
            to: value.to,
        }
    }
}

impl TryFrom<v1::RestoreRedisWork> for RestoreRedisWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::RestoreRedisWork) -> Result<Self, InvalidMessage> {
        let read = Reader("RestoreRedisWork");
        Ok(Self {
            snapshot: read.hex("snapshot", &value.snapshot)?,
            connection: read.text("connection", value.connection)?,
            keys: value.keys,
            dry_run: value.dry_run,
            allow_replicas: value.allow_replicas,
        })
    }
}

impl From<RestoreRedisWork> for v1::RestoreRedisWork {
    fn from(value: RestoreRedisWork) -> Self {
        Self {
            snapshot: value.snapshot.to_string(),
            connection: value.connection,
            keys: value.keys,
            dry_run: value.dry_run,
            allow_replicas: value.allow_replicas,
        }
    }
}
