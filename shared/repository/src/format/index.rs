//! Index files: which pack holds which blobs.
//!
//! Source: restic `doc/design.rst`, "Indexing".

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;

use super::{
    FormatError,
    blob::{BlobId, BlobKind, BlobLocation},
    crypto::ENVELOPE_OVERHEAD,
    pack::PackEntry,
};

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

    /// From JSON; unknown fields are tolerated.
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        let mut index: Self = serde_json::from_slice(json).map_err(FormatError::json("index"))?;
        for pack in &mut index.packs {
            for blob in &mut pack.blobs {
                // restic's zero means that the field is absent.
                blob.uncompressed_length = blob.uncompressed_length.filter(|length| *length > 0);
                check(&pack.id, blob)?;
            }
        }
        Ok(index)
    }
}

fn check(pack: &ObjectId, blob: &IndexBlob) -> Result<(), FormatError> {
    let possible =
        blob.length as usize >= ENVELOPE_OVERHEAD && blob.offset.checked_add(blob.length).is_some();
    if possible {
        Ok(())
    } else {
        Err(FormatError::invalid(
            "index",
            format!(
                "blob {} cannot take {} bytes from byte {} of pack {pack}",
                blob.id, blob.length, blob.offset
            ),
        ))
    }
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
        for (offset, length) in [(0, 31), (u32::MAX, 32), (u32::MAX - 31, 32)] {
            let json = format!(
                r#"{{"packs":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":{offset},"length":{length}}}]}}]}}"#
            );
            IndexFile::decode(json.as_bytes()).unwrap_err();
        }
        IndexFile::decode(br#"{"packs":[{"id":"../x","blobs":[]}]}"#).unwrap_err();
    }

    fn blobs() -> impl Strategy<Value = IndexBlob> {
        let place = (0..1_000_000_u32, 32..1_000_000_u32);
        let length = prop::option::of(1..u32::MAX);
        (any::<[u8; 32]>(), any::<bool>(), place, length).prop_map(
            |(id, tree, (offset, length), uncompressed_length)| IndexBlob {
                id: ObjectId(id),
                kind: if tree { BlobKind::Tree } else { BlobKind::Data },
                offset,
                length,
                uncompressed_length,
            },
        )
    }

    proptest! {
        #[test]
        fn round_trips(packs in prop::collection::vec((any::<[u8; 32]>(), prop::collection::vec(blobs(), 0..9)), 0..9)) {
            let packs = packs
                .into_iter()
                .map(|(id, blobs)| IndexPack { id: ObjectId(id), blobs })
                .collect();
            let index = IndexFile { packs };
            prop_assert_eq!(IndexFile::decode(&index.encode().unwrap()).unwrap(), index);
        }
    }
}
