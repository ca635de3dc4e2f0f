//! Sets what an inode carries beside its content: owner, mode, attributes with
//! the ACLs among them, times. Never through a symlink.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use jiff::Timestamp;
use rustix::{
    fs::{
        self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
        openat, utimensat,
    },
    io::Errno,
};
use strongroom_compare::beneath::proc_path;
use strongroom_repository::format::node::{Node, NodeKind};

use super::plan::DirMetadata;

/// What to set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metadata<'a> {
    mode: u32,
    uid: u32,
    gid: u32,
    atime: Timestamp,
    mtime: Timestamp,
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
    is_symlink: bool,
}

impl<'a> From<&'a Node> for Metadata<'a> {
    fn from(node: &'a Node) -> Self {
        Self {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            atime: node.atime,
            mtime: node.mtime,
            xattrs: &node.xattrs,
            is_symlink: matches!(node.kind, NodeKind::Symlink { .. }),
        }
    }
}

impl<'a> From<&'a DirMetadata> for Metadata<'a> {
    fn from(dir: &'a DirMetadata) -> Self {
        Self {
            mode: dir.mode,
            uid: dir.uid,
            gid: dir.gid,
            atime: dir.atime,
            mtime: dir.mtime,
            xattrs: &dir.xattrs,
            is_symlink: false,
        }
    }
}

/// Sets everything on the entry `name`. What cannot be set (mostly for want
/// of root's rights) is said through `warn`; the rest is set all the same.
pub(crate) fn apply(
    directory: &OwnedFd,
    name: &[u8],
    metadata: Metadata<'_>,
    mut warn: impl FnMut(String),
) -> io::Result<()> {
    // Also makes sure that what we are about to change is what we restored.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inode = openat(directory, name, flags, Mode::empty())?;
    let stat = fs::fstat(&inode)?;
    let is_symlink = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if is_symlink != metadata.is_symlink {
        return Err(io::Error::other(
            "it was exchanged for something else while being restored",
        ));
    }
    let Metadata { uid, gid, .. } = metadata;
    let owned = (stat.st_uid, stat.st_gid) == (uid, gid);
    if !owned && let Err(error) = set_owner(&inode, uid, gid) {
        warn(format!("owner {uid} and group {gid} not set: {error}"));
    }
    // After the owner: changing it drops capabilities and setuid. Before the
    // mode: an ACL changes it.
    set_xattrs(directory, name, metadata.xattrs, &mut warn);
    let mode = metadata.mode & 0o7777;
    if !is_symlink && let Err(error) = set_mode(&inode, mode) {
        warn(format!("mode {mode:04o} not set: {error}"));
    }
    let times = Timestamps {
        last_access: timespec(metadata.atime),
        last_modification: timespec(metadata.mtime),
    };
    if let Err(error) = utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW) {
        warn(format!("modification time not set: {error}"));
    }
    Ok(())
}

fn set_owner(inode: &OwnedFd, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let owner = Some(Uid::from_raw(uid));
    let group = Some(Gid::from_raw(gid));
    chownat(inode, c"", owner, group, AtFlags::EMPTY_PATH)
}

fn set_mode(inode: &OwnedFd, mode: u32) -> rustix::io::Result<()> {
    let stat = fs::fstat(inode)?;
    if stat.st_mode & 0o7777 == mode {
        return Ok(());
    }
    // A descriptor that is only a path takes no fchmod; its name in /proc
    // leads to the very inode.
    let mut path = proc_path(inode.as_fd(), b"");
    path.pop();
    fs::chmod(path, Mode::from_raw_mode(mode))
}

fn timespec(time: Timestamp) -> Timespec {
    // jiff splits times before 1970 into two negative parts.
    let (seconds, nanoseconds) = (time.as_second(), i64::from(time.subsec_nanosecond()));
    if nanoseconds < 0 {
        Timespec {
            tv_sec: seconds - 1,
            tv_nsec: nanoseconds + 1_000_000_000,
        }
    } else {
        Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        }
    }
}

/// Makes the attributes those of the snapshot: sets them, and removes others
/// that a restore may touch (not those that a security module has set).
fn set_xattrs(
    directory: &OwnedFd,
    name: &[u8],
    wanted: &[(Vec<u8>, Vec<u8>)],
    warn: &mut impl FnMut(String),
) {
    let path = proc_path(directory, name);
    for extra in listed(&path).unwrap_or_default() {
        let ours = extra.starts_with(b"user.") || extra.starts_with(b"system.posix_acl_");
        if !ours || wanted.iter().any(|(name, _)| *name == extra) {
            continue;
        }
        if let Err(error) = fs::lremovexattr(&*path, &*extra) {
            let shown = extra.escape_ascii();
            warn(format!("attribute {shown} not removed: {error}"));
        }
    }
    for (name, value) in wanted {
        if let Err(error) = fs::lsetxattr(&*path, &**name, value, XattrFlags::empty()) {
            let shown = name.escape_ascii();
            warn(format!("attribute {shown} not set: {error}"));
        }
    }
}

fn listed(path: &[u8]) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0; 1024];
    let length = match fs::llistxattr(path, &mut list[..]) {
        Err(Errno::RANGE) => {
            // The kernel's limit.
            list.resize(64 * 1024, 0);
            fs::llistxattr(path, &mut list[..])?
        }
        result => result?,
    };
    list.truncate(length);
    let names = list.split(|byte| *byte == 0);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(Vec::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_carried_over() {
        let time: Timestamp = "1969-12-31T23:59:59.25Z".parse().unwrap();
        let split = timespec(time);
        assert_eq!((split.tv_sec, split.tv_nsec), (-1, 250_000_000));
    }
}
