//! The scanner on logs written here, whole and damaged.

mod cuts;
mod damage;
mod records;
pub(crate) mod samples;
mod tablespaces;

use super::*;
use crate::physical::{
    Lsn, SegmentSize, TimelineId,
    control::crc32c,
    wal::{LONG_HEADER, magic_of},
};

const SEGMENT: u64 = 1 << 20;
const BLOCK: u32 = 8192;
/// Where the logs of these tests begin.
const START: u64 = 3 * SEGMENT;
/// What stands in place of a header.
const HEADER: usize = 24;

fn layout() -> Layout {
    Layout {
        major: 15,
        system_identifier: 7_412_345_678_901_234_567,
        segment_size: SegmentSize::new(SEGMENT as u32).unwrap(),
        block_size: BLOCK,
    }
}

/// Writes a log as a server does.
struct Log {
    bytes: Vec<u8>,
    start: u64,
    previous: u64,
    timeline: u32,
}

impl Log {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: START,
            previous: START - 64,
            timeline: 1,
        }
    }

    fn at(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// `remaining` bytes of a record are to come.
    fn page(&mut self, remaining: usize, more_flags: u16) {
        let at = self.at();
        let first = at.is_multiple_of(SEGMENT);
        let flags = u16::from(remaining > 0) | u16::from(first) << 1 | more_flags;
        self.bytes.extend(magic_of(15).unwrap().to_le_bytes());
        self.bytes.extend(flags.to_le_bytes());
        self.bytes.extend(self.timeline.to_le_bytes());
        self.bytes.extend(at.to_le_bytes());
        self.bytes.extend((remaining as u32).to_le_bytes());
        self.bytes.extend([0; 4]);
        if first {
            self.bytes.extend(layout().system_identifier.to_le_bytes());
            self.bytes.extend((SEGMENT as u32).to_le_bytes());
            self.bytes.extend(BLOCK.to_le_bytes());
        }
    }

    fn room(&self) -> usize {
        (u64::from(BLOCK) - self.at() % u64::from(BLOCK)) as usize
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.at().is_multiple_of(u64::from(BLOCK)) {
                self.page(bytes.len(), 0);
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            self.bytes.extend(now);
            bytes = later;
        }
    }

    /// Gives where it ends.
    fn record(&mut self, manager: u8, info: u8, xid: u32, body: &[u8]) -> Lsn {
        if self.at().is_multiple_of(u64::from(BLOCK)) {
            self.page(0, 0);
        }
        let start = self.at();
        let record = record(self.previous, manager, info, xid, body);
        self.put(&record);
        self.previous = start;
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        Lsn(self.at())
    }

    fn commit(&mut self, xid: u32, at: i64) -> Found {
        let data = (at - POSTGRES_EPOCH).to_le_bytes();
        let end = self.record(1, 0, xid, &main_data(&data));
        Found::Commit { end, xid, at }
    }

    fn filler(&mut self, length: usize) {
        self.record(10, 0x30, 9, &vec![0xAB; length]);
    }

    fn switch(&mut self) -> Lsn {
        let end = self.record(0, 0x40, 0, &[]);
        self.zero_segment();
        end
    }

    fn zero_segment(&mut self) {
        let length = (self.bytes.len() as u64).next_multiple_of(SEGMENT);
        self.bytes.resize(length as usize, 0);
    }
}

fn record(previous: u64, manager: u8, info: u8, xid: u32, body: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(((HEADER + body.len()) as u32).to_le_bytes());
    header.extend(xid.to_le_bytes());
    header.extend(previous.to_le_bytes());
    header.extend([info, manager, 0, 0]);
    let mut summed = body.to_vec();
    summed.extend(&header);
    header.extend(crc32c(&summed).to_le_bytes());
    header.extend(body);
    header
}

fn main_data(data: &[u8]) -> Vec<u8> {
    let mut body = match u8::try_from(data.len()) {
        Ok(length) => vec![255, length],
        Err(_) => [&[254_u8][..], &(data.len() as u32).to_le_bytes()].concat(),
    };
    body.extend(data);
    body
}

fn restore_point(name: &str, at: i64) -> Vec<u8> {
    let mut data = (at - POSTGRES_EPOCH).to_le_bytes().to_vec();
    data.extend(name.as_bytes());
    data.resize(72, 0);
    main_data(&data)
}

/// What a scanner says of a log, cut at will.
#[derive(Debug, PartialEq)]
struct Reading {
    found: Vec<Found>,
    end: Option<Lsn>,
    end_reached: bool,
    result: Result<(), InvalidWal>,
}

fn read<'b>(start: u64, pieces: impl IntoIterator<Item = &'b [u8]>) -> Reading {
    let mut scanner = Scanner::new(layout(), TimelineId(2), Lsn(start)).unwrap();
    let mut found = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        let fed = scanner.feed(piece, &mut found);
        if result.is_ok() {
            result = fed;
        } else {
            assert_eq!(fed, result);
        }
        assert!(scanner.end_of_records().unwrap_or_default() <= scanner.position());
    }
    Reading {
        found,
        end: scanner.end_of_records(),
        end_reached: scanner.end_reached(),
        result,
    }
}

fn read_log(log: &Log) -> Reading {
    let whole = read(log.start, [log.bytes.as_slice()]);
    for size in [1, 7, 4096, 131_072] {
        assert_eq!(read(log.start, log.bytes.chunks(size)), whole, "{size}");
    }
    whole
}

fn whole(log: &Log) -> Reading {
    let reading = read_log(log);
    assert_eq!(reading.result, Ok(()));
    reading
}

fn fault(log: &Log) -> (Lsn, Fault) {
    let invalid = read_log(log).result.unwrap_err();
    (invalid.at, invalid.fault)
}
