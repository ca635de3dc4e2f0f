//! Files and directories as a source.

use serde::{Deserialize, Serialize};

use super::{SourceKind, SourceSpec};
use crate::Invalid;

/// Files and directories of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSource {
    /// Absolute paths.
    pub paths: Vec<String>,
    /// Globs; empty: everything. A file is taken when one matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Globs; a match is left out, with all below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Do not descend into other file systems.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_file_system: bool,
    /// Leave out directories that a valid `CACHEDIR.TAG` marks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclude_caches: bool,
}

impl SourceSpec for FilesSource {
    const KIND: SourceKind = SourceKind::Files;

    fn check(&self) -> Result<(), Invalid> {
        if self.paths.is_empty() {
            return Err(Invalid::new("`paths` is empty").hint("name at least one"));
        }
        Ok(())
    }
}
