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
mod tests {
    use std::{fs, process::Command};

    use proptest::prelude::*;
    use strongroom_layout::position::Lsn;
    use strongroom_tests::scratch::Scratch;

    use super::*;

    fn settings(stop: RecoveryTarget) -> Settings {
        Settings {
            restore_command: copying(Path::new("/d")).unwrap(),
            timeline: TimelineId(3),
            stop,
        }
    }

    /// What a server understands: the last of each name, quotes removed.
    fn understood(text: &str, name: &str) -> Option<String> {
        let prefix = format!("{name} = '");
        let line = text.lines().rfind(|line| line.starts_with(&prefix))?;
        let inner = line.strip_prefix(&prefix)?.strip_suffix('\'')?;
        let mut value = String::new();
        let mut rest = inner.chars();
        while let Some(character) = rest.next() {
            if character == '\'' {
                assert_eq!(rest.next(), Some('\''), "{line}");
            }
            value.push(match character {
                '\\' => match rest.next().unwrap() {
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                },
                other => other,
            });
        }
        Some(value)
    }

    #[test]
    fn exactly_one_target_is_set_and_none_behind_it() {
        let at = "2026-11-20T12:00:00.5+01:00".parse().unwrap();
        let all = [
            (
                RecoveryTarget::Time(at),
                "recovery_target_time",
                "2026-11-20 11:00:00.500000+00",
            ),
            (
                RecoveryTarget::Lsn(Lsn(0x1_2000_0028)),
                "recovery_target_lsn",
                "1/20000028",
            ),
            (RecoveryTarget::Xid(742), "recovery_target_xid", "742"),
            (
                RecoveryTarget::RestorePoint("it's \\ here".into()),
                "recovery_target_name",
                "it's \\ here",
            ),
        ];
        for (stop, name, value) in all {
            let lines = settings(stop).lines();
            let set: Vec<_> = TARGETS
                .into_iter()
                .filter(|name| understood(&lines, name).unwrap() != "")
                .collect();
            assert_eq!(set, [name], "{lines}");
            assert_eq!(understood(&lines, name).unwrap(), value);
            let last = lines
                .lines()
                .rfind(|line| line.starts_with("recovery_target"));
            assert!(last.unwrap().starts_with(name), "{lines}");
        }
        let latest = settings(RecoveryTarget::Latest).lines();
        assert!(
            TARGETS
                .iter()
                .all(|name| understood(&latest, name).unwrap().is_empty())
        );
        assert_eq!(
            understood(&latest, "recovery_target_timeline").unwrap(),
            "3"
        );
    }

    proptest! {
        #[test]
        fn names_of_any_kind_are_understood(name in "[^\0]{1,20}") {
            let lines = settings(RecoveryTarget::RestorePoint(name.clone())).lines();
            prop_assert_eq!(understood(&lines, "recovery_target_name").unwrap(), name);
            // And leave no line behind when it is over.
            let left = without_ours(format!("a = 'b'\n{lines}c = 'd'\n").as_bytes());
            prop_assert_eq!(left, b"a = 'b'\nc = 'd'\n");
        }
    }

    #[test]
    fn the_settings_come_last_and_go_again() {
        let scratch = Scratch::new("recovery-settings");
        let path = scratch.join(FILE);
        // No line end at the end, as editors leave it.
        fs::write(&path, "port = '5'\nrecovery_target_xid = '7'").unwrap();
        let settings = settings(RecoveryTarget::Lsn(Lsn(5)));
        for _ in 0..2 {
            settings.write(scratch.path(), None).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.matches(BEGIN).count(), 1, "{text}");
            assert_eq!(understood(&text, "recovery_target_xid").unwrap(), "");
            assert_eq!(understood(&text, "port").unwrap(), "5");
        }
        assert!(is_signalled(scratch.path()).unwrap());
        forget(scratch.path(), None).unwrap();
        let left = fs::read_to_string(&path).unwrap();
        assert_eq!(left, "port = '5'\nrecovery_target_xid = '7'\n");
        fs::remove_file(&path).unwrap();
        settings.write(scratch.path(), None).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with(BEGIN));
    }

    #[test]
    fn a_link_in_the_place_of_the_settings_is_refused() {
        let scratch = Scratch::new("recovery-settings-link");
        let precious = scratch.file("precious", "data");
        std::os::unix::fs::symlink(&precious, scratch.join(FILE)).unwrap();
        let latest = settings(RecoveryTarget::Latest);
        latest.write(scratch.path(), None).unwrap_err();
        assert_eq!(fs::read(precious).unwrap(), b"data");
    }

    #[test]
    fn a_shell_sees_every_path_as_it_is() {
        let scratch = Scratch::new("recovery-shell");
        let odd = scratch.dir("odd $HOME `x` 'quoted' \"path\" 100% %f");
        fs::write(odd.join("segment"), "log").unwrap();
        let command = copying(&odd).unwrap();
        // As the server replaces it.
        let command = command.replace("%%", "\u{1}");
        let command = command.replace("%f", "segment").replace("%p", "to here");
        let mut shell = Command::new("sh");
        let shell = shell.arg("-c").arg(command.replace('\u{1}', "%"));
        assert!(
            shell
                .current_dir(scratch.path())
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(fs::read(scratch.join("to here")).unwrap(), b"log");
        let waiting = waiting(Path::new("/usr/bin/a b"), Path::new("/d")).unwrap();
        assert_eq!(waiting, "'/usr/bin/a b' wal fetch '/d' %f \"%p\"");
    }
}
