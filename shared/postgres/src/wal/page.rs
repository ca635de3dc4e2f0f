//! Headers of pages, and what is wrong with a log.
//!
//! Source: `XLogPageHeaderData` in PostgreSQL's `access/xlog_internal.h`, and
//! what `XLogReaderValidatePageHeader` asks of it.

use crate::physical::{
    Lsn, SegmentSize, TimelineId, u16_at, u32_at, u64_at,
    wal::{LONG_HEADER, XLP_LONG_HEADER, magic_of},
};

/// `XLOG_BLCKSZ` unless the server was built otherwise.
pub const DEFAULT_BLOCK_SIZE: u32 = 8192;

const SHORT_HEADER: usize = 24;
const XLP_FIRST_IS_CONTRECORD: u16 = 1;
const XLP_FIRST_IS_OVERWRITE_CONTRECORD: u16 = 8;
const XLP_ALL_FLAGS: u16 = 0xF;

/// How a cluster's log is cut, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The server's major version.
    pub major: u32,
    /// The cluster's.
    pub system_identifier: u64,
    /// Bytes of a segment.
    pub segment_size: SegmentSize,
    /// Bytes of a page; see [`DEFAULT_BLOCK_SIZE`].
    pub block_size: u32,
}

/// A log that is not what a server writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the write-ahead log is not valid at {at}: {fault}")]
pub struct InvalidWal {
    /// The page or the record.
    pub at: Lsn,
    /// What is wrong with it.
    pub fault: Fault,
}

/// See [`InvalidWal`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Reading cannot begin there.
    #[error("no page of {block_size} bytes begins there")]
    Start {
        /// As given.
        block_size: u32,
    },
    /// Of another version, or no write-ahead log at all.
    #[error("the page has the magic number {found:04X}, PostgreSQL {major} writes {wanted:04X}")]
    Magic {
        /// On the page.
        found: u16,
        /// Of the server's version.
        wanted: u16,
        /// The server's version.
        major: u32,
    },
    /// Flags that do not exist, or not on such a page.
    #[error("the page has the flags {0:04X}")]
    Flags(u16),
    /// A page of another place.
    #[error("the page is that of {0}")]
    Address(Lsn),
    /// A page of a later history.
    #[error("the page is of timeline {found}, but the log of timeline {wanted} is read")]
    Timeline {
        /// On the page.
        found: TimelineId,
        /// The newest that may be.
        wanted: TimelineId,
    },
    /// A page of another cluster.
    #[error("the page is of the cluster with the system identifier {0}")]
    Cluster(u64),
    /// Segments or pages of another size.
    #[error("the page says that segments have {segment} bytes and pages {block}")]
    Size {
        /// Bytes of a segment.
        segment: u32,
        /// Bytes of a page.
        block: u32,
    },
    /// A record that does not go on where it should, or does where it should
    /// not.
    #[error("the page goes on with {found} bytes of a record that lacks {wanted}")]
    Continuation {
        /// By the page's header; 0: it begins with another record.
        found: u32,
        /// By the record's; 0: none is open.
        wanted: u32,
    },
    /// No record is that short or that long.
    #[error("the record says that it has {0} bytes")]
    Length(u32),
    /// The record before is another.
    #[error("the record says that the one before begins at {0}")]
    Link(Lsn),
    /// A record that was damaged.
    #[error("the record's checksum is {computed:08x}, but it says {stored:08x}")]
    Checksum {
        /// Of its bytes.
        computed: u32,
        /// In it.
        stored: u32,
    },
    /// A record that is whole, and yet not understood.
    #[error("the record, a {0}, is not understood")]
    Record(&'static str),
    /// Something follows where there was no record.
    #[error("the log goes on, though it ended in the segment before")]
    Behind,
}

/// Bytes of a page, by the first page of a segment, of which these are the first
/// bytes. `None`: it is no such page.
pub fn block_size(segment: &[u8]) -> Option<u32> {
    let first = u16_at(segment, 2)? & XLP_LONG_HEADER != 0;
    u32_at(segment, 36).filter(|_| first)
}

/// What a page's header says of its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageHeader {
    /// Bytes of a record of a page before that are still to come; 0: none.
    pub(super) remaining: u32,
    /// The record of the page before was given up: its server crashed while
    /// writing it.
    pub(super) overwritten: bool,
}

impl Layout {
    /// A page of `block_size` bytes can begin at `lsn`.
    pub(super) fn begins_page(&self, lsn: Lsn) -> bool {
        let size = self.block_size;
        let valid = size.is_power_of_two() && (1 << 10..=1 << 16).contains(&size);
        valid && lsn.0.is_multiple_of(u64::from(size))
    }

    /// Bytes of the header of the page that begins at `page`.
    pub(super) fn header_length(&self, page: u64) -> usize {
        if page.is_multiple_of(self.segment_size.bytes()) {
            LONG_HEADER
        } else {
            SHORT_HEADER
        }
    }

    /// Where the byte of a record lies that is `bytes` behind the one at `start`:
    /// on the way there are headers of pages.
    pub(super) fn ahead(&self, start: Lsn, bytes: usize) -> Lsn {
        let block = u64::from(self.block_size);
        let (mut at, mut left) = (start.0, bytes as u64);
        loop {
            let room = block - at % block;
            if left < room {
                return Lsn(at + left);
            }
            left -= room;
            at += room;
            at += self.header_length(at) as u64;
        }
    }

    /// Reads the whole header of the page at `at`; `None`: nothing was written
    /// there.
    pub(super) fn page_header(
        &self,
        header: &[u8],
        at: Lsn,
        timeline: TimelineId,
    ) -> Result<Option<PageHeader>, Fault> {
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The header is as long as asked for.
        let word = |at| u32_at(header, at).unwrap_or_default();
        let long = |at| u64_at(header, at).unwrap_or_default();
        let magic = u16_at(header, 0).unwrap_or_default();
        let info = u16_at(header, 2).unwrap_or_default();
        if let Some(wanted) = magic_of(self.major).filter(|wanted| *wanted != magic) {
            return Err(Fault::Magic {
                found: magic,
                wanted,
                major: self.major,
            });
        }
        let first = header.len() == LONG_HEADER;
        if info & !XLP_ALL_FLAGS != 0 || (info & XLP_LONG_HEADER != 0) != first {
            return Err(Fault::Flags(info));
        }
        if long(8) != at.0 {
            return Err(Fault::Address(Lsn(long(8))));
        }
        // The segment in which a new timeline begins starts with pages of the old.
        let found = TimelineId(word(4));
        if found > timeline {
            return Err(Fault::Timeline {
                found,
                wanted: timeline,
            });
        }
        if first {
            if long(24) != self.system_identifier {
                return Err(Fault::Cluster(long(24)));
            }
            let (segment, block) = (word(32), word(36));
            if segment != u32::from(self.segment_size) || block != self.block_size {
                return Err(Fault::Size { segment, block });
            }
        }
        let continues = info & XLP_FIRST_IS_CONTRECORD != 0;
        if continues != (word(16) != 0) {
            return Err(Fault::Flags(info));
        }
        Ok(Some(PageHeader {
            remaining: word(16),
            overwritten: info & XLP_FIRST_IS_OVERWRITE_CONTRECORD != 0,
        }))
    }
}
