//! The header of a pack: which blobs lie in it.
//!
//! A pack is blob envelopes back to back, the envelope of the header, and its
//! length as `u32` little-endian. An entry of the header: type `u8` (0 data,
//! 1 tree, 2 compressed data, 3 compressed tree), length of the envelope
//! `u32`, for types 2 and 3 length of the plaintext `u32`, and the 32-byte
//! id. Offsets are implied.
//!
//! Source: restic `doc/design.rst`, "Pack Format".

use super::{
    FormatError,
    blob::{BlobId, BlobKind},
    crypto::{ENVELOPE_OVERHEAD, MasterKey},
};

/// The most bytes that restic accepts as a header's envelope.
pub const MAX_HEADER_LENGTH: u32 = 16 << 20;

/// Bytes of the length at the very end.
pub const TRAILER_LENGTH: usize = 4;

/// Bytes that one compressed blob takes in the header, the most of any.
pub const MAX_ENTRY_LENGTH: usize = 1 + 4 + 4 + 32;

/// One blob of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// SHA-256 of the blob's plaintext.
    pub id: BlobId,
    /// Chunk or tree.
    pub kind: BlobKind,
    /// First byte of its envelope in the pack.
    pub offset: u32,
    /// Bytes of its envelope.
    pub length: u32,
    /// Bytes of its plaintext when it is compressed.
    pub uncompressed_length: Option<u32>,
}

/// Bytes of a pack that holds these blobs and nothing else, given the length of
/// each one's envelope and, if it is compressed, of its plaintext.
pub fn size(blobs: impl IntoIterator<Item = (u32, Option<u32>)>) -> u64 {
    let each = blobs.into_iter().map(|(length, uncompressed)| {
        let entry = match uncompressed {
            Some(_) => MAX_ENTRY_LENGTH,
            None => MAX_ENTRY_LENGTH - 4,
        };
        u64::from(length) + entry as u64
    });
    each.sum::<u64>() + (ENVELOPE_OVERHEAD + TRAILER_LENGTH) as u64
}

/// Where the header of a pack lies, in bytes from its start, that holds these
/// blobs, without gaps, and nothing else; `None` when they leave gaps, are none,
/// or are more than a header takes. They must be sorted by offset.
pub fn header_range(entries: &[PackEntry]) -> Option<std::ops::Range<u64>> {
    let mut end = 0_u64;
    for entry in entries {
        if u64::from(entry.offset) != end {
            return None;
        }
        end += u64::from(entry.length);
    }
    let whole = size(entries.iter().map(|it| (it.length, it.uncompressed_length)));
    let range = end..whole;
    let most = u64::from(MAX_HEADER_LENGTH) + TRAILER_LENGTH as u64;
    (end > 0 && range.end - range.start <= most).then_some(range)
}

/// What stands at the end of a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackHeader {
    /// In the order in which they lie in the pack, without gaps.
    pub entries: Vec<PackEntry>,
}

impl PackHeader {
    /// The end of a pack: sealed header and its length. Offsets are not
    /// written; the entries must lie back to back.
    pub fn seal(&self, key: &MasterKey) -> Result<Vec<u8>, FormatError> {
        let mut out = key.seal(&self.encode())?;
        let length = u32::try_from(out.len())
            .ok()
            .filter(|length| *length <= MAX_HEADER_LENGTH)
            .ok_or_else(|| invalid(format!("{} entries are too many", self.entries.len())))?;
        out.extend_from_slice(&length.to_le_bytes());
        Ok(out)
    }

    /// The header's plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * MAX_ENTRY_LENGTH);
        for entry in &self.entries {
            let kind = match entry.kind {
                BlobKind::Data => 0,
                BlobKind::Tree => 1,
            };
            let compressed = if entry.uncompressed_length.is_some() {
                2
            } else {
                0
            };
            out.push(kind | compressed);
            out.extend_from_slice(&entry.length.to_le_bytes());
            if let Some(length) = entry.uncompressed_length {
                out.extend_from_slice(&length.to_le_bytes());
            }
            out.extend_from_slice(&entry.id.0);
        }
        out
    }

    /// From the header's plaintext. The entries must fill `blobs_length`
    /// bytes exactly: all of the pack that lies before the header.
    pub fn decode(plaintext: &[u8], blobs_length: u64) -> Result<Self, FormatError> {
        let mut entries = Vec::new();
        let mut offset = 0;
        let mut rest = plaintext;
        while !rest.is_empty() {
            let entry = decode_entry(&mut rest, offset)?;
            offset = offset
                .checked_add(entry.length)
                .ok_or_else(|| invalid("its blobs take more than 4 GiB"))?;
            entries.push(entry);
        }
        if u64::from(offset) != blobs_length {
            return Err(invalid(format!(
                "its blobs take {offset} bytes where the pack holds {blobs_length}"
            )));
        }
        Ok(Self { entries })
    }

    /// From the end of a pack of `pack_length` bytes: at least as much of it
    /// as [`PackHeader::tail_length`] says.
    pub fn open(key: &MasterKey, tail: &[u8], pack_length: u64) -> Result<Self, FormatError> {
        let short = || invalid(format!("{} bytes are too few", tail.len()));
        let (rest, trailer) = tail
            .split_last_chunk::<TRAILER_LENGTH>()
            .ok_or_else(short)?;
        let tail_length = Self::tail_length(*trailer, pack_length)?;
        let sealed_length = tail_length as usize - TRAILER_LENGTH;
        let start = rest.len().checked_sub(sealed_length).ok_or_else(short)?;
        let mut plaintext = Vec::new();
        key.open_into(&rest[start..], &mut plaintext)?;
        Self::decode(&plaintext, pack_length - u64::from(tail_length))
    }

    /// Bytes of the sealed header and its length together, from the last four
    /// bytes of a pack; refuses what cannot be true.
    pub fn tail_length(
        trailer: [u8; TRAILER_LENGTH],
        pack_length: u64,
    ) -> Result<u32, FormatError> {
        let length = u32::from_le_bytes(trailer);
        if (length as usize) < ENVELOPE_OVERHEAD || length > MAX_HEADER_LENGTH {
            return Err(invalid(format!("it says that it is {length} bytes long")));
        }
        let tail = length + TRAILER_LENGTH as u32;
        if u64::from(tail) > pack_length {
            return Err(invalid(format!(
                "it says that it is {length} bytes long, in a pack of {pack_length}"
            )));
        }
        Ok(tail)
    }
}

