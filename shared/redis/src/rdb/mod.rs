//! The RDB format, read as a stream: what a replica receives and what lies in
//! `dump.rdb`.
//!
//! Sources: `rdb.h` and `rdb.c` of Redis 7.4 and of Valkey 9, whose formats
//! parted after version 11. Values are measured, not decoded: their bytes are
//! what `RESTORE` takes, see [`payload`].

mod error;
mod input;
mod lzf;
mod payload;
mod reader;
mod sum;
mod summary;
mod value;
mod verify;

pub use error::RdbError;
pub use payload::payload;
pub use reader::{Key, Reader, Value};
pub use summary::{Checksum, Counts, Flavour, Summary};
pub use verify::{Verified, verify};

#[cfg(test)]
pub(crate) mod tests;
