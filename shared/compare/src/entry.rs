//! One pair of entries: which differences it has, and what is left to do.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::fs::{AtFlags, FileType, Stat, readlinkat, statat};

use crate::{
    content::{self, Buffers},
    links::Verdict,
    metadata,
    walk::Shared,
};

/// The same name in two directories.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) source: &'a OwnedFd,
    pub(crate) restored: &'a OwnedFd,
    /// Name in `source`.
    pub(crate) name: &'a [u8],
    /// Name in `restored`: another one only at the roots.
    pub(crate) restored_name: &'a [u8],
}

/// What remains of a pair once its metadata is compared.
pub(crate) enum Rest {
    /// Nothing.
    Done,
    /// Both are directories.
    Directory,
    /// Both are files of this size.
    Content(u64),
}

pub(crate) fn stat(directory: &OwnedFd, name: &[u8]) -> io::Result<Stat> {
    Ok(statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Compares all but content and the entries below. `path` is for messages.
pub(crate) fn compare(shared: &Shared<'_>, pair: Pair<'_>, path: &Path) -> Rest {
    let stats = stat(pair.source, pair.name)
        .and_then(|source| Ok((source, stat(pair.restored, pair.restored_name)?)));
    let (source, restored) = match stats {
        Ok(stats) => stats,
        Err(error) => return shared.differs(path, format!("cannot be compared: {error}")),
    };
    shared.count_entry();
    let kind = FileType::from_raw_mode(source.st_mode);
    let same_kind = kind == FileType::from_raw_mode(restored.st_mode);
    for what in metadata::differences(&source, &restored, shared.options.owners) {
        shared.differs(path, what);
    }
    if !same_kind {
        return Rest::Done;
    }
    for what in metadata::xattr_differences(
        (pair.source.as_fd(), pair.name),
        (pair.restored.as_fd(), pair.restored_name),
    ) {
        shared.differs(path, what);
    }
    if kind == FileType::Directory {
        return Rest::Directory;
    }
    if kind == FileType::Symlink {
        compare_targets(shared, pair, path);
    }
    let verdict = shared
        .links
        .lock()
        .map(|mut links| links.note(path, &source, &restored));
    match verdict {
        Ok(Verdict::Again) => return Rest::Done,
        Ok(Verdict::Differs(what)) => {
            shared.differs(path, what);
        }
        // The lock is poisoned only when a thread panicked, which ends all.
        Ok(Verdict::First) | Err(_) => {}
    }
    if kind == FileType::RegularFile && source.st_size == restored.st_size {
        return Rest::Content(u64::try_from(source.st_size).unwrap_or(0));
    }
    Rest::Done
}

fn compare_targets(shared: &Shared<'_>, pair: Pair<'_>, path: &Path) {
    let was = readlinkat(pair.source, pair.name, Vec::new());
    let is = readlinkat(pair.restored, pair.restored_name, Vec::new());
    match (was, is) {
        (Ok(was), Ok(is)) if was == is => {}
        (Ok(was), Ok(is)) => {
            let (was, is) = (was.to_bytes().escape_ascii(), is.to_bytes().escape_ascii());
            shared.differs(path, format!("symlink to {was} became one to {is}"));
        }
        (Err(error), _) | (_, Err(error)) => {
            shared.differs(path, format!("symlink cannot be read: {error}"));
        }
    }
}

/// Compares the content of two files of `size` bytes.
pub(crate) fn compare_content(
    shared: &Shared<'_>,
    pair: Pair<'_>,
    path: &Path,
    size: u64,
    buffers: &mut Buffers,
) {
    let result = content::open(pair.source.as_fd(), pair.name).and_then(|source| {
        let restored = content::open(pair.restored.as_fd(), pair.restored_name)?;
        content::first_difference(&source, &restored, size, buffers)
    });
    match result {
        Ok(None) => shared.count_bytes(size),
        Ok(Some(offset)) => {
            shared.count_bytes(size);
            shared.differs(path, format!("content differs from byte {offset} on"));
        }
        Err(error) => {
            shared.differs(path, format!("content cannot be compared: {error}"));
        }
    }
}
