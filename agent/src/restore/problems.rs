//! Paths that could not be restored. The rest goes on: a damaged pack must not
//! keep the other files from coming back.

use std::{
    collections::HashSet,
    fmt,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use strongroom_compare::EscapedPath;
use strongroom_layout::ObjectId;

use super::{error::RestoreError, plan::FileRef};

/// How many problems an error carries in full.
const SHOWN: usize = 20;

/// A path that could not be restored, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it would have been.
    pub path: PathBuf,
    /// Names the object at fault.
    pub cause: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", EscapedPath(&self.path), self.cause)
    }
}

/// Collects problems from all threads.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    first: Mutex<Vec<Problem>>,
    failed: Mutex<HashSet<FileRef>>,
    count: AtomicU64,
    damage: AtomicBool,
}

impl Problems {
    /// Notes a directory that could not be restored.
    pub(crate) fn note(&self, path: PathBuf, cause: String, damage: bool) {
        self.count.fetch_add(1, Relaxed);
        self.damage.fetch_or(damage, Relaxed);
        let mut first = self.first.lock();
        if first.len() < SHOWN {
            first.push(Problem { path, cause });
        }
    }

    /// Notes a file that could not be restored, the first time only.
    pub(crate) fn fail(
        &self,
        file: FileRef,
        path: impl FnOnce() -> PathBuf,
        cause: String,
        damage: bool,
    ) {
        if self.failed.lock().insert(file) {
            self.note(path(), cause, damage);
        }
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    /// Whether a file could not be restored.
    pub(crate) fn has_failed(&self, file: FileRef) -> bool {
        self.any() && self.failed.lock().contains(&file)
    }

    /// The files that could not be restored.
    pub(crate) fn failed(&self) -> Vec<FileRef> {
        self.failed.lock().iter().copied().collect()
    }

    /// `Ok` when there were none.
    pub(crate) fn into_result(self, snapshot: ObjectId) -> Result<(), RestoreError> {
        match self.count.into_inner() {
            0 => Ok(()),
            count => Err(RestoreError::Incomplete {
                snapshot,
                problems: self.first.into_inner(),
                count,
                damage: self.damage.into_inner(),
            }),
        }
    }
}
