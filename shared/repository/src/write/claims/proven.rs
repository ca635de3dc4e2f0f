//! Index files whose claims were looked at, on the local disk.
//!
//! A file of sealed records (see [`record`]), each of an index file's id and of
//! the packs of it that did not hold what it says. The name of an index file is
//! its hash, so that what was found true of it stays true; and the records are
//! sealed with the repository's key. Index files that a run writes itself are
//! noted as they are written. Whoever deletes the file has a header read per
//! pack once more.
//!
//! Records of a second sort are of packs that the store has lost. The last one of
//! an index file counts, for what was lost may be put back.
//!
//! [`record`]: crate::write::journal::record

use std::{
    collections::{HashMap, HashSet},
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use strongroom_layout::ObjectId;

use crate::{
    format::crypto::MasterKey,
    write::journal::{JournalDirectory, record},
};

/// Tells the records from all else that the key seals.
const MAGIC: [u8; 8] = *b"SRprov\0\x01";

/// The same of records of what was lost.
const MAGIC_LOST: [u8; 8] = *b"SRlost\0\x01";

/// Far more than is ever noted, in bytes: a million index files.
const MAX_FILE: u64 = 128 << 20;

/// Records of index files that are no more, which are suffered.
const MAX_STALE: usize = 1_000;

/// What is known of index files.
#[derive(Debug, Default)]
pub(in crate::write) struct Proven {
    /// `None`: nothing is remembered.
    path: Option<PathBuf>,
    /// Of each index file the packs of which it is not to be believed.
    verdicts: HashMap<ObjectId, Vec<ObjectId>>,
    /// Of index files the packs that were not there; of most nothing.
    lost: HashMap<ObjectId, Vec<ObjectId>>,
    /// Something could not be noted.
    failed: bool,
}

impl Proven {
    /// What is remembered in `directory`; what cannot be read is forgotten.
    /// Blocks on the file system.
    pub(in crate::write) fn load(directory: &JournalDirectory, key: &MasterKey) -> Self {
        let path = directory.proven();
        let mut bytes = Vec::new();
        let read = OpenOptions::new()
            .read(true)
            .open(&path)
            .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        if let Err(error) = read
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "what was proven cannot be read");
        }
        let (mut verdicts, mut lost, mut rest) = (HashMap::new(), HashMap::new(), &bytes[..]);
        while let Ok(Some(plaintext)) = record::open(key, &mut rest) {
            if let Some((index, bad)) = decode(MAGIC, &plaintext) {
                verdicts.insert(index, bad);
            } else if let Some((index, gone)) = decode(MAGIC_LOST, &plaintext) {
                lost.insert(index, gone);
            }
        }
        let torn = !rest.is_empty();
        let proven = Self {
            path: Some(path),
            verdicts,
            lost,
            failed: false,
        };
        if torn {
            // Nothing that is added behind it would be found.
            proven.rewrite(key);
        }
        proven
    }

    /// The packs of which an index file is not to be believed; `None` when it
    /// has not been looked at.
    pub(in crate::write) fn verdict(&self, index: &ObjectId) -> Option<&[ObjectId]> {
        self.verdicts.get(index).map(Vec::as_slice)
    }

    /// Remembers an index file that was looked at. Blocks on the file system.
    pub(in crate::write) fn add(&mut self, key: &MasterKey, index: ObjectId, bad: Vec<ObjectId>) {
        if let Some(path) = &self.path {
            append(path, key, MAGIC, index, &bad);
        }
        self.verdicts.insert(index, bad);
    }

    /// The packs of an index file that the store had lost when they were last
    /// looked for.
    pub(in crate::write) fn lost(&self, index: &ObjectId) -> &[ObjectId] {
        self.lost.get(index).map_or(&[], Vec::as_slice)
    }

    /// Whether what was found lost is remembered by the next run.
    pub(in crate::write) fn is_kept(&self) -> bool {
        self.path.is_some() && !self.failed
    }

    /// Remembers which packs of an index file the store has lost. Blocks on the
    /// file system.
    pub(in crate::write) fn note_lost(
        &mut self,
        key: &MasterKey,
        index: ObjectId,
        lost: Vec<ObjectId>,
    ) {
        if let Some(path) = &self.path {
            self.failed |= !append(path, key, MAGIC_LOST, index, &lost);
        }
        self.lost.insert(index, lost);
    }

    /// Forgets index files that are listed no more, when they are many. Blocks
    /// on the file system.
    pub(in crate::write) fn keep(&mut self, key: &MasterKey, listed: &HashSet<ObjectId>) {
        if self.verdicts.len() > listed.len() + MAX_STALE {
            self.verdicts.retain(|index, _| listed.contains(index));
            self.lost
                .retain(|index, lost| !lost.is_empty() && listed.contains(index));
            self.rewrite(key);
        }
    }

    fn rewrite(&self, key: &MasterKey) {
        let Some(path) = &self.path else { return };
        let write = || -> io::Result<()> {
            let mut all = Vec::new();
            for (magic, records) in [(MAGIC, &self.verdicts), (MAGIC_LOST, &self.lost)] {
                for (index, packs) in records {
                    all.extend(encode(key, magic, *index, packs)?);
                }
            }
            let temporary = path.with_extension("new");
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options
                .open(&temporary)
                .and_then(|mut file| file.write_all(&all))
                .and_then(|()| fs::rename(&temporary, path))
                .inspect_err(|_| {
                    let _ = fs::remove_file(&temporary);
                })
        };
        if let Err(error) = write() {
            tracing::debug!(path = %path.display(), %error, "what was proven is not rewritten");
        }
    }
}

