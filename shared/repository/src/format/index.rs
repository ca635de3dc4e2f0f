//! Index files: which pack holds which blobs.
//!
//! Source: restic `doc/design.rst`, "Indexing".

use serde::{Deserialize, Serialize};
use strongroom_layout::{ObjectId, ObjectName};

use super::{
    FormatError,
    blob::{BlobId, BlobKind, BlobLocation},
    crypto::ENVELOPE_OVERHEAD,
    pack::PackEntry,
};

/// The longest envelope and plaintext of a data blob, in bytes: many times what
/// any program writes (restic's chunks have 8 MiB at most).
const MAX_DATA: u32 = 64 << 20;

/// The same of a tree: one of a directory with a million entries has some
/// 100 MiB.
const MAX_TREE: u32 = 1 << 30;

/// An index file. All blobs of a pack stand in one file. Its JSON is to stay
/// below 8 MiB: flush at about 50,000 blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    /// The packs that it knows.
    #[serde(default, deserialize_with = "super::null_is_empty")]
    pub packs: Vec<IndexPack>,
}

/// A pack in an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPack {
    /// Its name.
    pub id: ObjectId,
    /// What lies in it.
    #[serde(default, deserialize_with = "super::null_is_empty")]
    pub blobs: Vec<IndexBlob>,
}

impl IndexPack {
    /// Its object's name: a pack in which a tree lies is one of trees.
    pub fn name(&self) -> ObjectName {
        if self.blobs.iter().any(|blob| blob.kind == BlobKind::Tree) {
            ObjectName::tree_pack(self.id)
        } else {
            ObjectName::data_pack(self.id)
        }
    }
}

/// A blob in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexBlob {
    /// SHA-256 of its plaintext.
    pub id: BlobId,
    /// Chunk or tree.
    #[serde(rename = "type")]
    pub kind: BlobKind,
    /// First byte of its envelope in the pack.
    pub offset: u32,
    /// Bytes of its envelope.
    pub length: u32,
    /// Bytes of its plaintext when it is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncompressed_length: Option<u32>,
}

impl IndexBlob {
    /// Where it lies, given its pack.
    pub fn location(&self, pack: ObjectId) -> BlobLocation {
        BlobLocation {
            pack,
            offset: self.offset,
            length: self.length,
            uncompressed_length: self.uncompressed_length,
        }
    }
}

impl From<IndexBlob> for PackEntry {
    fn from(blob: IndexBlob) -> Self {
        Self {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length,
        }
    }
}

impl From<PackEntry> for IndexBlob {
    fn from(entry: PackEntry) -> Self {
        Self {
            id: entry.id,
            kind: entry.kind,
            offset: entry.offset,
            length: entry.length,
            uncompressed_length: entry.uncompressed_length,
        }
    }
}

impl IndexFile {
    /// JSON.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(self).map_err(FormatError::json("index"))
    }

    /// From JSON; unknown fields are tolerated. Refuses the whole file when any
    /// of it cannot be true: blobs that are absurdly long, or that overlap in
    /// their pack.
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        let mut index: Self = serde_json::from_slice(json).map_err(FormatError::json("index"))?;
        for pack in &mut index.packs {
            for blob in &mut pack.blobs {
                // restic's zero means that the field is absent.
                blob.uncompressed_length = blob.uncompressed_length.filter(|length| *length > 0);
            }
        }
        index.check()?;
        Ok(index)
    }

    /// Refuses what cannot be true, see [`IndexFile::decode`].
    pub fn check(&self) -> Result<(), FormatError> {
        for pack in &self.packs {
            for blob in &pack.blobs {
                check(&pack.id, blob)?;
            }
            check_apart(pack)?;
        }
        Ok(())
    }
}

fn check(pack: &ObjectId, blob: &IndexBlob) -> Result<(), FormatError> {
    let most = match blob.kind {
        BlobKind::Data => MAX_DATA,
        BlobKind::Tree => MAX_TREE,
    };
    let possible = blob.length as usize >= ENVELOPE_OVERHEAD
        && blob.length <= most
        && blob.uncompressed_length.is_none_or(|it| it <= most)
        && blob.offset.checked_add(blob.length).is_some();
    if possible {
        Ok(())
    } else {
        Err(FormatError::invalid(
            "index",
            format!(
                "blob {} cannot take {} bytes from byte {} of pack {pack} and unpack to {:?}",
                blob.id, blob.length, blob.offset, blob.uncompressed_length
            ),
        ))
    }
}

