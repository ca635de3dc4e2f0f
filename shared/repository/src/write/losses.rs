//! Losses: packs that index files name and that the store does not hold, or not
//! whole. A lifecycle rule takes such packs, or a foreign hand.
//!
//! A backup that counts on what is gone is green and cannot be restored. So the
//! packs of the store are compared with the index: every time while they are few,
//! once a day when they are many. What was found missing is remembered ([`proven`])
//! until it is there again, and whatever only lost packs hold is stored again, as
//! far as it is met.
//!
//! [`proven`]: super::claims::proven

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use strongroom_layout::{Directory, ObjectId, ObjectName};

use super::journal::JournalDirectory;
use crate::{
    format::{
        blob::{BlobId, BlobKind},
        index::{IndexBlob, IndexPack},
        pack,
    },
    store::{SharedStore, StoreError},
};

/// Up to so many packs (some 250 GB) are compared every time: a handful of small
/// requests.
const FEW: usize = 16_000;
/// More are compared when this has passed.
const EVERY: Duration = Duration::from_hours(24);

/// A pack of which the store has lost all or some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostPack {
    /// Its name.
    pub pack: ObjectName,
    /// Bytes that it should have.
    pub size: u64,
    /// What the index says was in it, and lies nowhere else.
    pub blobs: Vec<LostBlob>,
}

/// A blob that lies in no pack any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostBlob {
    /// Chunk or tree.
    pub kind: BlobKind,
    /// SHA-256 of its plaintext.
    pub id: BlobId,
    /// Bytes that it took in the store.
    pub length: u32,
}

impl From<IndexPack> for LostPack {
    fn from(pack: IndexPack) -> Self {
        let blob = |blob: &IndexBlob| LostBlob {
            kind: blob.kind,
            id: blob.id,
            length: blob.length,
        };
        Self {
            pack: pack.name(),
            size: size_of(&pack),
            blobs: pack.blobs.iter().map(blob).collect(),
        }
    }
}

/// The bytes of a pack that holds what an index says and nothing else.
fn size_of(pack: &IndexPack) -> u64 {
    pack::size(
        pack.blobs
            .iter()
            .map(|blob| (blob.length, blob.uncompressed_length)),
    )
}

/// The first half of a pack's id, and its size: 24 bytes of each of millions.
type Entry = ([u8; 16], u64);

/// The packs that are there, with their sizes.
#[derive(Debug)]
pub(super) struct Sizes(Vec<Entry>);

impl Sizes {
    /// Asks the store for all of them.
    pub(super) async fn list(store: &SharedStore) -> Result<Self, StoreError> {
        let listed = store.list(Directory::Data).await?;
        let mut entries: Vec<Entry> = listed
            .into_iter()
            .map(|pack| (short(&pack.id), pack.size))
            .collect();
        entries.sort_unstable();
        entries.dedup_by_key(|entry| entry.0);
        Ok(Self(entries))
    }

    /// Whether a pack is there with all that is said to be in it.
    pub(super) fn has(&self, pack: &IndexPack) -> bool {
        let wanted = short(&pack.id);
        let found = self.0.binary_search_by_key(&wanted, |entry| entry.0);
        found.is_ok_and(|found| self.0[found].1 >= size_of(pack))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Whether the packs of the store are compared with the index this time.
pub(super) struct Comparison {
    pub(super) is_due: bool,
    /// Where it is noted; `None`: nowhere.
    stamp: Option<PathBuf>,
}

impl Comparison {
    /// Where nothing is remembered.
    pub(super) fn always() -> Self {
        Self {
            is_due: true,
            stamp: None,
        }
    }

    /// As the notes beside the journals say. Blocks on the file system.
    pub(super) fn of(journals: &JournalDirectory) -> Self {
        let stamp = journals.compared();
        Self {
            is_due: is_due(&stamp),
            stamp: Some(stamp),
        }
    }

    /// So many packs were compared, and what is lost is noted. Blocks on the file
    /// system.
    pub(super) fn note(&self, packs: usize) {
        let Some(stamp) = &self.stamp else { return };
        if let Err(error) = note(stamp, packs) {
            tracing::debug!(path = %stamp.display(), %error, "cannot note that packs were compared");
        }
    }
}

/// Only how many there were, and when, is noted: whoever forges that has his own
/// host compare once a day.
fn is_due(stamp: &Path) -> bool {
    let packs = fs::read_to_string(stamp)
        .ok()
        .and_then(|packs| packs.trim().parse::<usize>().ok());
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the file system's own time stamps, and with nothing else"
    )]
    let now = SystemTime::now();
    let age = fs::metadata(stamp)
        .and_then(|stamp| stamp.modified())
        .ok()
        .and_then(|at| now.duration_since(at).ok());
    match (packs, age) {
        (Some(packs), Some(age)) => packs <= FEW || age >= EVERY,
        _ => true,
    }
}

fn note(stamp: &Path, packs: usize) -> io::Result<()> {
    if let Some(directory) = stamp.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    fs::write(stamp, packs.to_string()).inspect_err(|_| {
        // Nothing is left where there is no room.
        let _ = fs::remove_file(stamp);
    })
}

fn short(id: &ObjectId) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&id.0[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "files have the real time")]
    #[test]
    fn few_packs_are_compared_every_time_and_many_once_a_day() {
        let place = tempfile::tempdir().unwrap();
        let stamp = place.path().join("journals/compared");
        assert!(is_due(&stamp));
        note(&stamp, FEW).unwrap();
        assert!(is_due(&stamp));
        note(&stamp, FEW + 1).unwrap();
        assert!(!is_due(&stamp));
        let long_ago = SystemTime::now() - EVERY;
        let aged = fs::File::options().write(true).open(&stamp).unwrap();
        aged.set_modified(long_ago).unwrap();
        assert!(is_due(&stamp));
        // A clock that was set back must not put it off.
        aged.set_modified(SystemTime::now() + EVERY).unwrap();
        assert!(is_due(&stamp));
        fs::write(&stamp, "many").unwrap();
        assert!(is_due(&stamp));
    }
}
