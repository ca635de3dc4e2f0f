//! What a restore will do, compactly: some 50 bytes per file and its name,
//! 16 per chunk. Node metadata is not kept (it is read again at the end), so
//! that a plan for a million files stays below 100 MiB.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use strongroom_repository::{
    format::{blob::BlobId, node::Node},
    read::BlobRef,
};

use super::{error::RestoreError, inode::Slot, select::Scope};

/// A directory of the plan. A parent's number is below its children's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DirRef(pub(crate) u32);

/// An entry of the plan that is not a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileRef(pub(crate) u32);

/// The target itself, the snapshot's `/`.
pub(crate) const ROOT: DirRef = DirRef(0);

/// A name in the plan's arena.
#[derive(Clone, Copy, Debug)]
struct Name {
    start: u32,
    length: u16,
}

#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) parent: DirRef,
    name: Name,
    /// What lists it; `None` when the backup could not read it.
    pub(crate) tree: Option<BlobId>,
    /// What below it is restored.
    pub(crate) scope: Scope,
    pub(crate) action: DirAction,
    /// Set at the end; `None`: left as it is.
    pub(crate) metadata: Option<DirMetadata>,
    /// Its files follow one another from here on, in tree order.
    pub(crate) first_file: FileRef,
    /// As it was found, or made.
    pub(crate) inode: Slot,
}

/// What to do with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirAction {
    /// It is not there.
    Create,
    /// Something else is there.
    Replace,
    /// It is there.
    Keep,
}

/// What is set on a directory once all below it is done.
#[derive(Debug)]
pub(crate) struct DirMetadata {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) atime: Timestamp,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: Box<[(Vec<u8>, Vec<u8>)]>,
}

impl From<Node> for DirMetadata {
    fn from(node: Node) -> Self {
        Self {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            atime: node.atime,
            mtime: node.mtime,
            xattrs: node.xattrs.into(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct File {
    pub(crate) dir: DirRef,
    name: Name,
    pub(crate) action: FileAction,
    /// Zeros are written, too: it gets no holes.
    pub(crate) filled: bool,
    /// Bytes; 0 for what is no regular file.
    pub(crate) size: u64,
    /// Its chunks in [`Plan::uses`], until those are sorted by pack.
    pub(crate) first_use: u32,
    /// How many they are. Chunks known to be zeros are left out for new files that
    /// may have holes.
    pub(crate) uses: u32,
}

/// What to do with an entry that is not a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileAction {
    /// It is not there.
    Create,
    /// It is there, and made anew.
    Replace,
    /// It is there: compare its content first. Becomes `Keep`, `Update` or
    /// `Replace`.
    Verify,
    /// It is there and cannot be written: compare its content first. Becomes
    /// `Keep` or `Replace`.
    Match,
    /// It is there: write what differs.
    Update,
    /// It is there with the right content.
    Keep,
    /// A hard link of another entry of the plan; remove what is there.
    Link,
}

impl FileAction {
    /// Whether it is written from nothing.
    pub(crate) fn is_new(self) -> bool {
        matches!(self, Self::Create | Self::Replace)
    }

    /// Whether what is there decides what becomes of it.
    pub(crate) fn is_compared(self) -> bool {
        matches!(self, Self::Verify | Self::Match)
    }
}

/// A chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) blob: BlobRef,
    pub(crate) file: FileRef,
    /// First byte in the file.
    pub(crate) offset: u64,
}

/// A hard link to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) file: FileRef,
    /// The entry that carries content and metadata.
    pub(crate) primary: FileRef,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) dirs: Vec<Dir>,
    pub(crate) files: Vec<File>,
    /// Of each file what was found, or made.
    inodes: Vec<Slot>,
    pub(crate) uses: Vec<Use>,
    pub(crate) links: Vec<Link>,
    /// Blocks of what is replaced or updated, in bytes: they become free.
    pub(crate) freed: u64,
    names: Vec<u8>,
}

impl Plan {
    /// Nothing but the target, whose tree is the snapshot's.
    pub(crate) fn new(tree: BlobId, scope: Scope, exists: bool) -> Self {
        Self {
            dirs: vec![Dir {
                parent: ROOT,
                name: Name {
                    start: 0,
                    length: 0,
                },
                tree: Some(tree),
                scope,
                action: if exists {
                    DirAction::Keep
                } else {
                    DirAction::Create
                },
                metadata: None,
                first_file: FileRef(0),
                inode: Slot::default(),
            }],
            files: Vec::new(),
            inodes: Vec::new(),
            uses: Vec::new(),
            links: Vec::new(),
            freed: 0,
            names: Vec::new(),
        }
    }

