//! A note of one pack, or of one index file.
//!
//! `length (u32 LE) ‖ envelope`, sealed with the repository's key: only who can
//! read the repository can make one. Of a pack, the plaintext is `magic (8) ‖
//! pack id (32) ‖ bytes of all blobs (u32 LE) ‖ the pack header's entries`. The
//! entries are those of [`PackHeader`], which say what an index would in a third
//! of its bytes. Of an index file it is `magic (8) ‖ id (32)`.

use strongroom_layout::ObjectId;

use crate::format::{
    FormatError,
    crypto::{ENVELOPE_OVERHEAD, MasterKey},
    index::IndexPack,
    pack::PackHeader,
};

/// Tells records from everything else that the key seals.
const MAGIC: &[u8; 8] = b"SRjrnl\0\x01";
/// The same for notes of index files.
const INDEX_MAGIC: &[u8; 8] = b"SRjrnl\0\x02";
const LENGTH: usize = 4;
/// The longest header has some 10,000 entries; see
/// [`crate::write::plan::MAX_PACK_BLOBS`].
const MAX_RECORD: usize = 16 << 20;

/// The record of a pack.
pub(in crate::write) fn encode(
    key: &MasterKey,
    pack: ObjectId,
    header: &PackHeader,
) -> Result<Vec<u8>, FormatError> {
    let blobs: u64 = header.entries.iter().map(|it| u64::from(it.length)).sum();
    let blobs = u32::try_from(blobs)
        .map_err(|_| FormatError::invalid("pack", "its blobs take more than 4 GiB"))?;
    let mut plaintext = MAGIC.to_vec();
    plaintext.extend_from_slice(&pack.0);
    plaintext.extend_from_slice(&blobs.to_le_bytes());
    plaintext.extend_from_slice(&header.encode());
    seal(key, &plaintext)
}

/// The record of an index file.
pub(in crate::write) fn encode_index(
    key: &MasterKey,
    index: ObjectId,
) -> Result<Vec<u8>, FormatError> {
    seal(key, &[INDEX_MAGIC, &index.0[..]].concat())
}

/// A record of any kind.
pub(in crate::write) fn seal(key: &MasterKey, plaintext: &[u8]) -> Result<Vec<u8>, FormatError> {
    let length = plaintext.len() + ENVELOPE_OVERHEAD;
    let mut out = Vec::with_capacity(LENGTH + length);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    key.seal_into(&mut out, plaintext)?;
    Ok(out)
}

/// What a journal notes.
#[derive(Debug, PartialEq)]
pub(super) enum Note {
    /// A pack that no index listed then.
    Pack(IndexPack),
    /// An index file that its run wrote.
    Index(ObjectId),
}

/// Takes the first record off `bytes`; `None` when there is none left. After
/// an error, which a crash in the middle of a write makes as well as a
/// forgery, nothing that follows can be told apart.
pub(super) fn decode(key: &MasterKey, bytes: &mut &[u8]) -> Result<Option<Note>, FormatError> {
    let mut rest = *bytes;
    let Some(plaintext) = open(key, &mut rest)? else {
        return Ok(None);
    };
    let note = match plaintext.strip_prefix(INDEX_MAGIC) {
        Some(id) => Note::Index(ObjectId(id.try_into().map_err(|_| torn())?)),
        None => Note::Pack(decode_pack(&plaintext)?),
    };
    *bytes = rest;
    Ok(Some(note))
}

/// Takes the first record of any kind off `bytes`, see [`decode`].
pub(in crate::write) fn open(
    key: &MasterKey,
    bytes: &mut &[u8],
) -> Result<Option<Vec<u8>>, FormatError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (length, rest) = bytes.split_first_chunk::<LENGTH>().ok_or_else(torn)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_RECORD {
        return Err(FormatError::invalid("journal", "a record is too long"));
    }
    let (envelope, rest) = rest.split_at_checked(length).ok_or_else(torn)?;
    let mut plaintext = Vec::new();
    key.open_into(envelope, &mut plaintext)?;
    *bytes = rest;
    Ok(Some(plaintext))
}