fn decode_entry(rest: &mut &[u8], offset: u32) -> Result<PackEntry, FormatError> {
    let [kind] = take(rest)?;
    if kind > 3 {
        return Err(invalid(format!("{kind} is no type of blob")));
    }
    let length = u32::from_le_bytes(take(rest)?);
    if (length as usize) < ENVELOPE_OVERHEAD {
        return Err(invalid(format!("a blob cannot be {length} bytes long")));
    }
    let uncompressed_length = match kind & 2 {
        0 => None,
        _ => Some(u32::from_le_bytes(take(rest)?)),
    };
    Ok(PackEntry {
        id: strongroom_layout::ObjectId(take(rest)?),
        kind: if kind & 1 == 0 {
            BlobKind::Data
        } else {
            BlobKind::Tree
        },
        offset,
        length,
        uncompressed_length,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FormatError> {
    let (taken, left) = rest
        .split_first_chunk()
        .ok_or_else(|| invalid("it ends within an entry"))?;
    *rest = left;
    Ok(*taken)
}

fn invalid(problem: impl Into<String>) -> FormatError {
    FormatError::invalid("pack header", problem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_layout::ObjectId;

    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes(&[9; 64])
    }

    fn headers() -> impl Strategy<Value = (PackHeader, u64)> {
        let entry = (
            any::<[u8; 32]>(),
            any::<bool>(),
            32..1_000_000_u32,
            any::<Option<u32>>(),
        );
        prop::collection::vec(entry, 0..50).prop_map(|entries| {
            let mut offset = 0;
            let entries = entries
                .into_iter()
                .map(|(id, tree, length, uncompressed_length)| {
                    let entry = PackEntry {
                        id: ObjectId(id),
                        kind: if tree { BlobKind::Tree } else { BlobKind::Data },
                        offset,
                        length,
                        uncompressed_length,
                    };
                    offset += length;
                    entry
                })
                .collect();
            (PackHeader { entries }, u64::from(offset))
        })
    }

    #[test]
    fn the_header_lies_behind_blobs_without_gaps() {
        let entry = |offset, length, uncompressed_length| PackEntry {
            id: ObjectId([1; 32]),
            kind: BlobKind::Data,
            offset,
            length,
            uncompressed_length,
        };
        let entries = [entry(0, 100, None), entry(100, 50, Some(7))];
        let tail = PackHeader {
            entries: entries.to_vec(),
        };
        let tail = tail.seal(&key()).unwrap().len() as u64;
        assert_eq!(header_range(&entries), Some(150..150 + tail));
        assert_eq!(header_range(&entries[1..]), None);
        assert_eq!(
            header_range(&[entry(0, 100, None), entry(101, 50, None)]),
            None
        );
        assert_eq!(header_range(&[]), None);
    }

    #[test]
    fn hostile_lengths_are_refused() {
        for length in [0, 31, MAX_HEADER_LENGTH + 1, u32::MAX] {
            PackHeader::tail_length(length.to_le_bytes(), u64::MAX).unwrap_err();
        }
        PackHeader::tail_length(100_u32.to_le_bytes(), 103).unwrap_err();
        assert_eq!(
            PackHeader::tail_length(100_u32.to_le_bytes(), 104).unwrap(),
            104
        );
        PackHeader::open(&key(), b"abc", 3).unwrap_err();
        PackHeader::open(&key(), &100_u32.to_le_bytes(), 1000).unwrap_err();
    }

    #[test]
    fn hostile_entries_are_refused() {
        let entry = |kind: u8, length: u32| {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&[0; 36]);
            bytes
        };
        PackHeader::decode(&entry(4, 100), 100).unwrap_err();
        PackHeader::decode(&entry(2, 31), 31).unwrap_err();
        let huge = [entry(2, u32::MAX), entry(2, 100)].concat();
        PackHeader::decode(&huge, u64::from(u32::MAX) + 100).unwrap_err();
    }

    proptest! {
        #[test]
        fn headers_round_trip((header, blobs_length) in headers()) {
            let tail = header.seal(&key()).unwrap();
            let length = blobs_length + tail.len() as u64;
            prop_assert_eq!(PackHeader::open(&key(), &tail, length).unwrap(), header.clone());
            let longer = [&[1; 50][..], &tail].concat();
            prop_assert_eq!(PackHeader::open(&key(), &longer, length).unwrap(), header);
            prop_assert!(PackHeader::open(&key(), &tail, length + 1).is_err());
        }

        #[test]
        fn truncated_headers_are_refused((header, blobs_length) in headers(), cut: prop::sample::Index) {
            let plaintext = header.encode();
            if !plaintext.is_empty() {
                let cut = cut.index(plaintext.len());
                prop_assert!(PackHeader::decode(&plaintext[..cut], blobs_length).is_err());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, length: u64) {
            let _ = PackHeader::decode(&bytes, length);
            let _ = PackHeader::open(&key(), &bytes, length);
        }
    }
}
