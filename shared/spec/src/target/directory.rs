//! A directory of the agent's host as a target.

use serde::{Deserialize, Serialize};

use super::{TargetKind, TargetSpec, absolute};
use crate::{Invalid, is_usual};

/// Files, into a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DirectoryTarget {
    /// Absolute directory on the agent's host; made if missing.
    pub directory: String,
    /// Paths inside the snapshot; empty: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// What to do with files that are there.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub overwrite: Overwrite,
    /// Owners have their numbers of the snapshot; otherwise those that their names have
    /// on the agent's host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub numeric_ids: bool,
    /// Which zeros of files become holes.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub sparse: Sparse,
}

/// What a restore does with files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
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

/// Which zeros of restored files become holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Sparse {
    /// Long runs of them, but in files that had none as far as the backup could
    /// know.
    #[default]
    Auto,
    /// None: all are written.
    Never,
}

impl TargetSpec for DirectoryTarget {
    const KIND: TargetKind = TargetKind::Directory;

    fn check(&self) -> Result<(), Invalid> {
        absolute(&self.directory)
    }
}
