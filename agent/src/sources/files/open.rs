//! Opening and listing a directory.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{CWD, Mode, OFlags, RawDir, Stat, fstat, openat},
    io::Errno,
};
use strongroom_repository::format::{
    blob::BlobId,
    node::{Node, NodeKind},
};
use strongroom_spec::WarningCode;

use super::{caches, frame::Place, metadata, walk::Walk, xattrs};
use crate::allowed::Way;

/// Bytes that the kernel fills with entries at a time.
const LISTING: usize = 64 * 1024;

/// A directory to open.
pub(super) struct Directory<'t> {
    pub(super) place: Place<'t>,
    /// The directory that it lies in; `None` for `/`.
    pub(super) parent: Option<Arc<OwnedFd>>,
    pub(super) name: Box<[u8]>,
    /// As it was before it was opened.
    pub(super) stat: Option<Stat>,
    /// Its tree in the parent snapshot.
    pub(super) previous: Option<BlobId>,
    pub(super) approach: Approach<'t>,
}

/// How a directory is come to.
#[derive(Clone, Copy)]
pub(super) enum Approach<'t> {
    /// In a directory that is backed up: no symlink.
    Below,
    /// On the way to a requested path, by its name, which may be a symlink.
    Through,
    /// On the way to a requested path, where it was when that was allowed.
    Along(&'t Way),
}

/// An open directory.
pub(super) struct Opened {
    pub(super) directory: OwnedFd,
    /// Sorted.
    pub(super) names: Vec<Box<[u8]>>,
    /// Where it lies.
    pub(super) device: u64,
    /// Without its subtree.
    pub(super) node: Node,
}

impl Directory<'_> {
    /// The source names this very path.
    pub(super) fn is_requested(&self) -> bool {
        self.place.target.is_some_and(|target| target.requested)
    }
}

/// Opens a directory and lists what of it is to be saved.
pub(super) fn open(walk: &Walk<'_>, wanted: &Directory<'_>) -> io::Result<Opened> {
    let (directory, listable) = open_directory(wanted)?;
    let stat = fstat(&directory)?;
    if let Some(own) = walk.allowed.off_limits().find(&stat) {
        return Err(io::Error::other(off_limits(&own)));
    }
    let path = &wanted.place.path;
    let mut names = if listable && wanted.place.inherited.requested {
        list(walk, &directory, path)
    } else {
        Vec::new()
    };
    let children = wanted.place.target.map(|target| &target.children);
    let marked = walk.exclude_caches
        && !wanted.is_requested()
        && names.iter().any(|name| **name == *caches::TAG)
        && caches::is_marked(directory.as_fd());
    if marked {
        // The tag stays, so that the directory is still marked when restored.
        names.retain(|name| **name == *caches::TAG);
    }
    names.extend(
        children
            .into_iter()
            .flatten()
            .map(|(name, _)| Box::from(&**name)),
    );
    names.sort_unstable();
    names.dedup();
    let xattrs = xattrs::of_entry(directory.as_fd(), b".").unwrap_or_else(|error| {
        walk.warn(
            WarningCode::AttributesUnreadable,
            path,
            format!("its extended attributes cannot be read: {error}"),
        );
        Vec::new()
    });
    let of = NodeKind::Dir { subtree: None };
    Ok(Opened {
        node: metadata::node(&wanted.name, of, &stat, &walk.owners, xattrs),
        device: stat.st_dev,
        directory,
        names,
    })
}

/// Whether it can be listed, too: those on the way to a requested path may be
/// closed to us but for passing through.
fn open_directory(wanted: &Directory<'_>) -> io::Result<(OwnedFd, bool)> {
    let along = match wanted.approach {
        Approach::Along(way) => Some(way.open()?),
        Approach::Below | Approach::Through => None,
    };
    let (parent, name) = if let Some(itself) = &along {
        (itself.as_fd(), b".".as_slice())
    } else {
        let parent = wanted.parent.as_ref().map_or(CWD, |parent| parent.as_fd());
        (parent, &*wanted.name)
    };
    let follow = match wanted.approach {
        Approach::Through => OFlags::empty(),
        Approach::Below | Approach::Along(_) => OFlags::NOFOLLOW,
    };
    let open = |flags| {
        let flags = flags | follow | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(parent, name, flags, Mode::empty())
    };
    let opened = match open(OFlags::RDONLY | OFlags::NOATIME) {
        // Only a directory's owner may leave its access time alone.
        Err(Errno::PERM) => open(OFlags::RDONLY),
        result => result,
    };
    match opened {
        Err(Errno::ACCESS) if !wanted.place.inherited.requested => Ok((open(OFlags::PATH)?, false)),
        result => Ok((result?, true)),
    }
}

/// Why something is left out that belongs to the agent.
pub(super) fn off_limits(own: &Path) -> String {
    format!(
        "it is the agent's own state ({}), which is never backed up: exclude it in the policy, and \
         nothing more will be said of it",
        own.display()
    )
}

/// The names in a directory, unsorted, without `.` and `..`; with a warning
/// when the listing breaks off.
fn list(walk: &Walk<'_>, directory: &OwnedFd, path: &[u8]) -> Vec<Box<[u8]>> {
    let mut names = Vec::new();
    let mut buffer = vec![MaybeUninit::uninit(); LISTING];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(name.into()),
            },
            Err(errno) => {
                let error = io::Error::from(errno);
                walk.warn(
                    WarningCode::Unreadable,
                    path,
                    format!("its listing broke off: {error}"),
                );
                break;
            }
        }
    }
    names
}
