//! Where to cut a stream: FastCDC with normalised chunking.
//!
//! Source: Xia et al., "The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems", IEEE TPDS 2020 (two bytes a step).
//! The gear table is derived from the repository's key, because with a public
//! table the sizes of the chunks, which a store can see, tell which known file
//! they belong to.
//!
//! The masks take the high bits of the hash: bit *k* depends on the last
//! *k* + 1 bytes, so every bit used sees at least 41 of them.

use std::fmt;

use zeroize::Zeroizing;

use crate::format::sha256::Sha256;

/// Streams up to this size are one blob, so that small files deduplicate with
/// those that restic wrote.
pub const MIN_CHUNK: usize = 512 * 1024;
/// The normal chunk size: cuts are rare before it and frequent behind it.
pub const AVERAGE_CHUNK: usize = 1024 * 1024;
/// No chunk is larger.
pub const MAX_CHUNK: usize = 8 * 1024 * 1024;

/// How much rarer (before the normal size) and more frequent (behind it) a cut
/// is than one in [`Sizes::average`], as a power of two: the paper's NC2.
const NORMALISATION: u32 = 2;

/// Bytes, `minimum < average < maximum`, the average a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// No chunk is smaller, but for a stream's last one.
    pub minimum: usize,
    /// The normal size.
    pub average: usize,
    /// No chunk is larger.
    pub maximum: usize,
}

impl Sizes {
    /// What repositories are written with.
    pub const STANDARD: Self = Self {
        minimum: MIN_CHUNK,
        average: AVERAGE_CHUNK,
        maximum: MAX_CHUNK,
    };
}

/// The random values that bytes stand for while hashing; a secret.
pub struct Gear {
    plain: Zeroizing<[u64; 256]>,
    /// The same, shifted left by one.
    shifted: Zeroizing<[u64; 256]>,
}

impl fmt::Debug for Gear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gear(…)")
    }
}

impl Gear {
    /// Derives the table from a secret: SHA-256 in counter mode.
    pub fn derive(secret: &[u8; 32]) -> Self {
        let mut plain = Zeroizing::new([0; 256]);
        for (counter, values) in (0_u8..).zip(plain.chunks_exact_mut(4)) {
            let mut hasher = Sha256::default();
            hasher.update(b"strongroom gear table 1");
            hasher.update(secret);
            hasher.update(&[counter]);
            let block = Zeroizing::new(hasher.finish().0);
            for (value, bytes) in values.iter_mut().zip(block.as_chunks().0) {
                *value = u64::from_le_bytes(*bytes);
            }
        }
        let shifted = Zeroizing::new(plain.map(|value| value << 1));
        Self { plain, shifted }
    }

    /// Hashes `bytes` onto `hash`; stops behind the first byte at which all
    /// bits of `mask` are clear.
    fn scan(&self, hash: &mut u64, bytes: &[u8], mask: u64) -> Option<usize> {
        let mut h = *hash;
        let (pairs, rest) = bytes.as_chunks::<2>();
        for (index, &[first, second]) in pairs.iter().enumerate() {
            h = (h << 2).wrapping_add(self.shifted[usize::from(first)]);
            if h & (mask << 1) == 0 {
                return Some(2 * index + 1);
            }
            h = h.wrapping_add(self.plain[usize::from(second)]);
            if h & mask == 0 {
                return Some(2 * index + 2);
            }
        }
        for &byte in rest {
            h = (h << 1).wrapping_add(self.plain[usize::from(byte)]);
            if h & mask == 0 {
                return Some(bytes.len());
            }
        }
        *hash = h;
        None
    }
}

/// Cuts one stream. Holds no data: the caller's buffer grows until there is a
/// cut, and what lies behind it begins the next chunk.
#[derive(Debug)]
pub struct Chunker<'g> {
    gear: &'g Gear,
    sizes: Sizes,
    rare: u64,
    frequent: u64,
    hash: u64,
    scanned: usize,
}

impl<'g> Chunker<'g> {
    /// With the sizes that repositories are written with.
    pub fn new(gear: &'g Gear) -> Self {
        Self::with_sizes(gear, Sizes::STANDARD)
    }

    /// With other sizes.
    pub fn with_sizes(gear: &'g Gear, sizes: Sizes) -> Self {
        let bits = sizes.average.ilog2();
        Self {
            gear,
            sizes,
            rare: mask(bits + NORMALISATION),
            frequent: mask(bits.saturating_sub(NORMALISATION)),
            hash: 0,
            scanned: sizes.minimum,
        }
    }

    /// Looks for the end of the chunk that begins at `buffer[0]`. `None`: more
    /// bytes are needed; come again with the same bytes and more behind them
    /// (bytes already looked at are not looked at again). What is left when
    /// the stream ends is its last chunk.
    pub fn cut(&mut self, buffer: &[u8]) -> Option<usize> {
        let length = self.find(buffer)?;
        self.hash = 0;
        self.scanned = self.sizes.minimum;
        Some(length)
    }

    fn find(&mut self, buffer: &[u8]) -> Option<usize> {
        for (end, mask) in [
            (self.sizes.average, self.rare),
            (self.sizes.maximum, self.frequent),
        ] {
            let end = end.min(buffer.len());
            if let Some(bytes) = buffer.get(self.scanned..end) {
                if let Some(found) = self.gear.scan(&mut self.hash, bytes, mask) {
                    return Some(self.scanned + found);
                }
                self.scanned = end;
            }
        }
        (buffer.len() >= self.sizes.maximum).then_some(self.sizes.maximum)
    }
}

/// `bits` ones below the highest bit, which must stay free: `scan` looks at
/// every other hash shifted left by one.
fn mask(bits: u32) -> u64 {
    ((1 << bits) - 1) << (63 - bits)
}

#[cfg(test)]
mod tests;
