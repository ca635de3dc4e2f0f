//! Links, special files, modes, owners and times.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, lchown, symlink},
        net::UnixListener,
    },
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{give_to, is_root, set_times};

pub(super) fn write_links(directory: &Path) {
    let at = |name: &str| directory.join(name);
    fs::write(at("target"), "of links").expect("a file");
    fs::create_dir(at("elsewhere")).expect("a directory");

    symlink("target", at("symlink")).expect("a symlink");
    symlink("no/such/file", at("dangling")).expect("a symlink");
    symlink("/etc/hostname", at("absolute")).expect("a symlink");
    symlink("..", at("to-the-parent")).expect("a symlink");
    symlink("elsewhere", at("to-a-directory")).expect("a symlink");
    symlink("itself", at("itself")).expect("a symlink");
    symlink("x".repeat(4000), at("long")).expect("a symlink");
    symlink(OsStr::from_bytes(b"not \xff\xfe UTF-8"), at("odd-target")).expect("a symlink");
    set_times(&at("symlink"), 1_234_567_890, 123_456_789);
    if is_root() {
        lchown(at("symlink"), Some(12_345), Some(54_321)).expect("root may give links away");
    }

    fs::hard_link(at("target"), at("hardlink")).expect("a hard link");
    fs::hard_link(at("target"), at("elsewhere/hardlink")).expect("a hard link");
    fs::write(at("empty"), "").expect("a file");
    fs::hard_link(at("empty"), at("empty-hardlink")).expect("a hard link");
    fs::hard_link(at("dangling"), at("dangling-hardlink")).expect("a hard link to a symlink");
}

pub(super) fn write_special(directory: &Path) {
    let node = |name: &str, kind, mode, device| {
        mknodat(
            CWD,
            directory.join(name),
            kind,
            Mode::from_raw_mode(mode),
            device,
        )
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    node("fifo", FileType::Fifo, 0o640, 0);
    fs::hard_link(directory.join("fifo"), directory.join("fifo-hardlink")).expect("a hard link");
    if is_root() {
        node("null", FileType::CharacterDevice, 0o666, makedev(1, 3));
        node("loop", FileType::BlockDevice, 0o660, makedev(7, 200));
        node(
            "large-numbers",
            FileType::BlockDevice,
            0o600,
            makedev(4095, 1_048_575),
        );
    } else {
        eprintln!("not root: the tree has no devices");
    }
}

/// A socket, which backups leave out.
pub fn write_socket(path: &Path) {
    drop(UnixListener::bind(path).expect("a socket can be bound"));
}

pub(super) fn write_modes(directory: &Path) {
    for mode in [
        0o000, 0o400, 0o600, 0o640, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644,
    ] {
        let path = directory.join(format!("file-{mode:04o}"));
        fs::write(&path, format!("{mode:o}")).expect("a file");
        // Giving away clears setuid: owner first.
        give_to(&path, 1000 + mode, 65_534);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    for mode in [0o500, 0o700, 0o1777, 0o2775, 0o3770] {
        let path = directory.join(format!("directory-{mode:04o}"));
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("inside"), "a directory").expect("a file");
        give_to(&path, 0, 4_000_000_000);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
}

/// Nanoseconds, times before 1970 and after 2038, on files and directories.
pub(super) fn write_times(directory: &Path) {
    for (name, seconds, nanoseconds) in [
        ("nanosecond", 1_600_000_000, 1),
        ("almost-a-second", 1_600_000_000, 999_999_999),
        ("tenth", 1_600_000_000, 100_000_000),
        ("epoch", 0, 0),
        ("before-1970", -1_000_000, 500_000_000),
        ("after-2038", 4_000_000_000, 123),
    ] {
        let file = directory.join(name);
        fs::write(&file, name).expect("a file");
        set_times(&file, seconds, nanoseconds);
        let sub = directory.join(format!("{name}.d"));
        fs::create_dir(&sub).expect("a directory");
        fs::write(sub.join("inside"), "").expect("a file");
        set_times(&sub, seconds, nanoseconds);
    }
}
