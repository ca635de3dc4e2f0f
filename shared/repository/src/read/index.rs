//! Where every blob lies, compactly: 32 bytes per blob, 36 per pack.

use std::collections::HashMap;

use strongroom_layout::{ObjectId, ObjectName};

use super::ReadError;
use crate::format::{
    blob::{BlobId, BlobKind, BlobLocation},
    crypto::ENVELOPE_OVERHEAD,
    index::IndexFile,
};

/// The first half of a blob's id. 128 bits tell all blobs apart, and nobody
/// can make a second one that fits.
pub(crate) type ShortId = [u8; 16];

/// A blob's place in the [`Index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobRef(u32);

/// A pack's place in the [`Index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackRef(u32);

impl PackRef {
    /// Counts from 0, for tables by pack.
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: ShortId,
    /// The pack's number shifted left by one, and whether it is a tree.
    pack_and_kind: u32,
    offset: u32,
    length: u32,
    /// 0: not compressed.
    uncompressed_length: u32,
}

impl Entry {
    fn kind(&self) -> BlobKind {
        if self.pack_and_kind & 1 == 1 {
            BlobKind::Tree
        } else {
            BlobKind::Data
        }
    }
}

struct Pack {
    id: ObjectId,
    /// The end of its last blob, where its header begins.
    end: u32,
}

/// All blobs of a repository, sorted by id.
#[derive(Default)]
pub struct Index {
    packs: Vec<Pack>,
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("packs", &self.packs.len())
            .field("blobs", &self.entries.len())
            .finish()
    }
}

/// Collects index files into an [`Index`].
#[derive(Default)]
pub struct IndexBuilder {
    index: Index,
    numbers: HashMap<ObjectId, u32>,
}

impl std::fmt::Debug for IndexBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.index.fmt(f)
    }
}

impl IndexBuilder {
    /// Adds what a file lists; what is known already is kept once.
    pub fn add(&mut self, file: &IndexFile) -> Result<(), ReadError> {
        for pack in &file.packs {
            let number = self.number(pack.id)?;
            for blob in &pack.blobs {
                let tree = u32::from(blob.kind == BlobKind::Tree);
                let known = &mut self.index.packs[number as usize];
                // The codec has checked that the sum fits.
                known.end = known.end.max(blob.offset.saturating_add(blob.length));
                self.index.entries.push(Entry {
                    id: short(&blob.id),
                    pack_and_kind: number << 1 | tree,
                    offset: blob.offset,
                    length: blob.length,
                    uncompressed_length: blob.uncompressed_length.unwrap_or(0),
                });
            }
        }
        Ok(())
    }

    fn number(&mut self, id: ObjectId) -> Result<u32, ReadError> {
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        let number = u32::try_from(self.index.packs.len())
            .ok()
            .filter(|number| *number < u32::MAX >> 1)
            .ok_or(ReadError::TooLarge("two billion packs"))?;
        self.index.packs.push(Pack { id, end: 0 });
        self.numbers.insert(id, number);
        Ok(number)
    }

    /// Ready for look-ups.
    pub fn build(self) -> Result<Index, ReadError> {
        let mut index = self.index;
        index.entries.sort_unstable();
        index.entries.dedup();
        index.entries.shrink_to_fit();
        if u32::try_from(index.entries.len()).is_err() {
            return Err(ReadError::TooLarge("four billion blobs"));
        }
        Ok(index)
    }
}

impl Index {
    /// Where a blob lies; when it lies in several packs, one of them.
    pub fn find(&self, kind: BlobKind, id: &BlobId) -> Option<BlobRef> {
        let id = short(id);
        let first = self.entries.partition_point(|entry| entry.id < id);
        let same = self.entries[first..]
            .iter()
            .take_while(|entry| entry.id == id);
        same.zip(first..)
            .find(|(entry, _)| entry.kind() == kind)
            .map(|(_, position)| BlobRef(position as u32))
    }

    /// The same, or an error that says that it is in no index.
    pub fn require(&self, kind: BlobKind, id: &BlobId) -> Result<BlobRef, ReadError> {
        self.find(kind, id)
            .ok_or(ReadError::NotIndexed { kind, blob: *id })
    }

    /// Number of blobs.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows no blob.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every pack.
    pub fn packs(&self) -> impl ExactSizeIterator<Item = PackRef> + use<> {
        (0..self.packs.len() as u32).map(PackRef)
    }

    /// A pack's id.
    pub fn pack_id(&self, pack: PackRef) -> ObjectId {
        self.packs[pack.number()].id
    }

    /// The end of a pack's last blob in bytes: there its header begins.
    pub fn pack_end(&self, pack: PackRef) -> u32 {
        self.packs[pack.number()].end
    }

    /// The pack that a blob lies in.
    pub fn pack_of(&self, blob: BlobRef) -> PackRef {
        PackRef(self.entry(blob).pack_and_kind >> 1)
    }

