//! Policies as code: parse, check, compare, and choose agents. Pure.
//!
//! [`Policy`] is both the typed form and, through serde, the shape of one
//! `[[policy]]` table. Everything that a single value can have wrong is
//! refused while it is read, so that the error stands at its line
//! ([`parse`]); what several values decide together (duplicate names, stores
//! that exist) is checked behind that.
//!
//! The sample with all limits is `deploy/policies.toml`; a test parses it.
//!
//! Retention, copies, locks, verification and alerts join as fields of
//! [`Policy`]; until then their keys are unknown and therefore errors.

mod consent;
pub(crate) mod cron;
mod dataset;
mod diff;
mod parse;
mod patterns;
mod schedule;
mod select;
mod units;
mod wal;

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};
use strongroom_runtime::units::{ByteRate, ByteSize};
use strongroom_spec::{ResourceLimits, Source, WarningCode};

pub use consent::Connections;
pub use dataset::Dataset;
pub use diff::{Change, FieldChange, PolicyChange, diff};
pub use parse::{InvalidPolicies, Problem, parse};
pub use schedule::{Cron, Preset, Schedule};
pub use select::{AgentSelector, users_of_connections, warnings};
pub use units::Span;
pub use wal::{ArchiveMethod, WalPolicy, WhenFull};

/// What to back up, where, when and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Unique among policies.
    pub name: String,
    /// Which agents.
    pub agents: AgentSelector,
    /// What is read there.
    pub source: Source,
    /// The store's name in the coordinator's configuration.
    pub store: String,
    /// The log of a cluster, archived at all times; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalPolicy>,
    /// When; `None`: only when asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How long, how often, how fast.
    #[serde(default)]
    pub limits: PolicyLimits,
    /// Codes of warnings that are no reason to worry: they are listed, but a
    /// job with no others succeeds without warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<WarningCode>,
}

/// How long, how often, how fast a policy's jobs may run.
///
/// What they may take of their host holds for each job alone. A host has
/// limits of its own, which all its jobs share: the stricter one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyLimits {
    /// One attempt's wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Attempts that may fail before the job does.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// What one job may write to the store in all its attempts, as stored; of the
    /// archiving of a log, what one day's job may write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_data: Option<ByteSize>,
    /// Upload rate of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<ByteRate>,
    /// Download rate of one attempt, above all of restores of the policy's
    /// snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<ByteRate>,
    /// How fast one attempt reads its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<ByteRate>,
    /// Worker threads of one attempt, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Buffers of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
}

impl PolicyLimits {
    /// What one of its jobs may write, bytes.
    pub fn new_data(&self) -> Option<NonZeroU64> {
        self.new_data.and_then(|size| NonZeroU64::new(size.0))
    }

    /// What its jobs may take of their host.
    pub fn resources(&self) -> ResourceLimits {
        let rate = |rate: Option<ByteRate>| rate.map(ByteRate::bytes_per_second);
        ResourceLimits {
            upload: rate(self.upload),
            download: rate(self.download),
            read: rate(self.read),
            threads: self.threads.and_then(NonZeroU32::new),
            memory: self.memory.and_then(|size| NonZeroU64::new(size.0)),
        }
    }
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            timeout: None,
            attempts: default_attempts(),
            new_data: None,
            upload: None,
            download: None,
            read: None,
            threads: None,
            memory: None,
        }
    }
}

fn default_attempts() -> u32 {
    3
}
