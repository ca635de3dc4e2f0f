//! Which blobs need not be stored: those in the repository already and those
//! that this run has taken on.
//!
//! SHA-256 spreads ids evenly, so that a table over their top bits leads to a
//! handful of sorted neighbours, of which twelve bytes are kept: 12.5 bytes
//! per known blob in all. At least 112 bits of an id take part; whoever finds
//! two of their own files whose chunks agree in so many (2^56 hashes) loses
//! the second of the two, and nothing of anybody else's.

use std::{collections::HashSet, hash::BuildHasherDefault};

use parking_lot::Mutex;

use crate::format::blob::{BlobId, BlobKind};

/// What [`Membership::claim`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// New: the caller, and nobody else, must store it.
    Claimed,
    /// In the repository, or being stored in this run.
    Known,
}

/// Bytes of an id that are collected of each known blob.
const PREFIX: usize = 14;

/// What is kept of a prefix: all but the two bytes that its bucket implies.
const SUFFIX: usize = 12;

/// A bucket's number has at least the bits that suffixes leave out.
const FEWEST_BITS: u32 = 8 * (PREFIX - SUFFIX) as u32;
/// 256 MiB of table, at half a billion blobs.
const MOST_BITS: u32 = 26;

/// The ids of known blobs of one kind while they are collected.
#[derive(Debug, Default)]
pub(super) struct Prefixes(Vec<u8>);

impl Prefixes {
    pub(super) fn push(&mut self, id: BlobId) {
        self.0.extend_from_slice(&id.0[..PREFIX]);
    }
}

/// The known blobs of one kind, sorted once, then only read.
#[derive(Debug)]
struct Known {
    /// Ascending within a bucket.
    suffixes: Vec<u8>,
    /// Number of the first suffix per bucket, and the end.
    starts: Vec<u32>,
    /// A bucket's number has so many bits.
    bits: u32,
}

impl Known {
    /// Sorts and shortens where the prefixes stand, so that no second copy of
    /// them is needed.
    fn new(Prefixes(mut bytes): Prefixes) -> Self {
        let (prefixes, _) = bytes.as_chunks_mut::<PREFIX>();
        prefixes.sort_unstable();
        let count = prefixes.len();
        // About eight to sixteen neighbours per bucket.
        let bits = (count.checked_ilog2().unwrap_or(0))
            .saturating_sub(3)
            .clamp(FEWEST_BITS, MOST_BITS);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (number, prefix) in prefixes.iter().enumerate() {
            starts.resize(starts.len().max(bucket(prefix, bits) + 1), number as u32);
        }
        starts.resize((1 << bits) + 1, count as u32);
        for number in 0..count {
            let suffix = number * PREFIX + PREFIX - SUFFIX..(number + 1) * PREFIX;
            bytes.copy_within(suffix, number * SUFFIX);
        }
        bytes.truncate(count * SUFFIX);
        bytes.shrink_to_fit();
        Self {
            suffixes: bytes,
            starts,
            bits,
        }
    }

    fn contains(&self, id: BlobId) -> bool {
        let bucket = bucket(&id.0, self.bits);
        let Some(&[start, end]) = self.starts.get(bucket..bucket + 2) else {
            return false;
        };
        let (suffixes, _) = self.suffixes.as_chunks::<SUFFIX>();
        let wanted = &id.0[PREFIX - SUFFIX..PREFIX];
        suffixes[start as usize..end as usize]
            .binary_search_by(|suffix| suffix.as_slice().cmp(wanted))
            .is_ok()
    }

    /// Bytes of memory.
    fn size(&self) -> usize {
        self.suffixes.capacity() + self.starts.capacity() * size_of::<u32>()
    }
}

/// The number that an id's first `bits` bits make.
fn bucket(id: &[u8], bits: u32) -> usize {
    let top = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
    (top >> (32 - bits)) as usize
}

/// The first 128 bits of an id: what is kept of those that a run takes on.
type Short = u128;

/// Ids are hashes already: their last 64 bits will do.
#[derive(Default)]
struct Truncate(u64);

impl std::hash::Hasher for Truncate {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

type Shard = Mutex<HashSet<Short, BuildHasherDefault<Truncate>>>;

/// So many that workers rarely meet in one.
const SHARDS: usize = 64;

/// The blobs of one repository as one run sees them.
#[derive(Debug)]
pub struct Membership {
    known: [Known; 2],
    claimed: [Box<[Shard]>; 2],
}

impl Default for Membership {
    /// Knows nothing.
    fn default() -> Self {
        Self::from_prefixes(Prefixes::default(), Prefixes::default())
    }
}

impl Membership {
    /// From the ids that the repository's index lists, in any order.
    pub fn new(listed: impl IntoIterator<Item = (BlobKind, BlobId)>) -> Self {
        let (mut data, mut trees) = (Prefixes::default(), Prefixes::default());
        for (kind, id) in listed {
            match kind {
                BlobKind::Data => data.push(id),
                BlobKind::Tree => trees.push(id),
            }
        }
        Self::from_prefixes(data, trees)
    }

