//! Walks from record to record.
//!
//! Source: PostgreSQL's `access/xlogrecord.h` and `xlogreader.c`. Records are
//! chained: each says how long it is and where the one before begins, and each
//! page says how much is to come of a record that began before it. All of that
//! is verified, and so is the checksum of every record that is reported. The
//! checksums of all others are not: their bytes are hopped over, unread.

use super::{
    open::Open,
    page::{Fault, InvalidWal, Layout, PageHeader},
    record::{Found, LONGEST_RECORD, RECORD_HEADER, RecordHeader},
};
use crate::physical::{Lsn, TimelineId, u32_at, wal::LONG_HEADER};

/// Records begin at multiples of this: `MAXALIGN`.
const ALIGNMENT: u64 = 8;

/// Reads the log of one timeline, in pieces of any size. What it says does not
/// depend on how the log was cut.
#[derive(Debug)]
pub struct Scanner {
    layout: Layout,
    timeline: TimelineId,
    /// The next byte.
    at: u64,
    /// The start of the header of the page that `at` is on.
    header: [u8; LONG_HEADER],
    state: State,
    /// Where the last record began.
    previous: Option<u64>,
    end: Option<Lsn>,
    /// A bit for each resource manager of an extension that a record was of.
    custom: u128,
    invalid: Option<InvalidWal>,
}

/// What `at` is in, page headers aside.
#[derive(Debug)]
enum State {
    /// Nothing: a record begins here, or nothing ever was written.
    Between,
    /// A record's header.
    Header {
        start: u64,
        bytes: [u8; RECORD_HEADER],
        filled: usize,
    },
    /// A record behind its header, of which `left` bytes are to come, and then
    /// what makes it even.
    /// `None`: it began before we did.
    Body { record: Option<Open>, left: u32 },
    /// A segment that ends early.
    Switched,
    /// What was never written.
    Ended,
}

impl Scanner {
    /// A scanner of the log of `timeline` from `start` on: where a segment
    /// begins, or any page that holds records. A record that began before is
    /// passed over.
    pub fn new(layout: Layout, timeline: TimelineId, start: Lsn) -> Result<Self, InvalidWal> {
        // So far from the end that positions do not overflow.
        if !layout.begins_page(start) || start.0 > u64::MAX / 2 {
            let block_size = layout.block_size;
            let fault = Fault::Start { block_size };
            return Err(InvalidWal { at: start, fault });
        }
        Ok(Self {
            layout,
            timeline,
            at: start.0,
            header: [0; LONG_HEADER],
            state: State::Between,
            previous: None,
            end: None,
            custom: 0,
            invalid: None,
        })
    }

    /// The byte that is to be fed next.
    pub fn position(&self) -> Lsn {
        Lsn(self.at)
    }

    /// Behind the last record that was read to its end; behind the segment, if
    /// that record ended it. Never beyond [`Scanner::position`]. `None` until
    /// a record has ended.
    pub fn end_of_records(&self) -> Option<Lsn> {
        self.end
    }

    /// Where the last record begins that was read to its end. `None` until one has
    /// been read from its beginning.
    pub fn last_record(&self) -> Option<Lsn> {
        self.previous.map(Lsn)
    }

    /// The numbers of the resource managers, of extensions each, whose records
    /// were read: only a server that has preloaded their libraries replays
    /// those.
    pub fn custom_managers(&self) -> impl Iterator<Item = u8> {
        let custom = self.custom;
        (0..128_u8)
            .filter(move |bit| custom >> bit & 1 == 1)
            .map(|bit| bit + 128)
    }

