//! From what is asked for to what will be done: nothing is written yet.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use strongroom_postgres::physical::manifest::Manifest;
use strongroom_repository::Repository;
use strongroom_wire::job::{Recovery, RestoreClusterWork};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    Forwarding, RecoveryError,
    directory::{Stage, State, WalDirectory},
    error::shown,
    index::LogIndex,
    notes,
    parts::Shelf,
    plan::{Asked, Plan},
};
use crate::{
    monitor::Monitor,
    restore::{RestoreOptions, cluster::owner::Owner},
};

/// More memory than this makes nothing faster, bytes.
const MEMORY: u64 = 64 << 20;

/// From where archived log comes, and what serves it to a server.
#[derive(Clone)]
pub struct LogSource {
    /// Knows what there is.
    pub index: Arc<dyn LogIndex>,
    /// This program, as the server's user can run it.
    pub program: PathBuf,
}

impl std::fmt::Debug for LogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSource")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// What is to be rolled forward, and how.
#[derive(Clone, Copy)]
pub(in super::super) struct Inputs<'a> {
    pub(in super::super) repository: &'a Arc<Repository>,
    pub(in super::super) runtime: &'a Handle,
    pub(in super::super) monitor: &'a Monitor,
    pub(in super::super) options: &'a RestoreOptions,
    pub(in super::super) log: &'a LogSource,
    pub(in super::super) work: &'a RestoreClusterWork,
    pub(in super::super) manifest: &'a Manifest,
    pub(in super::super) owner: Option<&'a Owner>,
}

/// Decided, and nothing written yet.
pub(in super::super) struct RollForward<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) recovery: &'a Recovery,
    pub(super) plan: Plan,
    /// What an earlier run of the same restore has left.
    pub(super) left: Option<Stage>,
    /// Files of the log that it has left whole.
    pub(super) whole: BTreeMap<String, u64>,
}

impl<'a> RollForward<'a> {
    /// Finds out what is needed.
    pub(in super::super) fn plan(
        inputs: Inputs<'a>,
        recovery: &'a Recovery,
    ) -> Result<Self, RecoveryError> {
        inputs.monitor.enter("planning");
        let target = Path::new(&inputs.work.target);
        let (mut left, mut whole) = (None, BTreeMap::new());
        if let Some(directory) = WalDirectory::open(target, inputs.owner)? {
            left = stage_of(directory.state()?.as_ref(), target, inputs.work, recovery)?;
            if left.is_some() {
                whole = directory.whole()?;
            }
        }
        let shelf = inputs.shelf(inputs.monitor.cancel.clone());
        let plan = inputs.asked(recovery, &shelf).plan()?;
        Ok(Self {
            inputs,
            recovery,
            plan,
            left,
            whole,
        })
    }

    /// The cluster's files are there already, and a server may have worked on
    /// them: they must not be restored again.
    pub(in super::super) fn has_files(&self) -> bool {
        self.left >= Some(Stage::Log)
    }

    /// An earlier run of the same restore has begun to write.
    pub(in super::super) fn resumes(&self) -> bool {
        self.left.is_some()
    }

    /// Files of the log that are missing, and the bytes that they will take.
    pub(in super::super) fn missing(&self) -> (u64, u64) {
        let files = self.plan.files();
        let missing = files
            .iter()
            .filter(|(name, filled)| self.whole.get(name) != Some(filled));
        let count = missing.count() as u64;
        (count, count.saturating_mul(self.plan.size.bytes()))
    }

    /// What will be done, for people.
    pub(in super::super) fn describe(&self) -> Vec<String> {
        notes::planned(&self.plan, self.recovery)
    }

    /// See [`Forwarding::begin`].
    pub(in super::super) fn begin(self) -> Result<Forwarding<'a>, RecoveryError> {
        Forwarding::begin(self)
    }
}

/// How far an earlier run has come; an error when it was of another restore.
fn stage_of(
    state: Option<&State>,
    target: &Path,
    work: &RestoreClusterWork,
    recovery: &Recovery,
) -> Result<Option<Stage>, RecoveryError> {
    let Some(state) = state else {
        return Ok(None);
    };
    let timeline = recovery.legs.last().map(|leg| leg.timeline);
    let same = state.snapshot == work.snapshot
        && state.target == recovery.target
        && Some(state.timeline) == timeline;
    if same {
        return Ok(Some(state.stage));
    }
    Err(RecoveryError::Other {
        path: target.into(),
        target: format!(
            "{} (snapshot {}, timeline {})",
            shown(&state.target),
            state.snapshot.short(),
            state.timeline
        ),
    })
}

impl<'a> Inputs<'a> {
    pub(super) fn shelf(&self, cancel: CancellationToken) -> Shelf {
        Shelf {
            repository: Arc::clone(self.repository),
            runtime: self.runtime.clone(),
            cancel,
            memory: self.options.memory.min(MEMORY),
        }
    }

    pub(super) fn asked<'s>(&self, recovery: &'s Recovery, shelf: &'s Shelf) -> Asked<'s>
    where
        'a: 's,
    {
        Asked {
            manifest: self.manifest,
            recovery,
            index: &*self.log.index,
            shelf,
        }
    }

    pub(super) fn target(&self) -> &'a Path {
        Path::new(&self.work.target)
    }
}
