//! The vocabulary: what can be asked of an agent and what comes of it, said once.
//!
//! | in | is |
//! |---|---|
//! | [`kinds`] | the kinds of job, a file each: what one asks ([`JobSpec`]), what comes of it ([`Outcome`]), and what else must be known of it ([`Facts`], [`Role`], [`Lock`]) |
//! | [`source`] | what can be backed up, a file each |
//! | [`target`] | what can be restored into, a file each |
//! | the rest | what these are made of: moments of a log, failures, warnings, limits |
//!
//! A new one is a file here and a line in its list (`kinds!`, `sources!`, `targets!`);
//! whatever must be decided for it, the compiler then asks for.
//!
//! The same types travel to agents and back, lie in the catalog, are the API's shapes
//! (feature `schema`) and the command line's words (feature `cli`). They are JSON in all of
//! these, by these rules:
//!
//! - a kind of job that is not known is refused, with the word *update* ([`Unreadable`]);
//! - sources and targets say what is read and written: a key of theirs that is not known is
//!   refused, for to pass over it would be to do something else. What has its usual value is
//!   not written, so that versions that do not know it can do what they are asked;
//! - elsewhere a key that is not known is passed over.

mod clip;
mod failure;
pub mod kinds;
mod limits;
mod path;
mod recovery;
mod request;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
pub mod source;
pub mod target;
#[cfg(test)]
mod tests;
mod warning;

pub use clip::{LINE, MAX_FIGURE, NAME, cut, limit};
pub use failure::{Failure, FailureCode};
pub use kinds::{
    BackupOutcome, BackupSpec, DownloadOutcome, DownloadSpec, Entry, Facts, Figures, JobKind,
    JobSpec, Kind, ListOutcome, ListSpec, Lock, Outcome, PlannedAction, RestoreOutcome,
    RestoreSpec, Role, StartedServer, Unreadable, UploadFormat, UploadSpec, WalMethod, WalOutcome,
    WalSpec,
};
pub use limits::ResourceLimits;
pub use path::RawPath;
pub use recovery::{ClusterPoint, Leg, Recovery, RecoveryTarget};
pub use request::RestoreRequest;
pub use source::{
    CommandSource, DumpContent, FilesSource, PostgresLogical, PostgresPhysical, PostgresSource,
    RedisSource, Source, SourceKind, SourceSpec,
};
pub use target::{
    ClusterTarget, DirectoryTarget, Overwrite, PostgresTarget, RedisTarget, Relocation, Replaced,
    Sparse, Target, TargetKind, TargetSpec, VerifyRows,
};
pub use warning::{UnknownWarningCode, Warning, WarningCode};

/// How many warnings, planned actions and notes a report carries in full.
pub const MAX_WARNINGS: usize = 1_000;

/// A value that its type does not allow, though it can be spelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl Invalid {
    /// Without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: String::new(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// Whether it need not be written: versions that do not know it can then read the rest.
pub(crate) fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Refuses a name that is empty.
pub(crate) fn named(what: &str, name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::new(format!("`{what}` is empty")).hint("name it"));
    }
    Ok(())
}
