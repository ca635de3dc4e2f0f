//! The sources: a file each, and the list of them.
//!
//! The same shapes stand in a policy's `source`. Commands and connections are only
//! named: what they are stands in `agent.toml` on the host.

mod command;
mod files;
mod postgres;
mod redis;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use command::CommandSource;
pub use files::FilesSource;
pub use postgres::{DumpContent, PostgresLogical, PostgresPhysical, PostgresSource};
pub use redis::RedisSource;

use crate::Invalid;

/// What can be backed up.
pub trait SourceSpec {
    /// Which it is.
    const KIND: SourceKind;

    /// What it names of `agent.toml`: the key that does, and the name.
    fn named(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// Whether it asks for something that can be; it may be spelled and still not.
    fn check(&self) -> Result<(), Invalid> {
        match self.named() {
            Some((key, name)) => crate::named(key, name),
            None => Ok(()),
        }
    }
}

macro_rules! sources {
    ($($(#[doc = $doc:literal])+ $name:ident($spec:ty) = $word:literal,)+) => {
        /// What sort of thing a source is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum SourceKind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl SourceKind {
            /// Every one, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in policies, in consent and in `agent.toml`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }

        /// What is backed up.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub enum Source {
            $($(#[doc = $doc])+ $name($spec),)+
        }

        impl Source {
            /// Which it is.
            pub fn kind(&self) -> SourceKind {
                match self {
                    $(Self::$name(_) => SourceKind::$name,)+
                }
            }

            /// See [`SourceSpec::check`].
            pub fn check(&self) -> Result<(), Invalid> {
                match self {
                    $(Self::$name(spec) => spec.check(),)+
                }
            }

            /// What it names of `agent.toml`: the key that does, and the name.
            pub fn named(&self) -> Option<(&'static str, &str)> {
                match self {
                    $(Self::$name(spec) => SourceSpec::named(spec),)+
                }
            }
        }

        $(impl From<$spec> for Source {
            fn from(spec: $spec) -> Self {
                Self::$name(spec)
            }
        })+
    };
}

sources! {
    /// Files and directories.
    Files(FilesSource) = "files",
    /// The standard output of a command that `agent.toml` names.
    Command(CommandSource) = "command",
    /// A PostgreSQL server that `agent.toml` names.
    Postgres(PostgresSource) = "postgres",
    /// A Redis server that `agent.toml` names.
    Redis(RedisSource) = "redis",
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