/// Notes an index file that this run has written: its packs are this run's own,
/// or were looked at. Blocks on the file system, but for no disk.
pub(in crate::write) fn note_own(directory: &JournalDirectory, key: &MasterKey, index: ObjectId) {
    append(&directory.proven(), key, MAGIC, index, &[]);
}

/// In one write, so that two runs do not mix. It costs reads and nothing else
/// when it fails; gives whether it did not.
fn append(
    path: &Path,
    key: &MasterKey,
    magic: [u8; 8],
    index: ObjectId,
    packs: &[ObjectId],
) -> bool {
    let write = || -> io::Result<()> {
        let record = encode(key, magic, index, packs)?;
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let mut file = options.open(path)?;
        file.write_all(&record).inspect_err(|_| {
            // Nothing is left where there is no room.
            if file.metadata().is_ok_and(|it| it.len() == 0) {
                let _ = fs::remove_file(path);
            }
        })
    };
    let written = write();
    if let Err(error) = &written {
        tracing::debug!(path = %path.display(), %error, "what was proven is not remembered");
    }
    written.is_ok()
}

fn encode(
    key: &MasterKey,
    magic: [u8; 8],
    index: ObjectId,
    packs: &[ObjectId],
) -> io::Result<Vec<u8>> {
    let mut plaintext = magic.to_vec();
    plaintext.extend_from_slice(&index.0);
    for pack in packs {
        plaintext.extend_from_slice(&pack.0);
    }
    record::seal(key, &plaintext).map_err(io::Error::other)
}

fn decode(magic: [u8; 8], plaintext: &[u8]) -> Option<(ObjectId, Vec<ObjectId>)> {
    let (ids, []) = plaintext.strip_prefix(&magic)?.as_chunks::<32>() else {
        return None;
    };
    let (index, packs) = ids.split_first()?;
    Some((
        ObjectId(*index),
        packs.iter().copied().map(ObjectId).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ObjectId {
        ObjectId([n; 32])
    }

    #[test]
    fn what_was_noted_is_known_under_the_same_key_only() {
        let place = tempfile::tempdir().unwrap();
        let directory = JournalDirectory::new(place.path(), id(0));
        let key = MasterKey::from_bytes(&[9; 64]);
        let mut proven = Proven::load(&directory, &key);
        proven.add(&key, id(1), vec![id(7), id(8)]);
        note_own(&directory, &key, id(2));
        for _ in 0..2 {
            let proven = Proven::load(&directory, &key);
            assert_eq!(proven.verdict(&id(1)), Some(&[id(7), id(8)][..]));
            assert_eq!(proven.verdict(&id(2)), Some(&[][..]));
            assert_eq!(proven.verdict(&id(3)), None);
        }
        let other = MasterKey::from_bytes(&[8; 64]);
        assert_eq!(Proven::load(&directory, &other).verdict(&id(2)), None);
    }

    #[test]
    fn what_was_lost_is_known_until_it_is_there_again() {
        let place = tempfile::tempdir().unwrap();
        let directory = JournalDirectory::new(place.path(), id(0));
        let key = MasterKey::from_bytes(&[9; 64]);
        let mut proven = Proven::load(&directory, &key);
        proven.add(&key, id(1), Vec::new());
        proven.note_lost(&key, id(1), vec![id(7), id(8)]);
        let mut proven = Proven::load(&directory, &key);
        assert_eq!(proven.verdict(&id(1)), Some(&[][..]));
        assert_eq!(proven.lost(&id(1)), [id(7), id(8)]);
        proven.note_lost(&key, id(1), vec![id(8)]);
        proven.rewrite(&key);
        let proven = Proven::load(&directory, &key);
        assert_eq!(proven.lost(&id(1)), [id(8)]);
        assert!(proven.lost(&id(2)).is_empty());
    }

    #[test]
    fn behind_what_is_torn_notes_are_found_again() {
        let place = tempfile::tempdir().unwrap();
        let directory = JournalDirectory::new(place.path(), id(0));
        let key = MasterKey::from_bytes(&[9; 64]);
        note_own(&directory, &key, id(1));
        note_own(&directory, &key, id(2));
        let path = directory.proven();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let proven = Proven::load(&directory, &key);
        assert!(proven.verdict(&id(1)).is_some() && proven.verdict(&id(2)).is_none());
        note_own(&directory, &key, id(3));
        let proven = Proven::load(&directory, &key);
        assert!(proven.verdict(&id(1)).is_some() && proven.verdict(&id(3)).is_some());
    }

    #[test]
    fn what_is_listed_no_more_is_forgotten_in_time() {
        let place = tempfile::tempdir().unwrap();
        let directory = JournalDirectory::new(place.path(), id(0));
        let key = MasterKey::from_bytes(&[9; 64]);
        let mut proven = Proven::load(&directory, &key);
        for n in 0..=MAX_STALE as u32 + 1 {
            let mut index = [0; 32];
            index[..4].copy_from_slice(&n.to_le_bytes());
            proven.add(&key, ObjectId(index), Vec::new());
        }
        proven.keep(&key, &HashSet::from([id(0)]));
        let kept = Proven::load(&directory, &key).verdicts;
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), [id(0)]);
    }
}
