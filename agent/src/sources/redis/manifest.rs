//! `manifest.json`: what a snapshot of a server holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_redis::{
    Product,
    rdb::{Checksum, Counts, Flavour, Summary},
    restore::check::Dataset,
};

/// Its path in the snapshot.
pub const MANIFEST: &str = "/manifest.json";
/// The format that this version writes.
pub const FORMAT: u32 = 1;
/// No manifest is larger, in bytes.
pub const MAX_MANIFEST: u64 = 16 << 20;

/// What a snapshot holds. Keys are only added; a change of their meaning
/// raises [`FORMAT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Which program the server is.
    pub product: Product,
    /// Its version.
    pub server_version: String,
    /// `primary` or `replica`.
    pub role: String,
    /// The history that the data is of, and the place in it: what the server
    /// answered to PSYNC.
    pub replication_id: String,
    /// In bytes.
    pub replication_offset: i64,
    /// The RDB.
    pub rdb: RdbFile,
    /// Keys by database; none when they could not be counted.
    pub databases: Option<BTreeMap<u64, Counts>>,
    /// Libraries of functions; none when they could not be counted.
    pub functions: Option<u64>,
    /// What the data took in the server's memory, in bytes.
    pub used_memory: u64,
    /// The server's modules and their versions.
    pub modules: BTreeMap<String, String>,
    /// Types of values that are modules', as far as they could be read.
    pub module_types: Vec<String>,
    /// When the synchronisation began.
    pub started: Timestamp,
    /// When it was whole.
    pub finished: Timestamp,
}

/// What is known of `dump.rdb`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdbFile {
    /// The RDB's version.
    pub version: u32,
    /// Whose versions these are.
    pub flavour: Flavour,
    /// Its length.
    pub bytes: u64,
    /// What its checksum says.
    pub checksum: Checksum,
}

impl RdbFile {
    /// Of what was read.
    pub fn of(summary: &Summary) -> Self {
        Self {
            version: summary.version,
            flavour: summary.flavour,
            bytes: summary.bytes,
            checksum: summary.checksum,
        }
    }
}

impl Manifest {
    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        // Plain structures with text keys: there is nothing to fail on.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// What a restore must know of the data.
    pub fn dataset(&self) -> Dataset {
        Dataset {
            version: self.rdb.version,
            flavour: self.rdb.flavour,
            databases: self.databases.clone(),
            used_memory: self.used_memory,
            modules: self.modules.keys().cloned().collect(),
            // Of what could not be read to its end, nobody knows.
            has_module_data: !self.module_types.is_empty() || self.databases.is_none(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Manifest {
        Manifest {
            format: FORMAT,
            product: Product::Redis,
            server_version: "7.0.15".into(),
            role: "primary".into(),
            replication_id: "ab".repeat(20),
            replication_offset: 14,
            rdb: RdbFile {
                version: 10,
                flavour: Flavour::Redis,
                bytes: 100,
                checksum: Checksum::Verified,
            },
            databases: Some(BTreeMap::from([(
                3,
                Counts {
                    keys: 2,
                    expiring: 1,
                },
            )])),
            functions: Some(1),
            used_memory: 1 << 20,
            modules: BTreeMap::from([("bf".into(), "1".into())]),
            module_types: vec![],
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was() {
        let manifest = sample();
        let json = manifest.encode();
        assert_eq!(serde_json::from_slice::<Manifest>(&json).unwrap(), manifest);
        let text = String::from_utf8(json).unwrap();
        assert!(text.contains("\"3\": {"), "{text}");
        assert!(text.contains("\"checksum\": \"verified\""), "{text}");
        // A later version may add to it.
        let more = text.replacen('{', "{ \"new\": 1,", 1);
        assert_eq!(serde_json::from_str::<Manifest>(&more).unwrap(), manifest);
    }

    #[test]
    fn modules_matter_where_their_data_is_or_may_be() {
        let mut manifest = sample();
        assert!(!manifest.dataset().has_module_data);
        manifest.module_types.push("MBbloom--".into());
        assert!(manifest.dataset().has_module_data);
        manifest.module_types.clear();
        manifest.databases = None;
        assert!(manifest.dataset().has_module_data);
    }
}
