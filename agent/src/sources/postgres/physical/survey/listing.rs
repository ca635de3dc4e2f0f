//! The listing: all directories and files that are to be in the snapshot.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use rustix::fs::{FileType, Stat};
use strongroom_postgres::physical::names::RelationFile;
use strongroom_repository::format::node::Node;

use crate::sources::files::metadata::{kind, size};

/// A directory of the snapshot.
#[derive(Debug)]
pub(in super::super) struct Dir {
    /// `None`: in the snapshot's root.
    pub(in super::super) parent: Option<usize>,
    pub(in super::super) name: Vec<u8>,
    /// In the snapshot, without the slash at its beginning.
    pub(in super::super) path: String,
    /// Where it lies on this host, for messages.
    pub(in super::super) place: PathBuf,
    pub(in super::super) stat: Stat,
    pub(in super::super) fd: Arc<OwnedFd>,
}

/// A file of the snapshot.
#[derive(Debug)]
pub(in super::super) struct File {
    pub(in super::super) dir: usize,
    pub(in super::super) name: Vec<u8>,
    /// From before it is read.
    pub(in super::super) stat: Stat,
    pub(in super::super) content: Content,
}

/// What is known of a file's content.
#[derive(Debug)]
pub(in super::super) enum Content {
    /// All there is to know: taken over from the last backup.
    Known(Node),
    /// A relation: read in pages.
    Relation {
        /// Which piece.
        file: RelationFile,
        /// Size and number of blobs in the last backup.
        before: Option<(u64, usize)>,
    },
    /// Anything else: read to its end.
    Plain,
}

/// See the module.
#[derive(Debug)]
pub(in super::super) struct Survey {
    pub(in super::super) dirs: Vec<Dir>,
    pub(in super::super) files: Vec<File>,
    /// The directories `pgdata`, `pgdata/global` and `pgdata/pg_wal`.
    pub(in super::super) root: usize,
    pub(in super::super) global: usize,
    pub(in super::super) wal: usize,
    /// Bytes of all files.
    pub(in super::super) bytes: u64,
    /// Files taken over, and their bytes.
    pub(in super::super) kept: (u64, u64),
}

impl Survey {
    pub(super) fn add(
        &mut self,
        parent: Option<usize>,
        name: &[u8],
        place: PathBuf,
        fd: OwnedFd,
        stat: Stat,
    ) -> usize {
        self.note(parent, name, place, Arc::new(fd), stat)
    }

    /// A directory that is not there, like the one that it is in.
    pub(super) fn add_like(&mut self, parent: usize, name: &[u8], place: PathBuf) {
        let (fd, stat) = (Arc::clone(&self.dirs[parent].fd), self.dirs[parent].stat);
        self.note(Some(parent), name, place, fd, stat);
    }

    fn note(
        &mut self,
        parent: Option<usize>,
        name: &[u8],
        place: PathBuf,
        fd: Arc<OwnedFd>,
        stat: Stat,
    ) -> usize {
        let shown = String::from_utf8_lossy(name);
        let path = match parent {
            None => shown.into_owned(),
            Some(parent) => format!("{}/{shown}", self.dirs[parent].path),
        };
        self.dirs.push(Dir {
            parent,
            name: name.to_vec(),
            path,
            place,
            stat,
            fd,
        });
        self.dirs.len() - 1
    }

    pub(super) fn push(&mut self, file: File) {
        if kind(&file.stat) == FileType::RegularFile {
            let bytes = size(&file.stat);
            self.bytes = self.bytes.saturating_add(bytes);
            if matches!(file.content, Content::Known(_)) {
                self.kept.0 += 1;
                self.kept.1 += bytes;
            }
        }
        self.files.push(file);
    }
}
