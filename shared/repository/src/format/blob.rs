//! Blobs: the unit of deduplication.

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;

/// SHA-256 of a blob's plaintext.
pub type BlobId = ObjectId;

/// What a blob holds. Packs never mix the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobKind {
    /// A chunk of a file.
    Data,
    /// A directory listing.
    Tree,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLocation {
    /// The pack that holds it.
    pub pack: ObjectId,
    /// First byte of its envelope in the pack.
    pub offset: u32,
    /// Bytes of its envelope.
    pub length: u32,
    /// Bytes of its plaintext when it is compressed; else `length` minus the
    /// envelope's 32 bytes.
    pub uncompressed_length: Option<u32>,
}
