//! From a snapshot to verified blobs.
//!
//! [`Index`] knows where every blob lies; [`Reader`] fetches and opens blobs
//! and trees. Everything is verified before it is returned: the hash in an
//! object's name, the authentication code, the decompressed length, the
//! SHA-256 of a blob. Whatever fails is a [`ReadError`] that names the object.
//!
//! Reads what restic writes: format version 2 compressed and not, and
//! version 1.

mod error;
mod index;
mod load;
mod reader;
mod recent;
mod segments;

#[cfg(test)]
mod tests;

pub use error::{Damage, ReadError};
pub use index::{BlobRef, Index, IndexBuilder, PackRef};
pub use load::{load_index, load_index_with_problems};
pub use reader::Reader;
pub use recent::Recent;
