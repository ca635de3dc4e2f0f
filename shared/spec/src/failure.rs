//! Failures: why an attempt did not do what it was asked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Failure {
    /// Stable, for programs.
    pub code: FailureCode,
    /// What, where, and what to do.
    pub message: String,
    /// Whether another attempt may do better.
    pub retryable: bool,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// The kinds of failure, stable across versions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(rename_all = "kebab-case")]
        pub enum FailureCode {
            $($(#[doc = $doc])+ $name,)+
        }

        impl FailureCode {
            /// Every code, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word on the wire, in the catalog and in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

codes! {
    /// The agent's own configuration does not allow it.
    NotAllowed = "not-allowed",
    /// The source cannot be read at all.
    Source = "source",
    /// A command exited non-zero.
    Command = "command",
    /// The store refused or failed.
    Store = "store",
    /// The coordinator refused a grant.
    Refused = "refused",
    /// The repository cannot be opened: wrong password, wrong format.
    Repository = "repository",
    /// An object is damaged.
    Corrupt = "corrupt",
    /// The restore target.
    Target = "target",
    /// The snapshot or path is not there.
    NotFound = "not-found",
    /// The job was cancelled.
    Cancelled = "cancelled",
    /// The job's timeout passed.
    Timeout = "timeout",
    /// The lease was lost, or the agent restarted.
    Fenced = "fenced",
    /// The server's log holds other content than what is archived of it.
    LogConflict = "log-conflict",
    /// The server's log is that of another cluster.
    OtherCluster = "other-cluster",
    /// The agent and the coordinator are of versions that do not understand each other
    /// here.
    Version = "version",
    /// Anything else.
    Internal = "internal",
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
