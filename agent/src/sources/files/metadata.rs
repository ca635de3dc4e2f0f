//! From what the kernel says of an inode to a node.

use jiff::Timestamp;
use rustix::fs::{FileType, Stat};
use strongroom_repository::format::node::{Node, NodeKind};

use super::{owners::Owners, xattrs::Xattrs};

/// The node of an entry.
pub(in crate::sources) fn node(
    name: &[u8],
    kind: NodeKind,
    stat: &Stat,
    owners: &Owners,
    xattrs: Xattrs,
) -> Node {
    let mtime = modified(stat);
    Node {
        name: name.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        mtime,
        atime: mtime,
        ctime: changed(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: owners.user(stat.st_uid).to_owned(),
        group: owners.group(stat.st_gid).to_owned(),
        inode: stat.st_ino,
        device_id: stat.st_dev,
        links: links(stat),
        xattrs,
    }
}

/// A directory above a source is stored for its owner and mode. Its times
/// change with whatever else lies in it, which is none of the source's
/// business: if all else is as in the parent snapshot, so are they. Otherwise
/// no backup below `/var/lib` would ever find everything unchanged.
pub(super) fn keep_times(node: &mut Node, before: &Node) {
    let times = (node.mtime, node.atime, node.ctime, node.links);
    (node.mtime, node.atime, node.ctime, node.links) =
        (before.mtime, before.atime, before.ctime, before.links);
    // It has no subtree yet, and what it has is compared by others.
    let same = Node {
        kind: node.kind.clone(),
        ..before.clone()
    } == *node;
    if !same {
        (node.mtime, node.atime, node.ctime, node.links) = times;
    }
}

/// Number of hard links.
#[allow(clippy::useless_conversion, reason = "narrower on some platforms")]
pub(super) fn links(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

/// Its type.
pub(in crate::sources) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Bytes of a regular file.
pub(in crate::sources) fn size(stat: &Stat) -> u64 {
    stat.st_size as u64
}

/// When its content was changed last.
pub(in crate::sources) fn modified(stat: &Stat) -> Timestamp {
    #[allow(clippy::unnecessary_cast, reason = "of other types on some platforms")]
    timestamp(stat.st_mtime as i64, stat.st_mtime_nsec as i32)
}

/// When its inode was changed last.
pub(in crate::sources) fn changed(stat: &Stat) -> Timestamp {
    #[allow(clippy::unnecessary_cast, reason = "of other types on some platforms")]
    timestamp(stat.st_ctime as i64, stat.st_ctime_nsec as i32)
}

/// Times that the format cannot write, before the year 0 or after 9999, become
/// the nearest that it can.
fn timestamp(seconds: i64, nanoseconds: i32) -> Timestamp {
    /// 0000-01-01T00:00:00Z.
    const FIRST: i64 = -62_167_219_200;
    let nearest = if seconds < FIRST {
        Timestamp::from_second(FIRST)
    } else {
        Timestamp::new(seconds, nanoseconds)
    };
    nearest.unwrap_or(Timestamp::MAX)
}

/// Whether a file is as it was when the parent snapshot took it.
pub(in crate::sources) fn is_unchanged(before: &Node, stat: &Stat) -> bool {
    matches!(before.kind, NodeKind::File { size: was, .. } if was == size(stat))
        && before.mtime == modified(stat)
        && before.ctime == changed(stat)
        && before.inode == stat.st_ino
}
