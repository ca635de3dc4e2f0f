//! Sets what an inode carries beside its content: owner, mode, attributes with
//! the ACLs among them, times. Never through a symlink, and only of the very
//! inode that was made or looked at: what else carries its name by now would
//! be given away, or given rights, with content that is not the snapshot's.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use jiff::Timestamp;
use rustix::{
    fs::{
        self, AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
        chownat, futimens, openat, utimensat,
    },
    io::Errno,
};
use strongroom_compare::beneath::proc_path;
use strongroom_repository::format::node::{Node, NodeKind};

use super::{
    inode::{Slot, exchanged},
    owners::Ownership,
    plan::DirMetadata,
};

/// What to set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metadata<'a> {
    mode: u32,
    uid: u32,
    gid: u32,
    atime: Timestamp,
    mtime: Timestamp,
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
    on: FileType,
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
            on: match node.kind {
                NodeKind::File { .. } => FileType::RegularFile,
                NodeKind::Dir { .. } => FileType::Directory,
                NodeKind::Symlink { .. } => FileType::Symlink,
                NodeKind::Fifo => FileType::Fifo,
                NodeKind::BlockDevice { .. } => FileType::BlockDevice,
                NodeKind::CharDevice { .. } => FileType::CharacterDevice,
            },
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
            on: FileType::Directory,
        }
    }
}

/// Sets everything on the entry `name`, if it still is `expected`. What cannot be
/// set (mostly for want of root's rights) is said through `warn`; the rest is set
/// all the same.
pub(crate) fn apply(
    directory: &OwnedFd,
    name: &[u8],
    expected: &Slot,
    metadata: Metadata<'_>,
    owners: &Ownership,
    mut warn: impl FnMut(String),
) -> io::Result<()> {
    let inode = Opened::open(directory, name, metadata.on)?;
    let stat = expected.check(&inode.descriptor)?;
    if FileType::from_raw_mode(stat.st_mode) != metadata.on {
        return Err(exchanged());
    }
    let is_symlink = metadata.on == FileType::Symlink;
    let Metadata { uid, gid, .. } = metadata;
    let owned = (stat.st_uid, stat.st_gid) == (uid, gid);
    if !owned && let Err(error) = inode.set_owner(uid, gid) {
        warn(format!("owner {uid} and group {gid} not set: {error}"));
    }
    // After the owner: changing it drops capabilities and setuid. Before the
    // mode: an ACL changes it.
    set_xattrs(&inode, metadata.xattrs, owners, &mut warn);
    let mode = metadata.mode & 0o7777;
    if !is_symlink && let Err(error) = inode.set_mode(mode) {
        warn(format!("mode {mode:04o} not set: {error}"));
    }
    let times = Timestamps {
        last_access: timespec(metadata.atime),
        last_modification: timespec(metadata.mtime),
    };
    if let Err(error) = inode.set_times(&times) {
        warn(format!("modification time not set: {error}"));
    }
    Ok(())
}

/// An inode to change.
struct Opened {
    descriptor: OwnedFd,
    /// Its descriptor's name in /proc, when that only stands for a path, and much
    /// cannot be done with it. It leads to the very inode, were that a symlink.
    path: Option<Vec<u8>>,
}

impl Opened {
    fn open(directory: &OwnedFd, name: &[u8], kind: FileType) -> rustix::io::Result<Self> {
        let common = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Opening any other does something.
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            // Neither waits for a pipe that was put there, nor takes a terminal.
            let flags = common | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            if let Ok(descriptor) = openat(directory, name, flags, Mode::empty()) {
                return Ok(Self {
                    descriptor,
                    path: None,
                });
            }
            // Ours, but not for us to read: its mode forbids it.
        }
        let descriptor = openat(directory, name, common | OFlags::PATH, Mode::empty())?;
        let mut path = proc_path(descriptor.as_fd(), b"");
        path.pop();
        Ok(Self {
            descriptor,
            path: Some(path),
        })
    }

    fn set_owner(&self, uid: u32, gid: u32) -> rustix::io::Result<()> {
        let owner = Some(Uid::from_raw(uid));
        let group = Some(Gid::from_raw(gid));
        chownat(&self.descriptor, c"", owner, group, AtFlags::EMPTY_PATH)
    }

    fn set_mode(&self, mode: u32) -> rustix::io::Result<()> {
        let stat = fs::fstat(&self.descriptor)?;
        if stat.st_mode & 0o7777 == mode {
            return Ok(());
        }
        let mode = Mode::from_raw_mode(mode);
        match &self.path {
            None => fs::fchmod(&self.descriptor, mode),
            Some(path) => fs::chmod(path, mode),
        }
    }

    fn set_times(&self, times: &Timestamps) -> rustix::io::Result<()> {
        match &self.path {
            None => futimens(&self.descriptor, times),
            Some(path) => utimensat(CWD, path, times, AtFlags::empty()),
        }
    }

    fn list_xattrs(&self, list: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.path {
            None => fs::flistxattr(&self.descriptor, list),
            Some(path) => fs::listxattr(path, list),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        let flags = XattrFlags::empty();
        match &self.path {
            None => fs::fsetxattr(&self.descriptor, name, value, flags),
            Some(path) => fs::setxattr(path, name, value, flags),
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> rustix::io::Result<()> {
        match &self.path {
            None => fs::fremovexattr(&self.descriptor, name),
            Some(path) => fs::removexattr(path, name),
        }
    }
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
    inode: &Opened,
    wanted: &[(Vec<u8>, Vec<u8>)],
    owners: &Ownership,
    warn: &mut impl FnMut(String),
) {
    for extra in listed(inode).unwrap_or_default() {
        let ours = extra.starts_with(b"user.") || extra.starts_with(b"system.posix_acl_");
        if !ours || wanted.iter().any(|(name, _)| *name == extra) {
            continue;
        }
        if let Err(error) = inode.remove_xattr(&extra) {
            let shown = extra.escape_ascii();
            warn(format!("attribute {shown} not removed: {error}"));
        }
    }
    for (name, value) in wanted {
        let value = owners.attribute(name, value, warn);
        if let Err(error) = inode.set_xattr(name, &value) {
            let shown = name.escape_ascii();
            warn(format!("attribute {shown} not set: {error}"));
        }
    }
}

fn listed(inode: &Opened) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0; 1024];
    let length = match inode.list_xattrs(&mut list) {
        Err(Errno::RANGE) => {
            // The kernel's limit.
            list.resize(64 * 1024, 0);
            inode.list_xattrs(&mut list)?
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
