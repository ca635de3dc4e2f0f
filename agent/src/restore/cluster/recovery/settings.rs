//! What a server is told of its recovery: `recovery.signal`, and settings at
//! the end of `postgresql.auto.conf`, where they win over all others.
//!
//! Between two lines that say so, and gone when recovery is over. Everything
//! that the original may have set for a recovery of its own is set here again:
//! its commands could remove files, and two targets are an error to the
//! server. An empty target that is set *behind* the one that counts is one,
//! too, so the empty ones come first.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};
use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};
use strongroom_compare::beneath;
use strongroom_layout::position::TimelineId;
use strongroom_wire::job::RecoveryTarget;

use super::{RecoveryError, error::shown};
use crate::restore::cluster::owner::Owner;

const FILE: &str = "postgresql.auto.conf";
const NEW: &str = "postgresql.auto.conf.strongroom";
const SIGNAL: &str = "recovery.signal";
const BEGIN: &str = "# Strongroom's recovery begins here:";
const END: &str = "# Strongroom's recovery ends here.";

/// Larger files are none.
const LARGEST: u64 = 16 << 20;

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
        let mut all = vec![
            ("restore_command", self.restore_command.clone()),
            // It would stop where a setting is smaller than the original's was.
            ("hot_standby", "off".into()),
            ("recovery_end_command", String::new()),
            ("archive_cleanup_command", String::new()),
            ("recovery_min_apply_delay", "0".into()),
            ("recovery_target_timeline", self.timeline.to_string()),
            ("recovery_target_action", "promote".into()),
            ("recovery_target_inclusive", "on".into()),
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
        let mut lines = String::new();
        for (name, value) in all {
            let _infallible = writeln!(lines, "{name} = '{}'", quoted(&value));
        }
        // What was named may hold anything.
        let shown = shown(&self.stop).escape_debug().to_string();
        format!("{BEGIN} to {shown}\n{lines}{END}\n")
    }

    /// Tells the server of a data directory.
    pub(super) fn write(&self, target: &Path, owner: Option<&Owner>) -> Result<(), RecoveryError> {
        edit(target, owner, &self.lines())?;
        let path = target.join(SIGNAL);
        let make = || -> io::Result<()> {
            let root = beneath::open_root(target)?;
            remove(&root, SIGNAL)?;
            create(&root, SIGNAL, owner)?.sync_all()
        };
        make().map_err(RecoveryError::file("create", path))
    }
}

/// Takes our settings away again.
pub(super) fn forget(target: &Path, owner: Option<&Owner>) -> Result<(), RecoveryError> {
    edit(target, owner, "")
}

/// Whether the server of a data directory has yet to end its recovery.
pub(super) fn is_signalled(target: &Path) -> Result<bool, RecoveryError> {
    let path = target.join(SIGNAL);
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(RecoveryError::file("look for", path)(error)),
    }
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

/// As it stands between single quotes in a file of settings.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\'' => text.push_str("''"),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => {}
            other => text.push(other),
        }
    }
    text
}

/// UTC, to the microsecond: what a server reads the same way whatever its
/// time zone and date style are.
fn time(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    at.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string()
}

/// Without what lies between our lines. Of whatever encoding.
fn without_ours(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut ours = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        ours |= line.starts_with(BEGIN.as_bytes());
        if !ours {
            kept.extend_from_slice(line);
        }
        ours &= line.trim_ascii_end() != END.as_bytes();
    }
    if kept.last().is_some_and(|byte| *byte != b'\n') {
        kept.push(b'\n');
    }
    kept
}

/// Puts these lines in the place of ours. The file came from a snapshot, or is
/// the server's user's: no link is followed.
fn edit(target: &Path, owner: Option<&Owner>, lines: &str) -> Result<(), RecoveryError> {
    let path = target.join(FILE);
    let root = beneath::open_root(target).map_err(RecoveryError::file("open", target))?;
    let old = read(&root).map_err(RecoveryError::file("read", &path))?;
    let mut new = without_ours(&old);
    new.extend_from_slice(lines.as_bytes());
    let write = || -> io::Result<()> {
        remove(&root, NEW)?;
        let mut file = create(&root, NEW, owner)?;
        file.write_all(&new)?;
        file.sync_all()?;
        Ok(renameat(&root, NEW, &root, FILE)?)
    };
    write().map_err(RecoveryError::file("write", path))
}

fn read(root: &OwnedFd) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(root, FILE, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    Ok(text)
}

fn create(root: &OwnedFd, name: &str, owner: Option<&Owner>) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = File::from(openat(root, name, flags, Mode::RUSR | Mode::WUSR)?);
    if let Some(owner) = owner {
        owner.take_one(&file, b"")?;
    }
    Ok(file)
}

fn remove(root: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(root, name, AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
