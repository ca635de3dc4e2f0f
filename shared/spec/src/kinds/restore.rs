//! The restore: reads a snapshot, writes a directory or fills a server.

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;

use super::{Facts, Figures, JobKind, Kind, Role, fitting};
use crate::{
    Invalid, MAX_WARNINGS, RawPath, Recovery, Target, TargetKind,
    clip::{LINE, NAME, cut, limit},
};

/// Asks for a restore: to any [`Target`], or to one of a kind that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreSpec<T = Target> {
    /// Which snapshot.
    pub snapshot: ObjectId,
    /// Where to.
    pub target: T,
    /// Of a cluster: replay the archived log; `None`: only what is in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

impl<T> RestoreSpec<T> {
    /// Of what is in the snapshot, really.
    pub fn new(snapshot: ObjectId, target: T) -> Self {
        Self {
            snapshot,
            target,
            recovery: None,
            dry_run: false,
        }
    }

    /// The same, with what `target` makes of its target.
    pub fn to<U>(self, target: impl FnOnce(T) -> U) -> RestoreSpec<U> {
        RestoreSpec {
            snapshot: self.snapshot,
            target: target(self.target),
            recovery: self.recovery,
            dry_run: self.dry_run,
        }
    }
}

impl Kind for RestoreSpec {
    const KIND: JobKind = JobKind::Restore;
    const ROLE: Role = Role::Reads;

    fn facts(&self) -> Facts {
        Facts {
            snapshot: Some(self.snapshot),
            restores: !self.dry_run,
            ..Facts::default()
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        if let Some(recovery) = &self.recovery {
            if self.target.kind() != TargetKind::Cluster {
                return Err(Invalid::new("only of a cluster can a log be replayed"));
            }
            recovery.check()?;
        }
        self.target.check()
    }
}

/// Figures of a finished restore. Bytes throughout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RestoreOutcome {
    /// Entries restored that are not directories.
    pub files: u64,
    /// Directories restored.
    pub directories: u64,
    /// Written to the target.
    pub bytes_written: u64,
    /// Files that were already as in the snapshot.
    pub files_kept: u64,
    /// Fetched from the store.
    pub bytes_fetched: u64,
    /// Dry run: the first 1,000 actions.
    pub plan: Vec<PlannedAction>,
    /// Dry run: all of them.
    pub plan_count: u64,
    /// For people: what is where now, and what else they should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// A server that was started on what was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<StartedServer>,
}

/// A PostgreSQL server that runs on a restored cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StartedServer {
    /// Of 127.0.0.1 on the agent's host.
    pub port: u16,
    /// Where its socket is; absolute.
    pub socket_directory: String,
    /// The file that it writes to; absolute.
    pub log: String,
}

/// What a restore would do to one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PlannedAction {
    /// Below the target, or the name of what is made in a server.
    pub path: RawPath,
    /// `create`, `replace`, `keep`; of a server's restore any verb.
    pub action: String,
    /// Size of the file; 0 where there is none.
    pub bytes: u64,
}

impl Figures for RestoreOutcome {
    fn fit(&mut self, bytes: usize) {
        // Who says how many there are is `plan_count`.
        self.plan.truncate(fitting(&self.plan, bytes / 2));
        self.notes.truncate(fitting(&self.notes, bytes / 2));
    }

    fn bound(&mut self) {
        limit([
            &mut self.files,
            &mut self.directories,
            &mut self.bytes_written,
            &mut self.files_kept,
            &mut self.bytes_fetched,
            &mut self.plan_count,
        ]);
        self.plan.truncate(MAX_WARNINGS);
        for action in &mut self.plan {
            action.path.0.truncate(LINE);
            cut(&mut action.action, NAME);
            limit([&mut action.bytes]);
        }
        self.notes.truncate(MAX_WARNINGS);
        self.notes.iter_mut().for_each(|note| cut(note, LINE));
        if let Some(server) = &mut self.server {
            cut(&mut server.socket_directory, LINE);
            cut(&mut server.log, LINE);
        }
    }
}
