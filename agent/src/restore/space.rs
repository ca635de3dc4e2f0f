//! Whether a restore will fit, before it starts.

use std::{io, path::Path};

use rustix::fs::{StatVfs, fstatvfs, statvfs};

use super::{
    error::RestoreError,
    plan::{FileAction, Plan},
    target::Target,
};

/// What files take is rounded up to this.
const BLOCK: u64 = 4096;

/// Refuses a restore for which there is no room.
pub(crate) fn check(path: &Path, target: Option<&Target>, needed: u64) -> Result<(), RestoreError> {
    let stat = match target {
        Some(target) => fstatvfs(target.root()).map_err(io::Error::from),
        None => nearest(path),
    };
    let stat = stat.map_err(|source| RestoreError::Target {
        operation: "examine the file system of",
        path: path.into(),
        source,
    })?;
    let blocks = if rustix::process::geteuid().is_root() {
        stat.f_bfree
    } else {
        stat.f_bavail
    };
    let available = blocks.saturating_mul(stat.f_frsize);
    if needed <= available {
        return Ok(());
    }
    Err(RestoreError::NoSpace {
        path: path.into(),
        needed,
        available,
    })
}

/// The file system that a path which is not there yet will lie on.
fn nearest(path: &Path) -> io::Result<StatVfs> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for ancestor in path.ancestors() {
        match statvfs(ancestor) {
            Ok(stat) => return Ok(stat),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Bytes that a plan will take on disk beyond what it frees. Known holes take
/// nothing; zeros inside of chunks are counted, though they will take nothing
/// either.
pub(crate) fn needed(plan: &Plan, plaintext_length: impl Fn(&super::plan::Use) -> u64) -> u64 {
    let content: u64 = plan.uses.iter().map(plaintext_length).sum();
    let made = |action| matches!(action, FileAction::Create | FileAction::Replace);
    let files = plan.files.iter().filter(|file| made(file.action)).count() as u64;
    let rounding = files.saturating_mul(BLOCK / 2);
    content.saturating_add(rounding).saturating_sub(plan.freed)
}