    /// The name of the pack that a blob lies in.
    pub fn pack_name(&self, blob: BlobRef) -> ObjectName {
        let id = self.pack_id(self.pack_of(blob));
        match self.kind(blob) {
            BlobKind::Data => ObjectName::data_pack(id),
            BlobKind::Tree => ObjectName::tree_pack(id),
        }
    }

    /// Chunk or tree.
    pub fn kind(&self, blob: BlobRef) -> BlobKind {
        self.entry(blob).kind()
    }

    /// Pack, offset and lengths of a blob.
    pub fn location(&self, blob: BlobRef) -> BlobLocation {
        let entry = self.entry(blob);
        BlobLocation {
            pack: self.pack_id(self.pack_of(blob)),
            offset: entry.offset,
            length: entry.length,
            uncompressed_length: Some(entry.uncompressed_length).filter(|length| *length > 0),
        }
    }

    /// Bytes of a blob's plaintext.
    pub fn plaintext_length(&self, blob: BlobRef) -> u32 {
        let entry = self.entry(blob);
        if entry.uncompressed_length > 0 {
            entry.uncompressed_length
        } else {
            entry.length.saturating_sub(ENVELOPE_OVERHEAD as u32)
        }
    }

    /// Whether `id` is the blob's, as far as the index knows it.
    pub fn is_id(&self, blob: BlobRef, id: &BlobId) -> bool {
        self.entry(blob).id == short(id)
    }

    /// The first half of the blob's id, in hex, for messages.
    pub fn shown_id(&self, blob: BlobRef) -> String {
        data_encoding::HEXLOWER.encode(&self.entry(blob).id)
    }

    /// Every blob, by pack and offset.
    pub fn blobs_by_pack(&self) -> Vec<BlobRef> {
        let mut blobs: Vec<BlobRef> = (0..self.entries.len() as u32).map(BlobRef).collect();
        blobs.sort_unstable_by_key(|blob| (self.pack_of(*blob), self.entry(*blob).offset));
        blobs
    }

    fn entry(&self, blob: BlobRef) -> &Entry {
        // References are only made by this index, which never shrinks.
        &self.entries[blob.0 as usize]
    }
}

fn short(id: &BlobId) -> ShortId {
    let mut short = ShortId::default();
    short.copy_from_slice(&id.0[..16]);
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::index::{IndexBlob, IndexPack};

    #[test]
    fn an_entry_takes_32_bytes() {
        assert_eq!(size_of::<Entry>(), 32);
        assert_eq!(size_of::<Pack>(), 36);
    }

    fn blob(id: u8, kind: BlobKind, offset: u32) -> IndexBlob {
        IndexBlob {
            id: ObjectId([id; 32]),
            kind,
            offset,
            length: 100,
            uncompressed_length: None,
        }
    }

    #[test]
    fn the_same_id_as_chunk_and_tree_is_two_blobs() {
        let pack = |id: u8, kind| IndexPack {
            id: ObjectId([id; 32]),
            blobs: vec![blob(7, kind, 0)],
        };
        let packs = vec![pack(1, BlobKind::Data), pack(2, BlobKind::Tree)];
        let mut builder = IndexBuilder::default();
        builder.add(&IndexFile { packs }).unwrap();
        let index = builder.build().unwrap();
        for (kind, expected) in [(BlobKind::Data, 1), (BlobKind::Tree, 2)] {
            let found = index.find(kind, &ObjectId([7; 32])).unwrap();
            assert_eq!(index.location(found).pack, ObjectId([expected; 32]));
            assert_eq!(index.plaintext_length(found), 68);
            assert_eq!(index.kind(found), kind);
        }
        let missing = index.require(BlobKind::Data, &ObjectId([8; 32]));
        assert!(missing.unwrap_err().to_string().contains("0808080808"));
    }

    proptest! {
        #[test]
        fn finds_all_and_only_what_was_added(
            ids in prop::collection::btree_set(any::<[u8; 32]>(), 0..200),
            other: [u8; 32],
            twice: bool,
        ) {
            let blobs: Vec<_> = ids
                .iter()
                .zip(0..)
                .map(|(id, position)| IndexBlob {
                    id: ObjectId(*id),
                    ..blob(0, BlobKind::Data, position * 100)
                })
                .collect();
            let file = IndexFile { packs: vec![IndexPack { id: ObjectId([1; 32]), blobs }] };
            let mut builder = IndexBuilder::default();
            builder.add(&file).unwrap();
            if twice {
                builder.add(&file).unwrap();
            }
            let index = builder.build().unwrap();
            prop_assert_eq!(index.len(), ids.len());
            for (id, position) in ids.iter().zip(0_u32..) {
                let found = index.find(BlobKind::Data, &ObjectId(*id)).unwrap();
                prop_assert_eq!(index.location(found).offset, position * 100);
                prop_assert!(index.is_id(found, &ObjectId(*id)));
            }
            prop_assert_eq!(index.find(BlobKind::Data, &ObjectId(other)).is_some(), ids.contains(&other));
            let offsets: Vec<_> = index.blobs_by_pack().into_iter().map(|blob| index.location(blob).offset).collect();
            prop_assert!(offsets.is_sorted());
        }
    }
}
