//! A Redis server as a target.

use serde::{Deserialize, Serialize};

use super::{Replaced, TargetKind, TargetSpec};
use crate::{Invalid, RedisSource, named};

/// Keys, into a Redis server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RedisTarget {
    /// A connection in the agent's `agent.toml` that allows restores.
    pub connection: String,
    /// Glob patterns: only keys that match, beside those that are there.
    /// Empty: the whole dataset, in place of what is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The whole dataset even where replicas follow the server or a Sentinel
    /// watches it, which may take its restore for a failure, promote a replica
    /// with the old data, and so wipe what was restored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_replicas: bool,
}

impl TargetSpec for RedisTarget {
    const KIND: TargetKind = TargetKind::Redis;

    fn check(&self) -> Result<(), Invalid> {
        named("connection", &self.connection)?;
        if self.allow_replicas && !self.keys.is_empty() {
            return Err(Invalid::new("single keys reach replicas as any write does")
                .hint("leave `allow_replicas` (--allow-replicas) out"));
        }
        Ok(())
    }

    fn replaced(&self) -> Option<Replaced> {
        Some(Replaced {
            what: "server",
            name: self.connection.clone(),
            connection: self.connection.clone(),
            safety: RedisSource {
                connection: self.connection.clone(),
            }
            .into(),
        })
    }
}
