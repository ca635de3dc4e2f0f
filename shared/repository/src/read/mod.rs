//! From a snapshot to verified blobs.
//!
//! [`Index`] knows where every blob lies; [`Reader`] fetches and opens blobs
//! and trees. Everything is verified before it is returned: the hash in an
//! object's name, the authentication code, the decompressed length, the
//! SHA-256 of a blob. Whatever fails is a [`ReadError`] that names the object.
//!
//! Index files are claims. One that is damaged is passed over (`load`), and
//! what it listed is read from the packs' own headers (`recover`); a blob that
//! is not where one file says is looked for in every other place; and what was
//! found wrong on the way is told to whoever opened the reader ([`Trouble`]).
//!
//! Reads what restic writes: format version 2 compressed and not, and
//! version 1.

mod error;
mod index;
mod load;
mod reader;
mod recent;
mod recover;
mod segments;
mod trouble;

#[cfg(test)]
mod tests;

pub use error::{Damage, ReadError};
pub use index::{BlobRef, Index, IndexBuilder, PackRef};
pub use load::load_index;
pub use reader::Reader;
pub use recent::Recent;
pub use trouble::{OnTrouble, Trouble};
