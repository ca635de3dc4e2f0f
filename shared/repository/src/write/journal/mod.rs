//! Packs that are durable and in no index yet, on the local disk.
//!
//! A run lists its packs in an index every few minutes. What it stored since
//! then is in the repository but known to nobody, and a run that is killed, or
//! whose attempt may write nothing any more, cannot change that. So it notes
//! each pack here as well, and the next run of the same repository lists what
//! it finds ([`inherit`]).
//!
//! A journal is a file of sealed records ([`record`]), locked (`flock`) by the
//! run that writes it. When an index is due a new file is begun; the old one
//! is removed when the index is durable, so that a crash in between leaves
//! only packs that are listed.
//!
//! A coordinator shows an index file to nobody before its run has published a
//! snapshot. So a second file notes the index files that a run wrote, and stays
//! when it ends: the next run forgets those that it is shown, and lists anew
//! what the others list.
//!
//! Nothing is fsynced: what a power cut takes is stored again, and nothing here
//! is believed unless the store confirms it. Whoever deletes the directory
//! loses no more than that.

pub(super) mod inherit;
pub(super) mod record;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use strongroom_layout::ObjectId;

pub(super) use record::encode;

use crate::format::crypto::MasterKey;

/// Of notes of packs.
const SUFFIX: &str = "journal";
/// Of notes of index files.
const INDEX_SUFFIX: &str = "indexes";

/// Where the journals of one repository lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalDirectory(PathBuf);

impl JournalDirectory {
    /// Below `cache`, for the repository whose config has this id. Made when
    /// something is written.
    pub fn new(cache: &Path, repository: ObjectId) -> Self {
        Self(cache.join("journals").join(repository.to_string()))
    }

    /// Its path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Where it is remembered which index files are true.
    pub(super) fn proven(&self) -> PathBuf {
        self.0.join("proven")
    }

    /// Where it is remembered when the packs of the store were last compared with
    /// the index.
    pub(super) fn compared(&self) -> PathBuf {
        self.0.join("compared")
    }

    /// Notes index files that a run which ends now, or goes on, has written.
    /// Blocks on the file system.
    pub(super) fn note_indexes(&self, key: &MasterKey, indexes: &[ObjectId]) -> io::Result<()> {
        let mut records = Vec::new();
        for index in indexes {
            let record = record::encode_index(key, *index).map_err(io::Error::other)?;
            records.extend_from_slice(&record);
        }
        append(&mut None, self, INDEX_SUFFIX, &records)
    }
}

/// What one run notes. Failing costs nothing but the notes: it is said once,
/// and the run goes on without.
#[derive(Debug)]
pub(super) struct Journal {
    /// `None`: none is kept, or no longer.
    directory: Option<JournalDirectory>,
    current: Option<JournalFile>,
    indexes: Option<JournalFile>,
}

impl Journal {
    pub(super) fn new(directory: Option<JournalDirectory>) -> Self {
        Self {
            directory,
            current: None,
            indexes: None,
        }
    }

    /// Whether records are worth making.
    pub(super) fn is_kept(&self) -> bool {
        self.directory.is_some()
    }

    /// Notes a pack that has become durable: a record of [`encode`]. Writes
    /// to the page cache and waits for no disk.
    pub(super) fn append(&mut self, record: &[u8]) {
        let Some(directory) = &self.directory else {
            return;
        };
        if let Err(error) = append(&mut self.current, directory, SUFFIX, record) {
            self.give_up(&error);
        }
    }

    /// Notes an index file that has become durable: a record of
    /// [`record::encode_index`].
    pub(super) fn append_index(&mut self, record: &[u8]) {
        let Some(directory) = &self.directory else {
            return;
        };
        if let Err(error) = append(&mut self.indexes, directory, INDEX_SUFFIX, record) {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        if let Some(directory) = self.directory.take() {
            tracing::warn!(
                directory = %directory.0.display(), %error,
                "cannot note what is stored; were this run interrupted, the next one would \
                 upload some of it again. Check the cache directory's space, owner and mode"
            );
        }
    }

    /// What has been noted so far, apart from what will be: remove it when an
    /// index lists it. `None` when that is nothing.
    pub(super) fn take(&mut self) -> Option<JournalFile> {
        self.current.take()
    }
}

fn append(
    current: &mut Option<JournalFile>,
    directory: &JournalDirectory,
    suffix: &str,
    record: &[u8],
) -> io::Result<()> {
    if let Some(current) = current {
        return (&current.file).write_all(record);
    }
    let new = JournalFile::create(directory, suffix)?;
    match (&new.file).write_all(record) {
        Ok(()) => *current = Some(new),
        Err(error) => {
            new.remove();
            return Err(error);
        }
    }
    Ok(())
}

/// A file of records, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    file: File,
}

impl JournalFile {
    fn create(directory: &JournalDirectory, suffix: &str) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory.0)?;
        let random = getrandom::u64().map_err(io::Error::other)?;
        let path = directory.0.join(format!("{random:016x}.{suffix}"));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        // Nobody keeps the lock of an empty file, see `inherit`.
        file.lock()?;
        Ok(Self { path, file })
    }

    /// Forgets it: an index lists its packs, or it is of no use.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            // The next run finds that its packs are listed.
            tracing::debug!(path = %self.path.display(), %error, "a journal stays");
        }
    }
}
