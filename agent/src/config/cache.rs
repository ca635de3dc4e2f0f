//! The `[cache]` table.

use serde::{Deserialize, Deserializer, de};
use strongroom_repository::store::cache::DEFAULT_CACHE_SIZE;

use super::{AbsolutePath, ByteSize};

/// Below this there is hardly room for one index.
const SMALLEST: u64 = 16 << 20;

/// The `[cache]` table: what the agent keeps of repositories so that it need
/// not fetch it, or store it, twice. Safe to delete.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Absent: `cache` in the state directory.
    pub directory: Option<AbsolutePath>,
    /// The most that indexes and trees may take; 0: they are not kept.
    #[serde(deserialize_with = "size")]
    pub size: ByteSize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            directory: None,
            size: ByteSize(DEFAULT_CACHE_SIZE),
        }
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if size.0 == 0 || size.0 >= SMALLEST {
        return Ok(size);
    }
    Err(de::Error::custom(
        "size must be at least 16MiB, or 0 to keep nothing",
    ))
}
