//! The first page of a segment of the write-ahead log.
//!
//! Source: `XLogLongPageHeaderData` in `access/xlog_internal.h`. A segment
//! that was recycled (renamed for later use) still holds its old pages: only
//! the address in the header tells.

use super::{
    Lsn, SegmentName, SegmentSize, TimelineId, control::ControlFile, u16_at, u32_at, u64_at,
};

/// Bytes to read of a segment in order to check it.
pub const LONG_HEADER: usize = 40;

/// The first page of a segment has a long header.
pub(crate) const XLP_LONG_HEADER: u16 = 2;

/// `XLOG_PAGE_MAGIC` of each major version from 13 on.
const MAGIC: [u16; 6] = [0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118];

/// Why a file is not the segment that its name says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSegment {
    /// Not even a header.
    #[error("it is empty or shorter than the header of a page")]
    Short,
    /// Of another version, or no write-ahead log at all.
    #[error(
        "its first page has the magic number {found:04X}, PostgreSQL {major} writes {wanted:04X}"
    )]
    Magic {
        /// In the file.
        found: u16,
        /// Of the server's version.
        wanted: u16,
        /// The server's version.
        major: u32,
    },
    /// It does not begin with a long header.
    #[error("its first page is not that of a segment")]
    NotFirst,
    /// It holds another part of the log: recycled, and not written yet.
    #[error("it begins at {found}, not at {wanted}: it was recycled")]
    Address {
        /// In the file.
        found: Lsn,
        /// By its name.
        wanted: Lsn,
    },
    /// Of a timeline later than its name says.
    #[error("its first page is of timeline {0}")]
    Timeline(TimelineId),
    /// Of another cluster.
    #[error("it is of the cluster with the system identifier {0}")]
    Cluster(u64),
    /// Of another size.
    #[error("it says that segments have {0} bytes")]
    Size(u32),
}

/// Checks that `page`, the first bytes of a segment, are what its name and
/// the cluster's control file say.
pub fn check_segment(
    page: &[u8],
    name: SegmentName,
    control: &ControlFile,
    major: u32,
) -> Result<(), InvalidSegment> {
    let size = control.wal_segment_size;
    let short = InvalidSegment::Short;
    let magic = u16_at(page, 0).ok_or(short.clone())?;
    let info = u16_at(page, 2).ok_or(short.clone())?;
    let timeline = TimelineId(u32_at(page, 4).ok_or(short.clone())?);
    let address = Lsn(u64_at(page, 8).ok_or(short.clone())?);
    let cluster = u64_at(page, 24).ok_or(short.clone())?;
    let segment_size = u32_at(page, 32).ok_or(short)?;
    if let Some(wanted) = magic_of(major).filter(|wanted| *wanted != magic) {
        return Err(InvalidSegment::Magic {
            found: magic,
            wanted,
            major,
        });
    }
    if info & XLP_LONG_HEADER == 0 {
        return Err(InvalidSegment::NotFirst);
    }
    let wanted = name.start(size);
    if address != wanted {
        return Err(InvalidSegment::Address {
            found: address,
            wanted,
        });
    }
    // The segment in which a new timeline begins starts with pages of the old.
    if timeline > name.timeline {
        return Err(InvalidSegment::Timeline(timeline));
    }
    if cluster != control.system_identifier {
        return Err(InvalidSegment::Cluster(cluster));
    }
    if SegmentSize::new(segment_size) != Some(size) {
        return Err(InvalidSegment::Size(segment_size));
    }
    Ok(())
}

pub(crate) fn magic_of(major: u32) -> Option<u16> {
    MAGIC
        .get(major.checked_sub(super::OLDEST_MAJOR)? as usize)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: SegmentName = SegmentName {
        timeline: TimelineId(2),
        number: 5,
    };

    fn control() -> ControlFile {
        ControlFile::parse(&crate::physical::control::tests::sample(1300)).unwrap()
    }

    fn page() -> Vec<u8> {
        let control = control();
        let mut page = Vec::new();
        page.extend(0xD110_u16.to_le_bytes());
        page.extend(6_u16.to_le_bytes());
        page.extend(2_u32.to_le_bytes());
        page.extend((5_u64 * (16 << 20)).to_le_bytes());
        page.extend([0; 8]);
        page.extend(control.system_identifier.to_le_bytes());
        page.extend((16_u32 << 20).to_le_bytes());
        page.extend(8192_u32.to_le_bytes());
        page
    }

    fn check(page: &[u8]) -> Result<(), InvalidSegment> {
        check_segment(page, NAME, &control(), 15)
    }

    #[test]
    fn a_segment_is_what_its_name_says() {
        assert_eq!(page().len(), LONG_HEADER);
        assert_eq!(check(&page()), Ok(()));
        let mut older = page();
        older[4] = 1;
        assert_eq!(check(&older), Ok(()));
    }

    #[test]
    fn anything_else_is_refused() {
        for length in 0..36 {
            assert_eq!(check(&page()[..length]), Err(InvalidSegment::Short));
        }
        for at in [0, 2, 4, 8, 13, 24, 32] {
            let mut page = page();
            page[at] ^= 0x07;
            check(&page).unwrap_err();
        }
        assert!(matches!(
            check_segment(&page(), NAME, &control(), 16),
            Err(InvalidSegment::Magic { .. })
        ));
    }
}
