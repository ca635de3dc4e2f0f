//! Codecs of restic repository format v2, without I/O.
//!
//! Source: restic `doc/design.rst`, checked against restic 0.14.0.
//!
//! - [`crypto`]: the envelope that every stored byte lies in, and the master
//!   key.
//! - [`key_file`], [`config`]: what opens a repository.
//! - [`blob`], [`blob_codec`]: chunks and trees, compressed and sealed.
//! - [`pack`]: the header of a pack.
//! - [`unpacked`]: the form of [`index`], [`snapshot`] and [`lock`] files.
//! - [`node`], [`tree`]: directory listings.
//! - [`wal`]: parts of a write-ahead log, which restic knows nothing of;
//!   [`wal_digest`] tells whether two hold the same.

pub mod blob;
pub mod blob_codec;
pub mod config;
pub mod crypto;
mod error;
pub mod index;
pub mod key_file;
pub mod lock;
pub mod node;
pub mod pack;
mod polynomial;
mod quote;
pub mod sha256;
pub mod snapshot;
mod time;
pub mod tree;
pub mod unpacked;
pub mod wal;
pub mod wal_digest;

pub use error::FormatError;

use serde::{Deserialize, Deserializer};

/// For `#[serde(deserialize_with)]`: Go writes an empty list as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// For `#[serde(skip_serializing_if)]`: Go's `omitempty`.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
