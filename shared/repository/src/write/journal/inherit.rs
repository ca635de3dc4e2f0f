//! Taking over what an interrupted run noted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::Path,
};

use strongroom_layout::ObjectId;

use super::{
    INDEX_SUFFIX, JournalDirectory, JournalFile, SUFFIX,
    record::{self, Note},
};
use crate::{
    format::{
        crypto::MasterKey,
        index::{IndexFile, IndexPack},
    },
    write::uploads::INDEX_BLOBS,
};

/// Far more than a run notes between two indexes, in bytes.
const MAX_JOURNAL: u64 = 64 << 20;

/// Packs of runs that ended before they listed them, and index files of runs
/// that may have ended before they published anything. The journals stay locked,
/// and stay, until [`Inheritance::settle`].
#[derive(Debug, Default)]
pub(in crate::write) struct Inheritance {
    packs: BTreeMap<ObjectId, IndexPack>,
    indexes: BTreeSet<ObjectId>,
    files: Vec<JournalFile>,
}

impl Inheritance {
    /// Takes over all journals that no live run holds. Must come before the
    /// repository's indexes are listed: a run removes its journal only after
    /// it has written an index. What cannot be read is passed over. Blocks on
    /// the file system.
    pub(in crate::write) fn take_over(directory: &JournalDirectory, key: &MasterKey) -> Self {
        let mut all = Self::default();
        let entries = match fs::read_dir(&directory.0) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(directory = %directory.0.display(), %error,
                        "cannot look for what an interrupted run left; \
                         some of it may be uploaded again");
                }
                return all;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_file = entry.file_type().is_ok_and(|it| it.is_file());
            let is_journal = |it: &std::ffi::OsStr| it == SUFFIX || it == INDEX_SUFFIX;
            if is_file && path.extension().is_some_and(is_journal) {
                match open(&path) {
                    Ok(Some((file, bytes))) => all.add(file, &bytes, key),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(path = %path.display(), %error, "a journal cannot be read");
                    }
                }
            }
        }
        all
    }

    fn add(&mut self, file: JournalFile, mut bytes: &[u8], key: &MasterKey) {
        loop {
            match record::decode(key, &mut bytes) {
                Ok(Some(Note::Pack(pack))) => {
                    self.packs.insert(pack.id, pack);
                }
                Ok(Some(Note::Index(index))) => {
                    self.indexes.insert(index);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(path = %file.path.display(), %error, "a journal ends early");
                    break;
                }
            }
        }
        self.files.push(file);
    }

    /// Drops an index file that is listed, and the packs that it lists.
    pub(in crate::write) fn drop_listed(&mut self, id: &ObjectId, index: &IndexFile) {
        self.indexes.remove(id);
        if !self.packs.is_empty() {
            for pack in &index.packs {
                self.packs.remove(&pack.id);
            }
        }
    }

    /// Whether there is nothing to list.
    pub(in crate::write) fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.indexes.is_empty()
    }

    /// Index files that were noted and not listed.
    pub(in crate::write) fn take_unlisted(&mut self) -> BTreeSet<ObjectId> {
        std::mem::take(&mut self.indexes)
    }

    /// The indexes that are to list the packs that were noted.
    pub(in crate::write) fn take_indexes(&mut self) -> Vec<IndexFile> {
        let mut indexes: Vec<IndexFile> = Vec::new();
        let mut blobs = 0;
        for pack in std::mem::take(&mut self.packs).into_values() {
            if blobs == 0 || blobs + pack.blobs.len() > INDEX_BLOBS {
                indexes.push(IndexFile::default());
                blobs = 0;
            }
            // Of a pack without blobs there are none; one would do no harm.
            blobs += pack.blobs.len().max(1);
            if let Some(index) = indexes.last_mut() {
                index.packs.push(pack);
            }
        }
        indexes
    }

    /// Everything is listed, or of no use: the journals may go. Blocks on the
    /// file system.
    pub(in crate::write) fn settle(self) {
        self.files.into_iter().for_each(JournalFile::remove);
    }
}

/// Locks a journal and reads it; `None` when a live run holds it, or has just
/// made it.
fn open(path: &Path) -> io::Result<Option<(JournalFile, Vec<u8>)>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut bytes = Vec::new();
    (&file).take(MAX_JOURNAL).read_to_end(&mut bytes)?;
    // Its run makes it first and locks it then.
    if bytes.is_empty() {
        return Ok(None);
    }
    let path = path.into();
    Ok(Some((JournalFile { path, file }, bytes)))
}
