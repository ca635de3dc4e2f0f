//! What a server is told of its recovery: `recovery.signal`, and settings at
//! the end of `postgresql.auto.conf`, where they win over all others.
//!
//! Between two lines that say so, and gone when recovery is over. Everything
//! that the original may have set for a recovery of its own is set here again:
//! its commands could remove files, and two targets are an error to the
//! server. An empty target that is set *behind* the one that counts is one,
//! too, so the empty ones come first.

use std::{io, path::Path};

use jiff::{Timestamp, tz::TimeZone};
use rustix::{
    fs::{AtFlags, statat},
    io::Errno,
};
use strongroom_layout::position::TimelineId;
use strongroom_spec::RecoveryTarget;

use super::{RecoveryError, error::shown};
use crate::{
    allowed::AllowedDirectory,
    restore::cluster::{
        auto_conf::{self, Block, create, remove},
        owner::Owner,
    },
};

const SIGNAL: &str = "recovery.signal";
const BLOCK: Block = Block {
    begin: "# Strongroom's recovery begins here:",
    end: "# Strongroom's recovery ends here.",
};

/// All that there are, of which one at most may be set.
const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
];

/// Where a recovery ends, and where its log comes from.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) restore_command: String,
    pub(super) timeline: TimelineId,
    pub(super) stop: RecoveryTarget,
}

impl Settings {
    /// The lines, with those that frame them.
    fn lines(&self) -> String {
        // A position is the end of the last record that is wanted.
        let inclusive = match self.stop {
            RecoveryTarget::Lsn(_) => "off",
            _ => "on",
        };
        let mut all = vec![
            ("restore_command", self.restore_command.clone()),
            // It would stop where a setting is smaller than the original's was.
            ("hot_standby", "off".into()),
            ("recovery_end_command", String::new()),
            ("archive_cleanup_command", String::new()),
            ("recovery_min_apply_delay", "0".into()),
            ("recovery_target_timeline", self.timeline.to_string()),
            ("recovery_target_action", "promote".into()),
            ("recovery_target_inclusive", inclusive.into()),
        ];
        all.extend(TARGETS.map(|name| (name, String::new())));
        let target = match &self.stop {
            RecoveryTarget::Latest => None,
            RecoveryTarget::Time(at) => Some(("recovery_target_time", time(*at))),
            RecoveryTarget::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
            RecoveryTarget::Xid(xid) => Some(("recovery_target_xid", xid.to_string())),
            RecoveryTarget::RestorePoint(name) => Some(("recovery_target_name", name.clone())),
        };
        if let Some(target) = target {
            all.retain(|(name, _)| *name != target.0);
            all.push(target);
        }
        // What was named may hold anything.
        let shown = shown(&self.stop).escape_debug().to_string();
        BLOCK.lines(&format!("to {shown}"), &all)
    }

    /// Tells the server of a data directory.
    pub(super) fn write(
        &self,
        target: &AllowedDirectory,
        owner: Option<&Owner>,
    ) -> Result<(), RecoveryError> {
        auto_conf::edit(target, owner, BLOCK, &self.lines())?;
        let path = target.path().join(SIGNAL);
        let make = || -> io::Result<()> {
            let root = target.descriptor()?;
            remove(&root, SIGNAL)?;
            create(&root, SIGNAL, owner)?.sync_all()
        };
        make().map_err(RecoveryError::file("create", path))
    }
}

/// Takes these settings away again.
pub(super) fn forget(
    target: &AllowedDirectory,
    owner: Option<&Owner>,
) -> Result<(), RecoveryError> {
    auto_conf::edit(target, owner, BLOCK, "")
}

/// Whether the server of a data directory has yet to end its recovery.
pub(super) fn is_signalled(target: &AllowedDirectory) -> Result<bool, RecoveryError> {
    let look = || -> io::Result<bool> {
        match statat(target.descriptor()?, SIGNAL, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    look().map_err(RecoveryError::file("look for", target.path().join(SIGNAL)))
}

/// The command that copies a file from where it lies already.
pub(super) fn copying(directory: &Path) -> Option<String> {
    let from = shell(directory)?;
    Some(format!("cp {from}/%f \"%p\""))
}

/// The command that has `program` wait for a file.
pub(super) fn waiting(program: &Path, directory: &Path) -> Option<String> {
    let (program, from) = (shell(program)?, shell(directory)?);
    Some(format!("{program} wal fetch {from} %f \"%p\""))
}

/// As a word for the shell in a command of the server's, which replaces what
/// follows a percent sign. `None`: it is no UTF-8.
fn shell(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    let path = path.replace('\'', "'\\''").replace('%', "%%");
    Some(format!("'{path}'"))
}

/// UTC, to the microsecond: what a server reads the same way whatever its
/// time zone and date style are.
fn time(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    at.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string()
}

#[cfg(test)]
mod tests;
