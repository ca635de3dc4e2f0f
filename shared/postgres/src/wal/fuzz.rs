//! Fuzz targets: a log comes from a server, or out of a bucket.

use super::{
    Layout, Scanner,
    record::{self, RECORD_HEADER, RecordHeader},
};
use crate::physical::{Lsn, SegmentSize, TimelineId};

/// Where the logs of these targets begin.
const START: u64 = 3 << 20;

fn layout() -> Layout {
    Layout {
        major: 15,
        system_identifier: 7_412_345_678_901_234_567,
        segment_size: SegmentSize::new(1 << 20).unwrap(),
        block_size: 8192,
    }
}

/// A log from the start of a segment on, whole and in pieces of as many bytes
/// as the first byte says: what is found, and what is wrong, is the same.
pub fn wal_log(data: &[u8]) {
    let Some((size, log)) = data.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    assert_eq!(scan(log, size), scan(log, log.len().max(1)));
}

fn scan(log: &[u8], size: usize) -> impl PartialEq + std::fmt::Debug {
    let mut scanner = Scanner::new(layout(), TimelineId(2), Lsn(START)).unwrap();
    let mut found = Vec::new();
    let mut result = Ok(());
    for piece in log.chunks(size) {
        if result.is_ok() {
            result = scanner.feed(piece, &mut found);
        }
        assert!(scanner.end_of_records().unwrap_or_default() <= scanner.position());
    }
    (
        found,
        result,
        scanner.end_of_records(),
        scanner.end_reached(),
    )
}

/// A record as if its checksum fitted: a header, and what is behind it.
pub fn wal_record(data: &[u8]) {
    let Some((header, body)) = data.split_first_chunk::<RECORD_HEADER>() else {
        return;
    };
    let mut header = *header;
    header[..4].copy_from_slice(&(data.len() as u32).to_le_bytes());
    let header = RecordHeader::new(header);
    let kept = &body[..body.len().min(header.kind().kept())];
    for major in [13, 18] {
        let end = Lsn(START + data.len() as u64);
        let _ = record::read(&header, kept, (Lsn(START), end), major);
    }
}

#[cfg(test)]
pub(crate) use super::tests::samples::{logs, records, segment_header};