    pub(super) fn from_prefixes(data: Prefixes, trees: Prefixes) -> Self {
        Self {
            known: [data, trees].map(Known::new),
            claimed: [shards(), shards()],
        }
    }

    /// Takes on a blob, unless it is known or somebody else took it on. A data
    /// blob and a tree blob of the same bytes are two blobs.
    pub fn claim(&self, kind: BlobKind, id: BlobId) -> Claim {
        if self.known[slot(kind)].contains(id) {
            return Claim::Known;
        }
        let short = short(id);
        if self.shard(kind, short).lock().insert(short) {
            Claim::Claimed
        } else {
            Claim::Known
        }
    }

    /// Whether the repository's index listed the blob when the run began, or
    /// this run took it on.
    pub fn contains(&self, kind: BlobKind, id: BlobId) -> bool {
        let short = short(id);
        self.known[slot(kind)].contains(id) || self.shard(kind, short).lock().contains(&short)
    }

    /// Bytes that the blobs of the repository's index take in memory.
    pub fn known_size(&self) -> usize {
        self.known.iter().map(Known::size).sum()
    }

    fn shard(&self, kind: BlobKind, short: Short) -> &Shard {
        &self.claimed[slot(kind)][(short >> 64) as usize % SHARDS]
    }
}

fn shards() -> Box<[Shard]> {
    std::iter::repeat_with(Shard::default)
        .take(SHARDS)
        .collect()
}

fn slot(kind: BlobKind) -> usize {
    match kind {
        BlobKind::Data => 0,
        BlobKind::Tree => 1,
    }
}

fn short(id: BlobId) -> Short {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&id.0[..16]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;
    use crate::format::sha256::sha256;
    use proptest::prelude::*;

    fn id(number: u32) -> BlobId {
        sha256(&number.to_le_bytes())
    }

    proptest! {
        #[test]
        fn knows_what_was_listed_and_nothing_else(
            listed in prop::collection::btree_set(any::<u32>(), 0..2_000),
            asked in prop::collection::vec(any::<u32>(), 0..200),
        ) {
            let membership = Membership::new(listed.iter().map(|n| (BlobKind::Data, id(*n))));
            for number in listed.iter().chain(&asked) {
                prop_assert_eq!(
                    membership.contains(BlobKind::Data, id(*number)),
                    listed.contains(number)
                );
            }
        }
    }

    #[test]
    fn extreme_ids_have_their_buckets() {
        let ids = [[0; 32], [0xff; 32]].map(strongroom_layout::ObjectId);
        let membership = Membership::new(ids.map(|id| (BlobKind::Tree, id)));
        assert!(
            ids.iter()
                .all(|id| membership.contains(BlobKind::Tree, *id))
        );
        assert!(!membership.contains(BlobKind::Data, ids[0]));
    }

    #[test]
    fn a_known_blob_takes_less_than_16_bytes() {
        let listed = (0..1_000_000).map(|number| (BlobKind::Data, id(number)));
        let size = Membership::new(listed).known_size() - Membership::new([]).known_size();
        assert!(size < 13_000_000, "{size}");
    }

    #[test]
    fn ids_that_differ_where_no_suffix_reaches_are_told_apart() {
        let with = |first: u8| {
            let mut bytes = [0; 32];
            bytes[1] = first;
            strongroom_layout::ObjectId(bytes)
        };
        let membership = Membership::new([(BlobKind::Data, with(1))]);
        assert!(membership.contains(BlobKind::Data, with(1)));
        assert!(!membership.contains(BlobKind::Data, with(2)));
    }

    #[test]
    fn kinds_are_apart() {
        let membership = Membership::new([(BlobKind::Tree, id(1))]);
        assert_eq!(membership.claim(BlobKind::Tree, id(1)), Claim::Known);
        assert_eq!(membership.claim(BlobKind::Data, id(1)), Claim::Claimed);
        assert_eq!(membership.claim(BlobKind::Data, id(1)), Claim::Known);
    }

    #[test]
    fn of_many_threads_one_claims() {
        let membership = Membership::new([]);
        let claimed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let ids: BTreeSet<_> = (0..1_000).map(id).collect();
                    for id in ids {
                        if membership.claim(BlobKind::Data, id) == Claim::Claimed {
                            claimed.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(claimed.into_inner(), 1_000);
    }
}
