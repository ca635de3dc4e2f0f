//! The bytes of an RDB, and its lengths and strings.

use std::io::{self, Read};

use super::{error::RdbError, lzf, sum::Sum};

/// Read at a time.
const BUFFER: usize = 64 << 10;

/// More than any string of Redis can have (`proto-max-bulk-len` is 512 MiB).
const LONGEST: u64 = 1 << 30;

/// A length, or what stands in its place.
pub(super) enum Length {
    Bytes(u64),
    /// The number of a special encoding.
    Encoded(u8),
}

pub(super) struct Input<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Of `buffer[0]`.
    base: u64,
    pub(super) sum: Sum,
    record: Option<Record>,
}

/// What is read, for as long as somebody wants it.
struct Record {
    bytes: Vec<u8>,
    most: usize,
    length: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            base: 0,
            sum: Sum::new(),
            record: None,
        }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.base + self.start as u64
    }

    pub(super) fn damaged(&self, problem: &'static str) -> RdbError {
        RdbError::Damaged {
            position: self.position(),
            problem,
        }
    }

    /// Fills the buffer when it is empty; gives `false` at the end.
    fn fill(&mut self) -> Result<bool, RdbError> {
        if self.start < self.end {
            return Ok(true);
        }
        self.base += self.end as u64;
        (self.start, self.end) = (0, 0);
        loop {
            match self.inner.read(&mut self.buffer) {
                Ok(length) => {
                    self.end = length.min(self.buffer.len());
                    self.sum.update(&self.buffer[..self.end]);
                    return Ok(self.end > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RdbError::Read(error)),
            }
        }
    }

    /// Hands over what is there, at most `most` bytes and at least one.
    fn some(&mut self, most: u64) -> Result<&[u8], RdbError> {
        if !self.fill()? {
            return Err(RdbError::Truncated {
                position: self.position(),
            });
        }
        let length = most.min((self.end - self.start) as u64) as usize;
        let bytes = &self.buffer[self.start..self.start + length];
        self.start += length;
        if let Some(record) = &mut self.record {
            record.length += length as u64;
            if record.length <= record.most as u64 {
                record.bytes.extend_from_slice(bytes);
            } else {
                record.bytes = Vec::new();
            }
        }
        Ok(bytes)
    }

    /// Begins to keep what is read, up to `most` bytes.
    pub(super) fn record(&mut self, most: usize) {
        self.record = Some(Record {
            bytes: Vec::new(),
            most,
            length: 0,
        });
    }

    /// Ends it; gives the bytes, or the length of what was more than that.
    pub(super) fn recorded(&mut self) -> Result<Vec<u8>, u64> {
        match self.record.take() {
            Some(record) if record.length > record.most as u64 => Err(record.length),
            Some(record) => Ok(record.bytes),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, RdbError> {
        Ok(self.some(1)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut out = [0; N];
        let mut done = 0;
        while done < N {
            let bytes = self.some((N - done) as u64)?;
            out[done..done + bytes.len()].copy_from_slice(bytes);
            done += bytes.len();
        }
        Ok(out)
    }

    pub(super) fn skip(&mut self, mut length: u64) -> Result<(), RdbError> {
        while length > 0 {
            length -= self.some(length)?.len() as u64;
        }
        Ok(())
    }

    /// Appends the next bytes; a length that is not there allocates nothing.
    fn append(&mut self, mut length: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
        while length > 0 {
            let bytes = self.some(length)?;
            length -= bytes.len() as u64;
            out.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Reads whatever is left.
    pub(super) fn drain(&mut self) -> Result<(), RdbError> {
        while self.fill()? {
            self.start = self.end;
        }
        Ok(())
    }

    /// Whether all was read.
    pub(super) fn is_at_end(&mut self) -> Result<bool, RdbError> {
        Ok(!self.fill()?)
    }

    /// `rdbLoadLenByRef`.
    pub(super) fn length(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Bytes(u64::from(first & 0x3f)),
            1 => Length::Bytes(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 => match first {
                0x80 => Length::Bytes(u32::from_be_bytes(self.array()?).into()),
                0x81 => Length::Bytes(u64::from_be_bytes(self.array()?)),
                _ => return Err(self.damaged("a length of an unknown kind")),
            },
            _ => Length::Encoded(first & 0x3f),
        })
    }

    /// A length that is a number.
    pub(super) fn number(&mut self) -> Result<u64, RdbError> {
        match self.length()? {
            Length::Bytes(number) => Ok(number),
            Length::Encoded(_) => Err(self.damaged("an encoding where a number should be")),
        }
    }

    /// Numbers that nobody needs.
    pub(super) fn skip_numbers(&mut self, count: u64) -> Result<(), RdbError> {
        (0..count).try_for_each(|_| self.number().map(drop))
    }

    fn string_length(&mut self) -> Result<u64, RdbError> {
        let length = self.number()?;
        if length > LONGEST {
            return Err(self.damaged("a string longer than any can be"));
        }
        Ok(length)
    }

    /// A string in any encoding, unread.
    pub(super) fn skip_string(&mut self) -> Result<(), RdbError> {
        match self.length()? {
            Length::Bytes(length) if length > LONGEST => {
                Err(self.damaged("a string longer than any can be"))
            }
            Length::Bytes(length) => self.skip(length),
            Length::Encoded(kind @ 0..=2) => self.skip(1 << kind),
            Length::Encoded(3) => {
                let compressed = self.string_length()?;
                let length = self.string_length()?;
                if !lzf::is_possible(compressed, length) {
                    return Err(self.damaged("a compressed string that cannot be"));
                }
                self.skip(compressed)
            }
            Length::Encoded(_) => Err(self.damaged("a string of an unknown encoding")),
        }
    }

    /// A string in any encoding, into `out`.
    pub(super) fn string(&mut self, out: &mut Vec<u8>) -> Result<(), RdbError> {
        out.clear();
        match self.length()? {
            Length::Bytes(length) if length > LONGEST => {
                Err(self.damaged("a string longer than any can be"))
            }
            Length::Bytes(length) => self.append(length, out),
            Length::Encoded(0) => {
                let number = i8::from_le_bytes(self.array()?);
                out.extend_from_slice(number.to_string().as_bytes());
                Ok(())
            }
            Length::Encoded(1) => {
                let number = i16::from_le_bytes(self.array()?);
                out.extend_from_slice(number.to_string().as_bytes());
                Ok(())
            }
            Length::Encoded(2) => {
                let number = i32::from_le_bytes(self.array()?);
                out.extend_from_slice(number.to_string().as_bytes());
                Ok(())
            }
            Length::Encoded(3) => {
                let compressed = self.string_length()?;
                let length = self.string_length()?;
                if !lzf::is_possible(compressed, length) {
                    return Err(self.damaged("a compressed string that cannot be"));
                }
                let mut bytes = Vec::new();
                self.append(compressed, &mut bytes)?;
                *out = lzf::decompress(&bytes, length as usize)
                    .ok_or_else(|| self.damaged("a compressed string that does not open"))?;
                Ok(())
            }
            Length::Encoded(_) => Err(self.damaged("a string of an unknown encoding")),
        }
    }
}
