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

/// A place of a blob, by its number in the [`Index`]. A blob that lies in
/// several packs, or is said to, has several.
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

/// All places of all blobs of a repository, sorted by id. What index files say
/// is not proven: whoever reads a blob goes on to its next place when one does
/// not have it.
#[derive(Default)]
pub struct Index {
    packs: Vec<Pack>,
    entries: Vec<Entry>,
    /// Index files that could not be read.
    passed_over: Vec<ObjectName>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("packs", &self.packs.len())
            .field("blobs", &self.entries.len())
            .field("passed_over", &self.passed_over)
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
    /// Notes an index file that cannot be read: what it listed may be missing.
    pub fn pass_over(&mut self, index: ObjectName) {
        self.index.passed_over.push(index);
    }

    /// Whether a file that was added names this pack.
    pub fn names(&self, pack: &ObjectId) -> bool {
        self.numbers.contains_key(pack)
    }

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
    /// Where a blob lies; of several places the first, see
    /// [`Index::next_place`].
    pub fn find(&self, kind: BlobKind, id: &BlobId) -> Option<BlobRef> {
        let id = short(id);
        let first = self.entries.partition_point(|entry| entry.id < id);
        self.first_from(first, kind, &id)
    }

    /// The place to try when `blob` is not at this one.
    pub fn next_place(&self, blob: BlobRef) -> Option<BlobRef> {
        let entry = self.entry(blob);
        self.first_from(blob.0 as usize + 1, entry.kind(), &entry.id)
    }

    /// Whether places of a blob, from this one on, say different lengths of its
    /// plaintext. All but one of these lengths are lies.
    pub fn is_disputed(&self, blob: BlobRef) -> bool {
        let length = self.plaintext_length(blob);
        std::iter::successors(self.next_place(blob), |place| self.next_place(*place))
            .any(|place| self.plaintext_length(place) != length)
    }

    fn first_from(&self, start: usize, kind: BlobKind, id: &ShortId) -> Option<BlobRef> {
        let same = self.entries[start..]
            .iter()
            .take_while(|entry| entry.id == *id);
        same.zip(start..)
            .find(|(entry, _)| entry.kind() == kind)
            .map(|(_, position)| BlobRef(position as u32))
    }

    /// The same, or an error that says that it is in no index.
    pub fn require(&self, kind: BlobKind, id: &BlobId) -> Result<BlobRef, ReadError> {
        self.find(kind, id).ok_or_else(|| ReadError::NotIndexed {
            kind,
            blob: *id,
            passed_over: self.passed_over.clone(),
        })
    }

    /// Index files that could not be read.
    pub fn passed_over(&self) -> &[ObjectName] {
        &self.passed_over
    }

    /// Number of places.
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

    #[test]
    fn all_places_of_a_blob_are_kept_and_no_other_kind_is_among_them() {
        let pack = |id: u8, kind, offset| IndexPack {
            id: ObjectId([id; 32]),
            blobs: vec![blob(7, kind, offset)],
        };
        let packs = vec![
            pack(1, BlobKind::Data, 0),
            pack(2, BlobKind::Tree, 0),
            pack(3, BlobKind::Data, 0),
            pack(3, BlobKind::Data, 500),
            pack(3, BlobKind::Data, 0),
        ];
        let mut builder = IndexBuilder::default();
        builder.add(&IndexFile { packs }).unwrap();
        let index = builder.build().unwrap();
        let first = index.find(BlobKind::Data, &ObjectId([7; 32])).unwrap();
        let places = std::iter::successors(Some(first), |place| index.next_place(*place));
        let places: Vec<_> = places
            .map(|place| {
                (
                    index.location(place).pack.0[0],
                    index.location(place).offset,
                )
            })
            .collect();
        assert_eq!(places, [(1, 0), (3, 0), (3, 500)]);
        assert!(!index.is_disputed(first));
        let tree = index.find(BlobKind::Tree, &ObjectId([7; 32])).unwrap();
        assert_eq!(index.next_place(tree), None);
    }

    #[test]
    fn lengths_that_differ_are_a_dispute() {
        let pack = |id: u8, uncompressed_length| IndexPack {
            id: ObjectId([id; 32]),
            blobs: vec![IndexBlob {
                uncompressed_length,
                ..blob(7, BlobKind::Data, 0)
            }],
        };
        // 68 bytes, compressed or not, are 68 bytes.
        for (other, disputed) in [(Some(68), false), (Some(69), true)] {
            let packs = vec![pack(1, None), pack(2, other)];
            let mut builder = IndexBuilder::default();
            builder.add(&IndexFile { packs }).unwrap();
            let index = builder.build().unwrap();
            let blob = index.find(BlobKind::Data, &ObjectId([7; 32])).unwrap();
            assert_eq!(index.is_disputed(blob), disputed);
        }
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
