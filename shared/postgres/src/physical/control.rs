//! `global/pg_control`.
//!
//! Source: `catalog/pg_control.h` of versions 13 to 18. Up to the parameters
//! of the build the layout is the same in all of them; version 18 has one
//! flag more before the nonce, which moves the checksum.

use crc_fast::CrcAlgorithm;

use super::{Lsn, SegmentSize, TimelineId, u32_at, u64_at};

/// The file's size, in bytes.
pub const CONTROL_FILE_SIZE: usize = 8192;

/// The 64-bit float that every control file holds.
const FLOAT_FORMAT: f64 = 1_234_567.0;

/// What a control file says, as far as backups need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// Unlike that of any other cluster, but for its standbys and copies.
    pub system_identifier: u64,
    /// Of the file's own layout: 1300, 1700, 1800.
    pub control_version: u32,
    /// Of the system catalogs: changes with every major version.
    pub catalog_version: u32,
    /// What the server was at.
    pub state: ClusterState,
    /// The last checkpoint's record.
    pub checkpoint: Lsn,
    /// Where replay after that checkpoint begins.
    pub redo: Lsn,
    /// The last checkpoint's timeline.
    pub timeline: TimelineId,
    /// A standby: replay must reach this.
    pub min_recovery_point: Lsn,
    /// And on this timeline; 0 when there is no such place.
    pub min_recovery_timeline: TimelineId,
    /// Bytes of a page.
    pub block_size: u32,
    /// Pages of a full segment of a relation.
    pub relation_segment_pages: u32,
    /// Bytes of a page of the write-ahead log.
    pub wal_block_size: u32,
    /// Bytes of a segment of the write-ahead log.
    pub wal_segment_size: SegmentSize,
    /// 0: pages have no checksums; 1: they have.
    pub checksum_version: u32,
}

/// `DBState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Made, never run.
    Startup,
    /// Ended in order.
    ShutDown,
    /// A standby that ended in order.
    ShutDownInRecovery,
    /// At its end.
    ShuttingDown,
    /// After a crash.
    InCrashRecovery,
    /// A standby, or restoring.
    InArchiveRecovery,
    /// A running primary, or one that crashed.
    InProduction,
}

/// Why a file is no control file that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidControl {
    /// Too short.
    #[error("it has {0} bytes, which is too short")]
    Short(usize),
    /// Of a version that is not known.
    #[error(
        "its layout is version {0}, which is none of PostgreSQL 13 to 18 on a little-endian machine"
    )]
    Version(u32),
    /// Read while it was written, or damaged.
    #[error("its checksum is {computed:08x}, but it says {stored:08x}")]
    Checksum {
        /// Of its bytes.
        computed: u32,
        /// In it.
        stored: u32,
    },
    /// A value that no server writes.
    #[error("its {0} is impossible")]
    Value(&'static str),
}

impl ControlFile {
    /// Parses and verifies a control file.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidControl> {
        let short = || InvalidControl::Short(bytes.len());
        let word = |at| u32_at(bytes, at).ok_or_else(short);
        let long = |at| u64_at(bytes, at).ok_or_else(short);
        let control_version = word(8)?;
        let crc_at = match control_version {
            1300 | 1700 => 288,
            1800 => 292,
            other => return Err(InvalidControl::Version(other)),
        };
        let stored = word(crc_at)?;
        let computed = crc32c(bytes.get(..crc_at).ok_or_else(short)?);
        if stored != computed {
            return Err(InvalidControl::Checksum { computed, stored });
        }
        let state = state(word(16)?).ok_or(InvalidControl::Value("state"))?;
        if long(208)? != FLOAT_FORMAT.to_bits() {
            return Err(InvalidControl::Value("float format"));
        }
        let block_size = power_of_two(word(216)?, 1 << 10, 1 << 15);
        let wal_block_size = power_of_two(word(224)?, 1 << 10, 1 << 16);
        let pages = word(220)?;
        Ok(Self {
            system_identifier: long(0)?,
            control_version,
            catalog_version: word(12)?,
            state,
            checkpoint: Lsn(long(32)?),
            redo: Lsn(long(40)?),
            timeline: TimelineId(word(48)?),
            min_recovery_point: Lsn(long(136)?),
            min_recovery_timeline: TimelineId(word(144)?),
            block_size: block_size.ok_or(InvalidControl::Value("block size"))?,
            relation_segment_pages: Some(pages)
                .filter(|pages| *pages > 0)
                .ok_or(InvalidControl::Value("segment size of relations"))?,
            wal_block_size: wal_block_size.ok_or(InvalidControl::Value("WAL block size"))?,
            wal_segment_size: SegmentSize::new(word(228)?)
                .ok_or(InvalidControl::Value("WAL segment size"))?,
            checksum_version: word(252)?,
        })
    }

    /// Whether pages have checksums of the kind that we know.
    pub fn has_checksums(&self) -> bool {
        self.checksum_version == 1
    }

    /// The directory of this cluster in each of its tablespaces.
    pub fn tablespace_directory(&self, major: u32) -> String {
        format!("PG_{major}_{}", self.catalog_version)
    }
}

