//! The checksum at an RDB's end, over all that stands before it.

use crc_fast::{CrcAlgorithm, Digest};

/// Length of the checksum.
pub(super) const TRAILER: usize = 8;

/// Sums a stream whose last eight bytes are its checksum, without knowing
/// beforehand where it ends.
pub(super) struct Sum {
    digest: Digest,
    /// The last bytes, not summed yet.
    tail: Vec<u8>,
}

impl Sum {
    pub(super) fn new() -> Self {
        Self {
            digest: Digest::new(CrcAlgorithm::Crc64Redis),
            tail: Vec::with_capacity(2 * TRAILER),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        if bytes.len() >= TRAILER {
            let (body, tail) = bytes.split_at(bytes.len() - TRAILER);
            self.digest.update(&self.tail);
            self.digest.update(body);
            self.tail.clear();
            self.tail.extend_from_slice(tail);
        } else {
            self.tail.extend_from_slice(bytes);
            let surplus = self.tail.len().saturating_sub(TRAILER);
            self.digest.update(&self.tail[..surplus]);
            self.tail.drain(..surplus);
        }
    }

    /// The sum of all but the last eight bytes, and what these say. `None`
    /// when there were fewer.
    pub(super) fn finish(&self) -> Option<(u64, u64)> {
        let said = u64::from_le_bytes(self.tail.as_slice().try_into().ok()?);
        Some((self.digest.finalize(), said))
    }
}

/// The sum of bytes.
pub(super) fn of(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Redis, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of `crc64.c` in Redis.
    #[test]
    fn the_sum_is_that_of_redis() {
        assert_eq!(of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_come() {
        let bytes: Vec<u8> = (0..100).collect();
        let expected = of(&bytes[..92]);
        let said = u64::from_le_bytes(bytes[92..].try_into().unwrap());
        for size in 1..=100 {
            let mut sum = Sum::new();
            bytes.chunks(size).for_each(|chunk| sum.update(chunk));
            assert_eq!(sum.finish(), Some((expected, said)), "{size}");
        }
        let mut short = Sum::new();
        short.update(&bytes[..7]);
        assert_eq!(short.finish(), None);
    }
}
