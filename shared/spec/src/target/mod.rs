//! The targets: where a snapshot can be restored to, a file each, and the list of them.

mod cluster;
mod directory;
mod postgres;
mod redis;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use cluster::{ClusterTarget, Relocation};
pub use directory::{DirectoryTarget, Overwrite, Sparse};
pub use postgres::{PostgresTarget, VerifyRows};
pub use redis::RedisTarget;

use crate::{Invalid, Source};

/// What a restore replaces, and so must be said once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// For people: `database`, `server`, ….
    pub what: &'static str,
    /// Its name, which confirms.
    pub name: String,
    /// The connection of `agent.toml` that leads to it.
    pub connection: String,
    /// What is backed up before it gives way.
    pub safety: Source,
}

/// Where a snapshot can be restored to.
pub trait TargetSpec {
    /// Which it is.
    const KIND: TargetKind;

    /// Whether it asks for something that can be; it may be spelled and still not.
    fn check(&self) -> Result<(), Invalid>;

    /// What gives way to what is restored, if anything does.
    fn replaced(&self) -> Option<Replaced> {
        None
    }
}

macro_rules! targets {
    ($($(#[doc = $doc:literal])+ $name:ident($spec:ty) = $word:literal,)+) => {
        /// What sort of place a target is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum TargetKind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl TargetKind {
            /// Every one, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in requests.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }

        /// Where a snapshot is restored to.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub enum Target {
            $($(#[doc = $doc])+ $name($spec),)+
        }

        impl Target {
            /// Which it is.
            pub fn kind(&self) -> TargetKind {
                match self {
                    $(Self::$name(_) => TargetKind::$name,)+
                }
            }

            /// See [`TargetSpec::check`].
            pub fn check(&self) -> Result<(), Invalid> {
                match self {
                    $(Self::$name(spec) => spec.check(),)+
                }
            }

            /// See [`TargetSpec::replaced`].
            pub fn replaced(&self) -> Option<Replaced> {
                match self {
                    $(Self::$name(spec) => spec.replaced(),)+
                }
            }
        }

        $(impl From<$spec> for Target {
            fn from(spec: $spec) -> Self {
                Self::$name(spec)
            }
        })+
    };
}

targets! {
    /// A directory of the agent's host: files.
    Directory(DirectoryTarget) = "directory",
    /// A directory of the agent's host: a PostgreSQL cluster.
    Cluster(ClusterTarget) = "cluster",
    /// A PostgreSQL server: databases.
    Postgres(PostgresTarget) = "postgres",
    /// A Redis server: keys.
    Redis(RedisTarget) = "redis",
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Refuses a directory that is not said from the root on.
fn absolute(directory: &str) -> Result<(), Invalid> {
    if directory.starts_with('/') {
        return Ok(());
    }
    Err(
        Invalid::new(format!("the target {directory:?} is not an absolute path"))
            .hint("name a directory on the agent's host, beginning with /"),
    )
}
