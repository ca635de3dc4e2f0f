//! `/manifest.json` of a snapshot that holds a physical backup.
//!
//! The snapshot's tree:
//!
//! ```text
//! /manifest.json          this
//! /pgdata/                the data directory, ready to be started:
//!   backup_label          where replay begins
//!   tablespace_map        where tablespaces lie, when there are any
//!   pg_wal/               every segment from there to the backup's end
//!   pg_tblspc/            empty: the server makes the links from the map
//! /tablespaces/OID/       each tablespace
//! /config/                configuration files that lie elsewhere, if any
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Lsn, SegmentSize, TimelineId, label::Tablespace};

/// Name of the manifest in the snapshot's root.
pub const MANIFEST: &str = "manifest.json";
/// Name of the data directory there.
pub const PGDATA: &str = "pgdata";
/// Name of the directory of tablespaces there.
pub const TABLESPACES: &str = "tablespaces";
/// Name of the directory there for configuration files that lie elsewhere.
pub const CONFIG: &str = "config";

/// Larger manifests are not read.
pub const LARGEST_MANIFEST: u64 = 4 << 20;

/// Of the format: readers refuse what is newer.
pub const FORMAT: u32 = 1;

/// What [`Manifest::method`] says.
pub const METHOD: &str = "physical";

/// Pages named at most; all are counted.
pub const MOST_DAMAGED: usize = 1000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// [`METHOD`].
    pub method: String,
    /// As the server says it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// The server's major version.
    pub major: u32,
    /// Of the cluster, as decimal digits: beyond what JSON's readers count.
    pub system_identifier: String,
    /// Of the system catalogs.
    pub catalog_version: u32,
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// Up to where replay must go.
    pub stop_lsn: Lsn,
    /// The timeline of the beginning.
    pub timeline: TimelineId,
    /// Bytes of a segment of the write-ahead log.
    pub wal_segment_size: SegmentSize,
    /// Names of the segments in the snapshot.
    pub wal_segments: Vec<String>,
    /// Bytes of a page.
    pub block_size: u32,
    /// Taken from a standby.
    pub from_standby: bool,
    /// When the backup began, RFC 3339.
    pub began: String,
    /// When it ended, RFC 3339.
    pub ended: String,
    /// Where the data directory lay.
    pub data_directory: String,
    /// Who owned it: name, or number when there is none.
    pub owner: String,
    /// Tablespaces that lie elsewhere.
    pub tablespaces: Vec<Tablespace>,
    /// Settings that a server needs in order to replay, by name.
    pub settings: BTreeMap<String, String>,
    /// What became of the pages.
    pub pages: Pages,
}

/// What checksums said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// The cluster has checksums. Pages of relations that were taken over
    /// from the last backup were verified then.
    pub checksums: bool,
    /// Pages read and verified.
    pub verified: u64,
    /// Pages whose checksum is wrong.
    pub damaged: u64,
    /// The first [`MOST_DAMAGED`] of them.
    pub named: Vec<DamagedPage>,
}

/// A page whose checksum is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DamagedPage {
    /// The file's path in the snapshot.
    pub file: String,
    /// Counted from the file's beginning.
    pub block: u64,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// No JSON, or not of this shape.
    #[error("it is not a manifest of a physical backup: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another kind of backup.
    #[error("it is of a {0:?} backup, not of a physical one")]
    Method(String),
    /// From the future.
    #[error("its format is {0}, this version reads up to {FORMAT}: update Strongroom on this host")]
    Format(u32),
}

/// The part that manifests of all methods and formats have.
#[derive(Deserialize)]
struct Kind {
    format: u32,
    method: String,
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidManifest> {
        let kind: Kind = serde_json::from_slice(json)?;
        if kind.method != METHOD {
            return Err(InvalidManifest::Method(
                kind.method.chars().take(64).collect(),
            ));
        }
        if kind.format > FORMAT {
            return Err(InvalidManifest::Format(kind.format));
        }
        Ok(serde_json::from_slice(json)?)
    }

    /// Writes it, for people to read too.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers only: there is nothing that could not be written.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            method: METHOD.into(),
            server_version: "15.18".into(),
            major: 15,
            system_identifier: u64::MAX.to_string(),
            catalog_version: 202_209_061,
            start_lsn: Lsn(1 << 40),
            stop_lsn: Lsn((1 << 40) + 5),
            timeline: TimelineId(3),
            wal_segment_size: SegmentSize::new(16 << 20).unwrap(),
            wal_segments: vec!["000000030000010000000000".into()],
            block_size: 8192,
            from_standby: false,
            began: "2026-11-21T12:00:00Z".into(),
            ended: "2026-11-21T12:00:01Z".into(),
            data_directory: "/srv/pg".into(),
            owner: "postgres".into(),
            tablespaces: vec![],
            settings: BTreeMap::new(),
            pages: Pages::default(),
        }
    }

    #[test]
    fn it_comes_back_as_written() {
        let manifest = manifest();
        let json = manifest.to_json();
        assert_eq!(Manifest::parse(&json).unwrap(), manifest);
        let text = String::from_utf8(json).unwrap();
        assert!(text.contains("\"start_lsn\": \"100/0\""), "{text}");
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let other = br#"{"format":1,"method":"logical"}"#;
        assert!(matches!(
            Manifest::parse(other),
            Err(InvalidManifest::Method(method)) if method == "logical"
        ));
        let future = br#"{"format":2,"method":"physical"}"#;
        assert!(matches!(
            Manifest::parse(future),
            Err(InvalidManifest::Format(2))
        ));
        Manifest::parse(b"[]").unwrap_err();
        Manifest::parse(br#"{"format":1,"method":"physical"}"#).unwrap_err();
    }
}
