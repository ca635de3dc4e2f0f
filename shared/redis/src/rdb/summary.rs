//! What is in an RDB.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// Whose versions an RDB counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Redis, and Valkey before its own versions.
    Redis,
    /// Valkey from 9 on: version 80 and above.
    Valkey,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

/// What the checksum at the end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// It fits the bytes.
    Verified,
    /// The server wrote none (`rdbchecksum no`).
    Disabled,
    /// The RDB is older than checksums (before version 5).
    Absent,
}

/// Keys of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub keys: u64,
    /// Those that expire.
    pub expiring: u64,
}

/// What is in an RDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its version.
    pub version: u32,
    /// Whose.
    pub flavour: Flavour,
    /// Length in bytes, the checksum included.
    pub bytes: u64,
    /// What its checksum says.
    pub checksum: Checksum,
    /// Databases with keys, by number.
    pub databases: BTreeMap<u64, Counts>,
    /// Libraries of functions.
    pub functions: u64,
    /// Auxiliary fields such as `redis-ver` and `repl-offset`; the first few.
    pub aux: BTreeMap<String, String>,
    /// Names of the module types that keys have.
    pub modules: Vec<String>,
}
