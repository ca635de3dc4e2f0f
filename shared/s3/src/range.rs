//! The range: a part of an object.

/// An inclusive range of bytes, as in HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
}

impl ByteRange {
    /// `length` bytes from `first` on; `None` when that is no byte, or beyond
    /// the last that 64 bits can name.
    pub fn new(first: u64, length: u64) -> Option<Self> {
        let last = first.checked_add(length.checked_sub(1)?)?;
        Some(Self { first, last })
    }

    /// Bytes in it; 0 when it is upside down.
    pub fn length(&self) -> u64 {
        self.last
            .checked_sub(self.first)
            .map_or(0, |rest| rest.saturating_add(1))
    }

    /// The value of the header `range` that asks for it.
    pub fn header(&self) -> String {
        format!("bytes={}-{}", self.first, self.last)
    }
}
