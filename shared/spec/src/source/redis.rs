//! Redis as a source.

use serde::{Deserialize, Serialize};

use super::{SourceKind, SourceSpec};

/// A Redis server that `agent.toml` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSource {
    /// The connection's name in `agent.toml`.
    pub connection: String,
}

impl SourceSpec for RedisSource {
    const KIND: SourceKind = SourceKind::Redis;

    fn named(&self) -> Option<(&'static str, &str)> {
        Some(("connection", &self.connection))
    }
}