fn power_of_two(value: u32, least: u32, most: u32) -> Option<u32> {
    (value.is_power_of_two() && (least..=most).contains(&value)).then_some(value)
}

fn state(number: u32) -> Option<ClusterState> {
    Some(match number {
        0 => ClusterState::Startup,
        1 => ClusterState::ShutDown,
        2 => ClusterState::ShutDownInRecovery,
        3 => ClusterState::ShuttingDown,
        4 => ClusterState::InCrashRecovery,
        5 => ClusterState::InArchiveRecovery,
        6 => ClusterState::InProduction,
        _ => return None,
    })
}

/// The checksum of control files and of records of the write-ahead log.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A control file as a server writes it, with the values of the test.
    pub(crate) fn sample(version: u32) -> Vec<u8> {
        let mut bytes = vec![0; CONTROL_FILE_SIZE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &7_412_345_678_901_234_567_u64.to_le_bytes());
        put(8, &version.to_le_bytes());
        put(12, &202_209_061_u32.to_le_bytes());
        put(16, &6_u32.to_le_bytes());
        put(32, &0x200_0060_u64.to_le_bytes());
        put(40, &0x200_0028_u64.to_le_bytes());
        put(48, &1_u32.to_le_bytes());
        put(208, &FLOAT_FORMAT.to_le_bytes());
        put(216, &8192_u32.to_le_bytes());
        put(220, &131_072_u32.to_le_bytes());
        put(224, &8192_u32.to_le_bytes());
        put(228, &(16_u32 << 20).to_le_bytes());
        put(252, &1_u32.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    fn seal(bytes: &mut [u8]) {
        let at = if u32_at(bytes, 8) == Some(1800) {
            292
        } else {
            288
        };
        let crc = crc32c(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn values_stand_where_the_header_says() {
        for version in [1300, 1700, 1800] {
            let control = ControlFile::parse(&sample(version)).unwrap();
            assert_eq!(control.system_identifier, 7_412_345_678_901_234_567);
            assert_eq!(control.state, ClusterState::InProduction);
            assert_eq!(control.redo, "0/2000028".parse().unwrap());
            assert_eq!(control.wal_segment_size.bytes(), 16 << 20);
            assert!(control.has_checksums());
            assert_eq!(control.tablespace_directory(15), "PG_15_202209061");
        }
    }

    #[test]
    fn whatever_is_torn_short_or_foreign_is_refused() {
        let good = sample(1300);
        for length in 0..292 {
            ControlFile::parse(&good[..length]).unwrap_err();
        }
        for at in 0..288 {
            let mut torn = good.clone();
            torn[at] ^= 1;
            ControlFile::parse(&torn).unwrap_err();
        }
        let mut foreign = good.clone();
        foreign[8..12].copy_from_slice(&1300_u32.to_be_bytes());
        seal(&mut foreign);
        assert!(matches!(
            ControlFile::parse(&foreign),
            Err(InvalidControl::Version(_))
        ));
    }

    #[test]
    fn impossible_values_are_refused_though_the_checksum_holds() {
        for at in [16, 208, 216, 220, 224, 228] {
            let mut bytes = sample(1300);
            bytes[at..at + 4].fill(if at == 220 { 0 } else { 0x77 });
            seal(&mut bytes);
            assert!(
                matches!(ControlFile::parse(&bytes), Err(InvalidControl::Value(_))),
                "{at}"
            );
        }
    }
}
