//! Whether a restore will fit, before it starts.

use std::io;

use rustix::fs::{fstat, fstatvfs};

use super::{
    error::RestoreError,
    plan::{FileAction, Plan},
};
use crate::allowed::AllowedDirectory;

/// What files take is rounded up to this.
const BLOCK: u64 = 4096;

/// Refuses a restore for which there is no room. A directory that is not there
/// yet will lie on the file system of the nearest above it.
pub(crate) fn check(target: &AllowedDirectory, needed: u64) -> Result<(), RestoreError> {
    let examine = || -> io::Result<_> { Ok(fstatvfs(target.nearest()?)?) };
    let stat = examine().map_err(|source| RestoreError::Target {
        operation: "examine the file system of",
        path: target.path().into(),
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
        path: target.path().into(),
        needed,
        available,
    })
}

/// The number of the file system on which a directory lies, or will.
pub(crate) fn device(target: &AllowedDirectory) -> io::Result<u64> {
    Ok(fstat(target.nearest()?)?.st_dev)
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
