//! What may be written, and what was.

/// What was granted to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Objects.
    pub objects: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Written {
    /// With one more object of `length` bytes.
    #[must_use]
    pub fn and(self, length: u64) -> Self {
        Self {
            objects: self.objects.saturating_add(1),
            bytes: self.bytes.saturating_add(length),
        }
    }
}

/// The most that a job may write, in all its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
    /// So many objects, and besides as many as fit the bytes that were written.
    pub objects: u64,
    /// Bytes of an object that count for one more of them.
    pub bytes_per_object: std::num::NonZeroU64,
}

impl Budget {
    /// Whether a job may have written so much.
    pub fn admits(&self, written: Written) -> bool {
        let objects = self
            .objects
            .saturating_add(written.bytes / self.bytes_per_object);
        written.bytes <= self.bytes && written.objects <= objects
    }
}
