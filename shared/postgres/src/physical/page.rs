//! Pages of relations, and their checksums.
//!
//! Source: `storage/checksum_impl.h` (an FNV-1a variant, 32 sums side by side,
//! so that it can be computed on vectors) and `storage/bufpage.h`.

use super::{Lsn, u16_at, u32_at};

const SUMS: usize = 32;
const PRIME: u32 = 16_777_619;

/// Where the sums begin: chosen at random by PostgreSQL's authors.
const BASE: [u32; SUMS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// Where the header keeps its checksum.
const CHECKSUM_AT: usize = 8;
/// And where the offset to the end of free space.
const UPPER_AT: usize = 14;

/// What a page of a relation is, as far as its header and checksum tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its checksum is right, or it was never used.
    Good,
    /// It was written after the backup began, or is being written: replay
    /// makes it whole, whatever was read.
    Newer,
    /// Its checksum is wrong.
    Damaged {
        /// Of its bytes.
        computed: u16,
        /// In it.
        stored: u16,
    },
}

/// Looks at a whole page that stands at `block` of its relation (counted
/// through all segments), in a backup that began at `began`.
pub fn verify(page: &[u8], block: u32, began: Lsn) -> Verdict {
    let stored = u16_at(page, CHECKSUM_AT).unwrap_or(0);
    // Extended, but not used: all zeros, no checksum.
    if u16_at(page, UPPER_AT) == Some(0) {
        return Verdict::Good;
    }
    let computed = checksum(page, block);
    if computed == stored {
        return Verdict::Good;
    }
    if position(page) >= began {
        return Verdict::Newer;
    }
    Verdict::Damaged { computed, stored }
}

/// The position in the write-ahead log behind the page's last change.
pub fn position(page: &[u8]) -> Lsn {
    let half = |at| u64::from(u32_at(page, at).unwrap_or(0));
    Lsn(half(0) << 32 | half(4))
}

/// A page's checksum at its place; never 0. The length must be a multiple of
/// 128 bytes, as those of pages are; what is beyond does not count.
pub fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = BASE;
    let (rows, _) = page.as_chunks::<{ 4 * SUMS }>();
    for (number, row) in rows.iter().enumerate() {
        let mut words = [0; SUMS];
        for (word, bytes) in words.iter_mut().zip(row.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        if number == 0 {
            // The checksum itself counts as zero: the lower half of a word.
            words[CHECKSUM_AT / 4] &= 0xFFFF_0000;
        }
        round(&mut sums, &words);
    }
    // Two rounds of zeros, so that the last words are mixed too.
    round(&mut sums, &[0; SUMS]);
    round(&mut sums, &[0; SUMS]);
    let folded = sums.iter().fold(block, |all, sum| all ^ sum);
    (folded % 65_535) as u16 + 1
}

#[inline]
fn round(sums: &mut [u32; SUMS], words: &[u32; SUMS]) {
    for (sum, word) in sums.iter_mut().zip(words) {
        let mixed = *sum ^ word;
        *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A used page of `lsn`, sealed for its place.
    fn page(lsn: Lsn, block: u32) -> Vec<u8> {
        let mut page: Vec<u8> = (0..8192_u32).map(|at| (at * 31 % 251) as u8).collect();
        page[..4].copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
        page[4..8].copy_from_slice(&(lsn.0 as u32).to_le_bytes());
        let sum = checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page
    }

    const OLD: Lsn = Lsn(0x1_0000_0010);
    const BEGAN: Lsn = Lsn(0x1_0000_0020);

    #[test]
    fn a_sealed_page_is_good_at_its_place_only() {
        let page = page(OLD, 7);
        assert_eq!(position(&page), OLD);
        assert_eq!(verify(&page, 7, BEGAN), Verdict::Good);
        assert!(matches!(verify(&page, 8, BEGAN), Verdict::Damaged { .. }));
    }

    #[test]
    fn every_flipped_byte_shows() {
        let sealed = page(OLD, 0);
        for at in (8..8192).filter(|at| !(14..16).contains(at)).step_by(7) {
            let mut flipped = sealed.clone();
            flipped[at] ^= 0x10;
            assert!(
                matches!(verify(&flipped, 0, BEGAN), Verdict::Damaged { .. }),
                "{at}"
            );
        }
    }

    #[test]
    fn a_page_written_since_the_beginning_may_be_torn() {
        let mut torn = page(BEGAN, 0);
        torn[5000] ^= 1;
        assert_eq!(verify(&torn, 0, BEGAN), Verdict::Newer);
    }

    #[test]
    fn a_page_that_was_never_used_has_no_checksum() {
        assert_eq!(verify(&[0; 8192], 3, BEGAN), Verdict::Good);
        // Nothing that is shorter than a header is a reason to panic.
        for length in 0..32 {
            let _ = verify(&vec![0xFF; length], 0, BEGAN);
        }
    }
}