    /// Nothing was written behind [`Scanner::end_of_records`]: there were
    /// zeros where a record or a page should be, or within a record that was
    /// never finished. What is left of the segment is not looked at, and what
    /// is fed behind it is refused.
    pub fn end_reached(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Reads the bytes that follow those fed before, and adds to `found` what
    /// is found in them, in the log's order. After an error the same error is
    /// all that comes.
    pub fn feed(&mut self, bytes: &[u8], found: &mut Vec<Found>) -> Result<(), InvalidWal> {
        if let Some(invalid) = &self.invalid {
            return Err(invalid.clone());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.step(rest, found) {
                Ok(taken) => rest = &rest[taken..],
                Err(invalid) => {
                    self.invalid = Some(invalid.clone());
                    return Err(invalid);
                }
            }
        }
        Ok(())
    }

    /// Takes at least one of `bytes`, and none of what follows that is of
    /// another kind; gives how many.
    fn step(&mut self, bytes: &[u8], found: &mut Vec<Found>) -> Result<usize, InvalidWal> {
        if matches!(self.state, State::Switched | State::Ended) {
            return self.skip(bytes);
        }
        let block = u64::from(self.layout.block_size);
        let offset = self.at % block;
        let page = self.at - offset;
        let header = self.layout.header_length(page);
        if let Some(begun) = self.header.get_mut(offset as usize..header)
            && !begun.is_empty()
        {
            let taken = copy(begun, bytes);
            self.at += taken as u64;
            if offset as usize + taken == header {
                self.begin_page(Lsn(page), header)?;
            }
            return Ok(taken);
        }
        let room = (block - offset) as usize;
        let bytes = &bytes[..bytes.len().min(room)];
        match &mut self.state {
            State::Body { .. } => self.body(bytes, found),
            _ => self.record_header(bytes, found),
        }
    }

    /// Goes on to the segment's end.
    fn skip(&mut self, bytes: &[u8]) -> Result<usize, InvalidWal> {
        let size = self.layout.segment_size.bytes();
        let offset = self.at % size;
        let ended = matches!(self.state, State::Ended);
        if ended && offset == 0 {
            return Err(invalid(self.at, Fault::Behind));
        }
        let left = usize::try_from(size - offset).unwrap_or(usize::MAX);
        let taken = bytes.len().min(left);
        self.at += taken as u64;
        if taken == left && !ended {
            self.end = Some(Lsn(self.at));
            self.state = State::Between;
        }
        Ok(taken)
    }

    /// The header of the page at `page` is complete.
    fn begin_page(&mut self, page: Lsn, length: usize) -> Result<(), InvalidWal> {
        let header = self
            .layout
            .page_header(&self.header[..length], page, self.timeline);
        let header = header.map_err(|fault| invalid(page.0, fault))?;
        let Some(PageHeader {
            remaining,
            overwritten,
        }) = header
        else {
            self.state = State::Ended;
            return Ok(());
        };
        let wanted = match &self.state {
            // A record that began before we did.
            State::Between if self.end.is_none() && remaining > 0 => {
                let (record, left) = (None, remaining);
                self.state = State::Body { record, left };
                return Ok(());
            }
            State::Header { bytes, filled, .. } => {
                length_of(bytes).saturating_sub(u32::try_from(*filled).unwrap_or(u32::MAX))
            }
            State::Body { left, .. } => *left,
            _ => 0,
        };
        if overwritten && remaining == 0 {
            self.state = State::Between;
        } else if remaining != wanted {
            let found = remaining;
            return Err(invalid(page.0, Fault::Continuation { found, wanted }));
        }
        Ok(())
    }

    fn record_header(&mut self, piece: &[u8], found: &mut Vec<Found>) -> Result<usize, InvalidWal> {
        let (start, mut bytes, begun) = match self.state {
            State::Header {
                start,
                bytes,
                filled,
            } => (start, bytes, filled),
            _ => (self.at, [0; RECORD_HEADER], 0),
        };
        let taken = copy(&mut bytes[begun..], piece);
        let filled = begun + taken;
        self.at += taken as u64;
        self.state = State::Header {
            start,
            bytes,
            filled,
        };
        if filled >= 4 {
            match length_of(&bytes) {
                0 => {
                    self.state = State::Ended;
                    return Ok(taken);
                }
                1..24 | LONGEST_RECORD.. => {
                    return Err(invalid(start, Fault::Length(length_of(&bytes))));
                }
                _ => {}
            }
        }
        if filled == RECORD_HEADER {
            self.begin_record(start, RecordHeader::new(bytes), found)?;
        }
        Ok(taken)
    }

    fn begin_record(
        &mut self,
        start: u64,
        header: RecordHeader,
        found: &mut Vec<Found>,
    ) -> Result<(), InvalidWal> {
        let previous = header.previous();
        let linked = match self.previous {
            Some(known) => previous == known,
            None => previous < start,
        };
        if !linked {
            return Err(invalid(start, Fault::Link(Lsn(previous))));
        }
        let left = header.length() - RECORD_HEADER as u32;
        let record = Open::new(start, header);
        if let Some(manager) = record.custom_manager() {
            self.custom |= 1 << (manager - 128);
        }
        let record = Some(record);
        self.state = State::Body { record, left };
        if left == 0 {
            self.end_record(found)?;
        }
        Ok(())
    }

    fn body(&mut self, piece: &[u8], found: &mut Vec<Found>) -> Result<usize, InvalidWal> {
        let State::Body { record, left } = &mut self.state else {
            return Ok(piece.len());
        };
        if *left == 0 {
            // What makes the record even, on the same page always.
            let even = self.at.next_multiple_of(ALIGNMENT) - self.at;
            let taken = piece.len().min(even as usize);
            self.at += taken as u64;
            if taken as u64 == even {
                self.end_record(found)?;
            }
            return Ok(taken);
        }
        let piece = &piece[..piece.len().min(*left as usize)];
        if let Some(record) = record {
            record.take(piece);
        }
        *left -= piece.len() as u32;
        let complete = *left == 0;
        self.at += piece.len() as u64;
        if complete && self.at.is_multiple_of(ALIGNMENT) {
            self.end_record(found)?;
        }
        Ok(piece.len())
    }

    /// `at` is behind a record.
    fn end_record(&mut self, found: &mut Vec<Found>) -> Result<(), InvalidWal> {
        let end = Lsn(self.at);
        let state = std::mem::replace(&mut self.state, State::Between);
        if let State::Body {
            record: Some(record),
            ..
        } = state
        {
            let start = record.start;
            let segment_ends = self.at.is_multiple_of(self.layout.segment_size.bytes());
            if record.is_switch() && !segment_ends {
                self.state = State::Switched;
            }
            let read = record.finish(end, self.layout.major);
            found.extend(read.map_err(|fault| invalid(start, fault))?);
            self.previous = Some(start);
        }
        self.end = Some(end);
        Ok(())
    }
}

fn invalid(at: u64, fault: Fault) -> InvalidWal {
    InvalidWal { at: Lsn(at), fault }
}

/// `xl_tot_len`, which never is on two pages.
fn length_of(header: &[u8]) -> u32 {
    u32_at(header, 0).unwrap_or_default()
}

/// As much as fits; gives how much.
fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let length = to.len().min(from.len());
    to[..length].copy_from_slice(&from[..length]);
    length
}
