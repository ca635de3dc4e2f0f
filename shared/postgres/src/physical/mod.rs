//! Physical backups: what a cluster's files mean, and the backup API.
//!
//! Nothing here reads a cluster as a whole; that is the agent's. Bytes come
//! in, facts go out:
//!
//! - [`position`]: places in the write-ahead log, timelines, segment names;
//!   the coordinator needs them too, so they live in `layout`,
//! - [`control`]: the file `global/pg_control`,
//! - [`wal`]: the first page of a segment of the write-ahead log,
//! - [`page`]: checksums of pages,
//! - [`names`]: what files of a data directory are called,
//! - [`exclude`]: what a base backup leaves out,
//! - [`label`]: `backup_label` and `tablespace_map`,
//! - [`manifest`]: what a snapshot says of the backup in it,
//! - [`backup`]: the backup API on a connection held open.
//!
//! All layouts are those of little-endian 64-bit servers, versions 13 to 18.

pub mod backup;
pub mod control;
pub mod error;
pub mod exclude;
pub mod label;
pub mod manifest;
pub mod names;
pub mod page;
pub mod wal;

pub use error::PhysicalError;
pub use strongroom_layout::position::{self, Lsn, SegmentName, SegmentSize, TimelineId};

/// The oldest major version whose base backups are understood.
pub const OLDEST_MAJOR: u32 = 13;
/// The newest.
pub const NEWEST_MAJOR: u32 = 18;

/// How many directories deep the files of a cluster may lie, below its data
/// directory or the directory of a tablespace. A cluster is a few directories
/// deep, and what extensions make is not much deeper; who walks it holds a
/// descriptor and a frame for each level.
pub const DEEPEST: usize = 100;

/// Little-endian numbers at fixed places; `None` behind the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}