fn decode_pack(plaintext: &[u8]) -> Result<IndexPack, FormatError> {
    let rest = plaintext
        .strip_prefix(MAGIC)
        .ok_or_else(|| FormatError::invalid("journal", "a record is of another kind"))?;
    let (id, rest) = rest.split_first_chunk::<32>().ok_or_else(torn)?;
    let (blobs, entries) = rest.split_first_chunk::<4>().ok_or_else(torn)?;
    let header = PackHeader::decode(entries, u32::from_le_bytes(*blobs).into())?;
    Ok(IndexPack {
        id: ObjectId(*id),
        blobs: header.entries.into_iter().map(Into::into).collect(),
    })
}

fn torn() -> FormatError {
    FormatError::invalid("journal", "it ends in the middle of a record")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{blob::BlobKind, pack::PackEntry};

    fn key() -> MasterKey {
        MasterKey::from_bytes(&[9; 64])
    }

    fn header(blobs: &[(u16, bool)]) -> PackHeader {
        let mut offset = 0;
        let entries = blobs.iter().enumerate().map(|(number, (length, tree))| {
            let length = u32::from(*length) + ENVELOPE_OVERHEAD as u32;
            let entry = PackEntry {
                id: ObjectId([number as u8; 32]),
                kind: if *tree {
                    BlobKind::Tree
                } else {
                    BlobKind::Data
                },
                offset,
                length,
                uncompressed_length: tree.then_some(length * 2),
            };
            offset += length;
            entry
        });
        PackHeader {
            entries: entries.collect(),
        }
    }

    proptest! {
        #[test]
        fn records_come_back_in_order(packs in prop::collection::vec(
            prop::collection::vec(any::<(u16, bool)>(), 0..20), 0..5))
        {
            let mut file = Vec::new();
            for (number, blobs) in packs.iter().enumerate() {
                let id = ObjectId([number as u8; 32]);
                file.extend(encode(&key(), id, &header(blobs)).unwrap());
            }
            let mut rest = &file[..];
            for (number, blobs) in packs.iter().enumerate() {
                let note = decode(&key(), &mut rest).unwrap().unwrap();
                let blobs: Vec<_> = header(blobs).entries.into_iter().map(Into::into).collect();
                let id = ObjectId([number as u8; 32]);
                prop_assert_eq!(note, Note::Pack(IndexPack { id, blobs }));
            }
            prop_assert_eq!(decode(&key(), &mut rest).unwrap(), None);
        }

        #[test]
        fn what_is_torn_or_flipped_is_refused(cut: prop::sample::Index, flip: prop::sample::Index) {
            let record = encode(&key(), ObjectId([1; 32]), &header(&[(5, true), (6, false)])).unwrap();
            let cut = cut.index(record.len() - 1) + 1;
            prop_assert!(decode(&key(), &mut &record[..cut]).is_err());
            let mut flipped = record.clone();
            flipped[flip.index(record.len())] ^= 0x40;
            prop_assert!(decode(&key(), &mut &flipped[..]).is_err());
        }

        #[test]
        fn noise_is_refused_and_never_panics(noise in prop::collection::vec(any::<u8>(), 1..200)) {
            prop_assert!(decode(&key(), &mut &noise[..]).is_err());
        }
    }

    #[test]
    fn notes_of_index_files_come_back() {
        let id = ObjectId([7; 32]);
        let mut file = encode_index(&key(), id).unwrap();
        file.extend(encode(&key(), id, &header(&[])).unwrap());
        let mut rest = &file[..];
        assert_eq!(decode(&key(), &mut rest).unwrap(), Some(Note::Index(id)));
        assert!(matches!(decode(&key(), &mut rest), Ok(Some(Note::Pack(_)))));
        assert_eq!(decode(&key(), &mut rest).unwrap(), None);
    }

    #[test]
    fn other_keys_and_other_things_under_the_key_are_refused() {
        let record = encode(&key(), ObjectId([1; 32]), &header(&[(5, true)])).unwrap();
        let other = MasterKey::from_bytes(&[8; 64]);
        decode(&other, &mut &record[..]).unwrap_err();
        let sealed = key().seal(b"\x02 an index, say").unwrap();
        let mut dressed_up = (sealed.len() as u32).to_le_bytes().to_vec();
        dressed_up.extend(sealed);
        let error = decode(&key(), &mut &dressed_up[..]).unwrap_err();
        assert!(error.to_string().contains("another kind"), "{error}");
    }
}
