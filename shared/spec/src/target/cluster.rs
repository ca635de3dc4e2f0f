//! A directory that becomes a PostgreSQL cluster as a target.

use serde::{Deserialize, Serialize};

use super::{TargetKind, TargetSpec, absolute};
use crate::{Invalid, named};

/// A PostgreSQL cluster, into a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ClusterTarget {
    /// Absolute directory on the agent's host; empty, or made if missing.
    pub directory: String,
    /// Where tablespaces go that are not to lie where they lay, those included
    /// that are made by the log that is replayed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tablespaces: Vec<Relocation>,
    /// Bring a server up on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
    /// With `start`: the server does all that the original did. Otherwise it
    /// archives nothing, subscribes to nothing, listens on 127.0.0.1 only, and
    /// preloads no libraries but those that replay needs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_settings: bool,
}

/// A tablespace's move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Relocation {
    /// Its absolute directory when it was made or backed up, or its number (OID).
    pub from: String,
    /// Its absolute directory from now on, on the agent's host.
    pub to: String,
}

impl TargetSpec for ClusterTarget {
    const KIND: TargetKind = TargetKind::Cluster;

    fn check(&self) -> Result<(), Invalid> {
        absolute(&self.directory)?;
        if self.keep_settings && !self.start {
            return Err(
                Invalid::new("only of a server that is started can settings be kept").hint(
                    "start it (`start`, --start), or leave `keep_settings` (--keep-settings) out",
                ),
            );
        }
        for it in &self.tablespaces {
            named("from", &it.from)?;
            named("to", &it.to)?;
        }
        Ok(())
    }
}