    pub(crate) fn add_dir(
        &mut self,
        parent: DirRef,
        name: &[u8],
        tree: Option<BlobId>,
        scope: Scope,
        action: DirAction,
        metadata: Option<DirMetadata>,
    ) -> Result<DirRef, RestoreError> {
        let number = number(self.dirs.len(), "directories")?;
        let name = self.add_name(name)?;
        self.dirs.push(Dir {
            parent,
            name,
            tree,
            scope,
            action,
            metadata,
            first_file: FileRef(0),
            inode: Slot::default(),
        });
        Ok(DirRef(number))
    }

    /// A file without chunks yet: its uses are to follow at once.
    pub(crate) fn add_file(
        &mut self,
        dir: DirRef,
        name: &[u8],
        size: u64,
        action: FileAction,
    ) -> Result<FileRef, RestoreError> {
        let file = number(self.files.len(), "files")?;
        let first_use = number(self.uses.len(), "chunks")?;
        let name = self.add_name(name)?;
        self.files.push(File {
            dir,
            name,
            action,
            filled: false,
            size,
            first_use,
            uses: 0,
        });
        self.inodes.push(Slot::default());
        Ok(FileRef(file))
    }

    /// The file that was added last gets no holes.
    pub(crate) fn fill(&mut self) {
        if let Some(last) = self.files.last_mut() {
            last.filled = true;
        }
    }

    /// The next chunk of the file that was added last.
    pub(crate) fn add_use(&mut self, blob: BlobRef, offset: u64) -> Result<(), RestoreError> {
        let file = number(self.files.len().saturating_sub(1), "files")?;
        if let Some(last) = self.files.last_mut() {
            last.uses = last
                .uses
                .checked_add(1)
                .ok_or(RestoreError::TooLarge("chunks"))?;
        }
        self.uses.push(Use {
            blob,
            file: FileRef(file),
            offset,
        });
        Ok(())
    }

    pub(crate) fn dir(&self, dir: DirRef) -> &Dir {
        // References are only made by this plan, which never shrinks.
        &self.dirs[dir.0 as usize]
    }

    pub(crate) fn file(&self, file: FileRef) -> &File {
        &self.files[file.0 as usize]
    }

    /// Where the inode of a file is noted.
    pub(crate) fn inode(&self, file: FileRef) -> &Slot {
        &self.inodes[file.0 as usize]
    }

    pub(crate) fn dir_refs(&self) -> impl DoubleEndedIterator<Item = DirRef> + use<> {
        (0..self.dirs.len() as u32).map(DirRef)
    }

    pub(crate) fn file_refs(&self) -> impl Iterator<Item = FileRef> + use<> {
        (0..self.files.len() as u32).map(FileRef)
    }

    pub(crate) fn dir_name(&self, dir: DirRef) -> &[u8] {
        self.name(self.dir(dir).name)
    }

    pub(crate) fn file_name(&self, file: FileRef) -> &[u8] {
        self.name(self.file(file).name)
    }

    /// A directory's path below the target; empty for the target.
    pub(crate) fn dir_path(&self, dir: DirRef) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = dir;
        while at != ROOT {
            names.push(self.dir_name(at));
            at = self.dir(at).parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Whether what is in a directory lies less than so many directories deep.
    pub(crate) fn lies_within(&self, dir: DirRef, levels: usize) -> bool {
        let above = |dir: &DirRef| (*dir != ROOT).then(|| self.dir(*dir).parent);
        std::iter::successors(Some(dir), above)
            .nth(levels - 1)
            .is_none()
    }

    /// An entry's path below the target.
    pub(crate) fn file_path(&self, file: FileRef) -> Vec<u8> {
        let mut path = self.dir_path(self.file(file).dir);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(self.file_name(file));
        path
    }

    fn name(&self, name: Name) -> &[u8] {
        let start = name.start as usize;
        &self.names[start..start + usize::from(name.length)]
    }

    fn add_name(&mut self, name: &[u8]) -> Result<Name, RestoreError> {
        let start = number(self.names.len(), "bytes of names")?;
        let length = u16::try_from(name.len()).map_err(|_| RestoreError::TooLarge("bytes"))?;
        self.names.extend_from_slice(name);
        Ok(Name { start, length })
    }
}

fn number(count: usize, what: &'static str) -> Result<u32, RestoreError> {
    u32::try_from(count).map_err(|_| RestoreError::TooLarge(what))
}

/// A path below the target as people and the operating system see it.
pub(crate) fn absolute(target: &Path, below: Vec<u8>) -> PathBuf {
    target.join(OsString::from_vec(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_compact() {
        assert_eq!(size_of::<File>(), 32);
        assert_eq!(size_of::<Use>(), 16);
        assert_eq!(size_of::<Slot>(), 16);
    }
}
