//! The output of a command as a source.

use serde::{Deserialize, Serialize};

use super::{SourceKind, SourceSpec};

/// The standard output of a command that `agent.toml` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSource {
    /// The command's name in `agent.toml`.
    pub name: String,
}

impl SourceSpec for CommandSource {
    const KIND: SourceKind = SourceKind::Command;

    fn named(&self) -> Option<(&'static str, &str)> {
        Some(("name", &self.name))
    }
}
