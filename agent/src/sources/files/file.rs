//! One regular file.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering::Relaxed,
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fstat, openat},
    io::Errno,
};
use strongroom_repository::{
    format::{
        blob::BlobKind,
        node::{Node, NodeKind, Tree},
    },
    write::{Halted, StreamError, Worker, stream::Content},
};
use strongroom_spec::WarningCode;

use super::{
    metadata::{self, changed, is_unchanged, kind, links, modified, size},
    open::off_limits,
    reader::FileReader,
    walk::{Item, Moment, Walk},
    xattrs::{self, Xattrs},
};

/// A hard-linked file that this backup has read.
pub(super) struct Linked {
    stat: Stat,
    content: Content,
    allocated: bool,
    xattrs: Xattrs,
    /// Names that have not come up yet.
    left: u64,
}

/// An entry of a directory, by all its names.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) directory: &'a OwnedFd,
    pub(super) name: &'a [u8],
    /// Absolute.
    pub(super) path: &'a [u8],
}

impl<'t> Walk<'t> {
    /// Saves a regular file; `None`, and a warning, when it cannot be read.
    pub(super) fn file(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        entry: Entry<'_>,
        stat: &Stat,
        previous: Option<&Tree>,
    ) -> Result<Option<Node>, Halted> {
        if let Some(node) = self.unchanged(worker, entry, stat, previous) {
            self.counts.unmodified(size(stat));
            self.monitor.bytes.fetch_add(size(stat), Relaxed);
            return Ok(Some(node));
        }
        if let Some((content, allocated, xattrs)) = self.linked(stat) {
            self.monitor.bytes.fetch_add(content.size, Relaxed);
            return Ok(Some(
                self.file_node(entry, stat, content, allocated, xattrs),
            ));
        }
        self.probe(Moment::BeforeOpen, entry.path);
        match self.read(worker, entry, stat) {
            Ok(node) => Ok(Some(node)),
            Err(StreamError::Halted(halted)) => Err(halted),
            Err(StreamError::Read(error)) => {
                self.warn(WarningCode::Unreadable, entry.path, cause(&error));
                Ok(None)
            }
        }
    }

    /// Taken over from the parent snapshot, without opening it: nothing of the
    /// inode has changed, nor could it have unseen, and all its chunks are in the
    /// repository.
    fn unchanged(
        &self,
        worker: &Worker<'_, Item<'t>>,
        entry: Entry<'_>,
        stat: &Stat,
        previous: Option<&Tree>,
    ) -> Option<Node> {
        let nodes = &previous?.nodes;
        let place = nodes.binary_search_by(|node| (*node.name).cmp(entry.name));
        let before = nodes.get(place.ok()?)?;
        let NodeKind::File { content, .. } = &before.kind else {
            return None;
        };
        let known = |id| worker.knows(BlobKind::Data, id);
        let settled = self.settled.as_ref()?;
        let is_settled = || {
            let stamps = self.stamps.of(entry.directory, entry.name, stat);
            settled.is(stat, stamps)
        };
        let is_same = is_unchanged(before, stat) && is_settled();
        (is_same && content.iter().copied().all(known)).then(|| {
            // A change of attributes is a change of the inode.
            let (kind, xattrs) = (before.kind.clone(), before.xattrs.clone());
            metadata::node(entry.name, kind, stat, &self.owners, xattrs)
        })
    }

    /// Under another name this file has been read already.
    fn linked(&self, stat: &Stat) -> Option<(Content, bool, Xattrs)> {
        if links(stat) < 2 {
            return None;
        }
        let mut all = self.links.lock();
        let linked = all.get_mut(&(stat.st_dev, stat.st_ino))?;
        if changed(&linked.stat) != changed(stat) || size(&linked.stat) != size(stat) {
            return None;
        }
        linked.left = linked.left.saturating_sub(1);
        if linked.left > 0 {
            let xattrs = linked.xattrs.clone();
            return Some((linked.content.clone(), linked.allocated, xattrs));
        }
        let linked = all.remove(&(stat.st_dev, stat.st_ino))?;
        Some((linked.content, linked.allocated, linked.xattrs))
    }

    fn read(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        entry: Entry<'_>,
        seen: &Stat,
    ) -> Result<Node, StreamError> {
        let file = open(entry.directory, entry.name)?;
        let before = fstat(&file).map_err(io::Error::from)?;
        if kind(&before) != FileType::RegularFile {
            return Err(io::Error::other("it was replaced by something that is no file").into());
        }
        if let Some(own) = self.allowed.off_limits().find(&before) {
            return Err(io::Error::other(off_limits(&own)).into());
        }
        self.probe(Moment::Opened, entry.path);
        let xattrs = xattrs::of_open(file.as_fd()).unwrap_or_else(|error| {
            self.warn(
                WarningCode::AttributesUnreadable,
                entry.path,
                format!("its extended attributes cannot be read: {error}"),
            );
            Vec::new()
        });
        let mut reader = FileReader::new(file.as_fd(), &before, &self.pace);
        let content = worker.save_stream(&mut reader, &mut |bytes| self.read_bytes(bytes))?;
        let allocated = reader.has_allocated_zeros();
        self.probe(Moment::Read, entry.path);
        let after = fstat(&file).map_err(io::Error::from)?;
        let same = !reader.is_longer()
            && size(&after) == content.size
            && size(&before) == content.size
            && modified(&after) == modified(&before);
        if !same {
            self.warn(
                WarningCode::ChangedWhileRead,
                entry.path,
                "it changed while it was read; it is stored as it was read",
            );
        } else if links(&before) > 1 && before.st_ino == seen.st_ino {
            let linked = Linked {
                stat: before,
                content: content.clone(),
                allocated,
                xattrs: xattrs.clone(),
                left: links(&before) - 1,
            };
            self.links
                .lock()
                .insert((before.st_dev, before.st_ino), linked);
        }
        Ok(self.file_node(entry, &before, content, allocated, xattrs))
    }

    fn file_node(
        &self,
        entry: Entry<'_>,
        stat: &Stat,
        content: Content,
        allocated: bool,
        xattrs: Xattrs,
    ) -> Node {
        self.counts.file(content.size);
        let kind = NodeKind::File {
            size: content.size,
            content: content.blobs,
            allocated,
        };
        metadata::node(entry.name, kind, stat, &self.owners, xattrs)
    }
}

/// Opens an entry for reading without following a symlink, waiting for a fifo,
/// or, where that is permitted, touching its access time.
pub(in crate::sources) fn open(directory: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only a file's owner may leave its access time alone.
        Err(Errno::PERM) => Ok(openat(directory, name, flags, Mode::empty())?),
        result => Ok(result?),
    }
}

/// Why an entry was not read, for people.
pub(super) fn cause(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "it vanished before it was read".into(),
        Some(Errno::LOOP | Errno::NOTDIR) => "it was replaced before it was read".into(),
        _ => format!("it cannot be read: {error}"),
    }
}
