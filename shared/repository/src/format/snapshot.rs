//! Snapshots: one finished backup.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;

use super::{FormatError, blob::BlobId};

/// A snapshot file. Unknown fields of foreign snapshots are tolerated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the backup began.
    #[serde(with = "super::time")]
    pub time: Timestamp,
    /// The snapshot that unchanged files were taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectId>,
    /// The root tree: it starts at `/`.
    pub tree: BlobId,
    /// What was asked for, absolute paths.
    #[serde(default, deserialize_with = "super::null_is_empty")]
    pub paths: Vec<String>,
    /// The host's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Who ran the backup.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Its user id.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub uid: u32,
    /// Its group id.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub gid: u32,
    /// Exclude globs.
    #[serde(
        default,
        deserialize_with = "super::null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excludes: Vec<String>,
    /// Tags.
    #[serde(
        default,
        deserialize_with = "super::null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tags: Vec<String>,
    /// The snapshot this one was rewritten from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<ObjectId>,
    /// `strongroom 0.1.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
}

impl Snapshot {
    /// JSON.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(self).map_err(FormatError::json("snapshot"))
    }

    /// From JSON; unknown fields are tolerated.
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        serde_json::from_slice(json).map_err(FormatError::json("snapshot"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_written_as_restic_does() {
        let json = concat!(
            r#"{"time":"2026-11-21T02:47:53.95194852Z","#,
            r#""tree":"324c5a0f85a55eae4630f8833b9e37d859cd265f03ffa2701b0ebc460ef7bbd3","#,
            r#""paths":["/srv"],"hostname":"vm","username":"root","#,
            r#""excludes":["*.tmp"],"tags":["a","b"]}"#,
        );
        let snapshot = Snapshot::decode(json.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(snapshot.encode().unwrap()).unwrap(), json);
    }

    #[test]
    fn foreign_fields_and_nulls_are_tolerated() {
        let json = concat!(
            r#"{"time":"2022-08-01T12:00:00.1+02:00","summary":{"files_new":3},"#,
            r#""tree":"324c5a0f85a55eae4630f8833b9e37d859cd265f03ffa2701b0ebc460ef7bbd3","#,
            r#""paths":null}"#,
        );
        let snapshot = Snapshot::decode(json.as_bytes()).unwrap();
        assert_eq!(snapshot.time.to_string(), "2022-08-01T10:00:00.1Z");
        assert!(snapshot.paths.is_empty());
    }

    #[test]
    fn damage_is_refused() {
        for json in [
            "",
            "{}",
            "[]",
            r#"{"time":"2022-08-01T12:00:00Z","tree":null}"#,
        ] {
            Snapshot::decode(json.as_bytes()).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn round_trips(
            second in -1_000_000_000..4_000_000_000_i64,
            nanosecond in 0..1_000_000_000,
            ids: ([u8; 32], Option<[u8; 32]>, Option<[u8; 32]>),
            lists: (Vec<String>, Vec<String>, Vec<String>),
            names: (String, String, String),
            owner: (u32, u32),
        ) {
            let snapshot = Snapshot {
                time: Timestamp::new(second, nanosecond).unwrap(),
                tree: ObjectId(ids.0),
                parent: ids.1.map(ObjectId),
                paths: lists.0,
                hostname: names.0,
                username: names.1,
                uid: owner.0,
                gid: owner.1,
                excludes: lists.1,
                tags: lists.2,
                original: ids.2.map(ObjectId),
                program_version: names.2,
            };
            prop_assert_eq!(Snapshot::decode(&snapshot.encode().unwrap()).unwrap(), snapshot);
        }
    }
}