/// No two blobs of a pack share a byte. The codec's callers add up lengths.
fn check_apart(pack: &IndexPack) -> Result<(), FormatError> {
    let apart = |blobs: &[IndexBlob]| {
        let mut pairs = blobs.windows(2);
        // The sum was checked.
        pairs.all(|pair| pair[0].offset + pair[0].length <= pair[1].offset)
    };
    // As nearly everybody writes them, they are in order.
    if apart(&pack.blobs) {
        return Ok(());
    }
    let mut sorted = pack.blobs.clone();
    sorted.sort_unstable_by_key(|blob| blob.offset);
    if apart(&sorted) {
        return Ok(());
    }
    let problem = format!("blobs of pack {} overlap", pack.id);
    Err(FormatError::invalid("index", problem))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_written_as_restic_does() {
        let json = concat!(
            r#"{"packs":[{"id":"9b43594f3a78c256626fea4b3e2f56ba13914f8a60a5bd4ea9b6a38352dc7a8d","#,
            r#""blobs":[{"id":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","#,
            r#""type":"data","offset":5042,"length":42,"uncompressed_length":1},"#,
            r#"{"id":"59a99bcf1072d88e2ad7fd26866e28243354390370684b747cf7c51ec1e25cd8","#,
            r#""type":"tree","offset":0,"length":5042}]}]}"#,
        );
        let index = IndexFile::decode(json.as_bytes()).unwrap();
        assert_eq!(index.packs[0].blobs[1].kind, BlobKind::Tree);
        assert_eq!(String::from_utf8(index.encode().unwrap()).unwrap(), json);
    }

    #[test]
    fn foreign_fields_and_nulls_are_tolerated() {
        let json = r#"{"supersedes":["x"],"packs":null}"#;
        assert_eq!(
            IndexFile::decode(json.as_bytes()).unwrap(),
            IndexFile::default()
        );
    }

    #[test]
    fn impossible_places_are_refused() {
        let id = "0".repeat(64);
        let most = u64::from(MAX_DATA);
        for (offset, length, unpacked) in [
            (0, 31, 0),
            (u64::from(u32::MAX), 32, 0),
            (u64::from(u32::MAX) - 31, 32, 0),
            (0, most + 1, 0),
            (0, 32, most + 1),
            (0, 32, 1 << 32),
        ] {
            let json = format!(
                r#"{{"packs":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":{offset},"length":{length},"uncompressed_length":{unpacked}}}]}}]}}"#
            );
            IndexFile::decode(json.as_bytes()).unwrap_err();
        }
        IndexFile::decode(br#"{"packs":[{"id":"../x","blobs":[]}]}"#).unwrap_err();
    }

    #[test]
    fn blobs_that_overlap_are_refused_in_any_order() {
        let blob = |id, offset| IndexBlob {
            id: ObjectId([id; 32]),
            kind: BlobKind::Data,
            offset,
            length: 100,
            uncompressed_length: None,
        };
        let decode = |offsets: [u32; 3]| {
            let blobs = offsets.iter().zip(1..).map(|(at, id)| blob(id, *at));
            let blobs = blobs.collect();
            let id = ObjectId([9; 32]);
            let packs = vec![IndexPack { id, blobs }];
            IndexFile::decode(&IndexFile { packs }.encode().unwrap())
        };
        decode([0, 100, 200]).unwrap();
        decode([200, 0, 100]).unwrap();
        for offsets in [[0, 99, 200], [200, 0, 199], [0, 0, 100]] {
            let error = decode(offsets).unwrap_err().to_string();
            assert!(error.contains("overlap"), "{error}");
        }
    }

    fn blobs() -> impl Strategy<Value = Vec<IndexBlob>> {
        let gap = 0..1_000_u32;
        let length = prop::option::of(1..MAX_DATA);
        let blob = (
            any::<[u8; 32]>(),
            any::<bool>(),
            gap,
            32..1_000_000_u32,
            length,
        );
        prop::collection::vec(blob, 0..9).prop_map(|blobs| {
            let mut end = 0;
            let blobs = blobs
                .into_iter()
                .map(|(id, tree, gap, length, uncompressed_length)| {
                    let offset = end + gap;
                    end = offset + length;
                    IndexBlob {
                        id: ObjectId(id),
                        kind: if tree { BlobKind::Tree } else { BlobKind::Data },
                        offset,
                        length,
                        uncompressed_length,
                    }
                });
            blobs.collect()
        })
    }

    proptest! {
        #[test]
        fn round_trips(packs in prop::collection::vec((any::<[u8; 32]>(), blobs()), 0..9)) {
            let packs = packs
                .into_iter()
                .map(|(id, blobs)| IndexPack { id: ObjectId(id), blobs })
                .collect();
            let index = IndexFile { packs };
            prop_assert_eq!(IndexFile::decode(&index.encode().unwrap()).unwrap(), index);
        }
    }
}
