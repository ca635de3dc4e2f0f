//! What can be said of two entries from their inodes alone.

use std::{io, os::fd::BorrowedFd};

use rustix::{
    fs::{self, FileType, Stat},
    io::Errno,
};

use crate::beneath::proc_path;

/// Differences of type, mode, owner, time, size and device number, in words.
/// When the types differ, nothing else is said.
pub(crate) fn differences(source: &Stat, restored: &Stat, owners: bool) -> Vec<String> {
    let kind = FileType::from_raw_mode(source.st_mode);
    let restored_kind = FileType::from_raw_mode(restored.st_mode);
    if kind != restored_kind {
        let (was, is) = (word(kind), word(restored_kind));
        return vec![format!("{was} became {is}")];
    }
    let mut found = Vec::new();
    let (was, is) = (source.st_mode & 0o7777, restored.st_mode & 0o7777);
    if was != is {
        found.push(format!("mode {was:04o} became {is:04o}"));
    }
    if owners && source.st_uid != restored.st_uid {
        let (was, is) = (source.st_uid, restored.st_uid);
        found.push(format!("owner {was} became {is}"));
    }
    if owners && source.st_gid != restored.st_gid {
        let (was, is) = (source.st_gid, restored.st_gid);
        found.push(format!("group {was} became {is}"));
    }
    let was = (source.st_mtime, source.st_mtime_nsec);
    let is = (restored.st_mtime, restored.st_mtime_nsec);
    if was != is {
        let (was, is) = (time(was), time(is));
        found.push(format!("modification time {was} became {is}"));
    }
    if kind == FileType::RegularFile && source.st_size != restored.st_size {
        let (was, is) = (source.st_size, restored.st_size);
        found.push(format!("size {was} became {is}"));
    }
    let device = matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
    if device && source.st_rdev != restored.st_rdev {
        let (was, is) = (number(source.st_rdev), number(restored.st_rdev));
        found.push(format!("device {was} became {is}"));
    }
    found
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symlink",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "something unknown",
    }
}

fn time((seconds, nanoseconds): (i64, impl std::fmt::Display)) -> String {
    format!("{seconds}.{nanoseconds:0>9}")
}

fn number(device: u64) -> String {
    format!("{}:{}", fs::major(device), fs::minor(device))
}

/// Differences of extended attributes, ACLs among them, in words.
pub(crate) fn xattr_differences(
    source: (BorrowedFd<'_>, &[u8]),
    restored: (BorrowedFd<'_>, &[u8]),
) -> Vec<String> {
    let (was, is) = match (xattrs(source), xattrs(restored)) {
        (Ok(was), Ok(is)) => (was, is),
        (Err(error), _) => return vec![format!("its attributes cannot be read: {error}")],
        (_, Err(error)) => {
            return vec![format!("its restored attributes cannot be read: {error}")];
        }
    };
    let mut found = Vec::new();
    for (name, value) in &was {
        let shown = name.escape_ascii();
        match is.iter().find(|(other, _)| other == name) {
            None => found.push(format!("attribute {shown} is missing")),
            Some((_, other)) if other != value => {
                found.push(format!("attribute {shown} has another value"));
            }
            Some(_) => {}
        }
    }
    for (name, _) in &is {
        if !was.iter().any(|(other, _)| other == name) {
            let shown = name.escape_ascii();
            found.push(format!("attribute {shown} is not in the source"));
        }
    }
    found
}

/// Name and value of each attribute.
fn xattrs((directory, name): (BorrowedFd<'_>, &[u8])) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(directory, name);
    let mut list = Vec::new();
    match sized(&mut list, |buffer| fs::llistxattr(&*path, buffer)) {
        // A file system without attributes.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        result => result?,
    }
    let mut found = Vec::new();
    for attribute in list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = Vec::new();
        sized(&mut value, |buffer| {
            fs::lgetxattr(&*path, attribute, buffer)
        })?;
        found.push((attribute.to_vec(), value));
    }
    Ok(found)
}

/// Calls `read` with a buffer that is large enough: the kernel limits lists
/// and values to 64 KiB, nearly all are below 1 KiB.
fn sized(
    into: &mut Vec<u8>,
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<()> {
    into.resize(1024, 0);
    let length = match read(into) {
        Err(Errno::RANGE) => {
            into.resize(64 * 1024, 0);
            read(into)?
        }
        result => result?,
    };
    into.truncate(length);
    Ok(())
}
