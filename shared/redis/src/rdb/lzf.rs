//! LZF as Redis compresses strings with it.
//!
//! Source: `lzf_d.c` of liblzf, which Redis carries.

/// The most that a compressed byte can stand for: a copy of 264 bytes takes
/// three.
const MOST: u64 = 88;

/// Whether `compressed` bytes can become `length`.
pub(super) fn is_possible(compressed: u64, length: u64) -> bool {
    length <= compressed.saturating_mul(MOST)
}

/// Decompresses into exactly `length` bytes; `None` when that is not what is
/// in there.
pub(super) fn decompress(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    let mut rest = compressed;
    while let Some((&control, behind)) = rest.split_first() {
        rest = behind;
        let control = usize::from(control);
        if control < 32 {
            let literal = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literal.0);
            rest = literal.1;
        } else {
            let mut copied = control >> 5;
            if copied == 7 {
                let (&more, behind) = rest.split_first()?;
                copied += usize::from(more);
                rest = behind;
            }
            let (&low, behind) = rest.split_first()?;
            rest = behind;
            let back = ((control & 0x1f) << 8) + usize::from(low) + 1;
            let from = out.len().checked_sub(back)?;
            if out.len() + copied + 2 > length {
                return None;
            }
            // What is copied may overlap what it makes.
            for at in from..from + copied + 2 {
                out.push(out[at]);
            }
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_and_copies() {
        assert_eq!(decompress(&[2, b'a', b'b', b'c'], 3).unwrap(), b"abc");
        // "a", then 2+9 more of it: control 1..=6 is the length less two.
        assert_eq!(
            decompress(&[0, b'a', 0xe0, 2, 0], 12).unwrap(),
            b"aaaaaaaaaaaa"
        );
        assert_eq!(decompress(&[1, b'x', b'y', 0x40, 1], 6).unwrap(), b"xyxyxy");
        assert_eq!(decompress(&[], 0).unwrap(), b"");
    }

    #[test]
    fn what_leads_out_of_the_data_is_refused() {
        assert_eq!(decompress(&[2, b'a'], 3), None);
        assert_eq!(decompress(&[0, b'a', 0x20, 1], 4), None);
        assert_eq!(decompress(&[0, b'a', 0xe0], 4), None);
        assert_eq!(decompress(&[0, b'a', 0xe0, 255, 0], 4), None);
        assert_eq!(decompress(&[0, b'a'], 2), None);
        assert!(is_possible(3, 264) && !is_possible(3, 265));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, length in 0_usize..4096) {
            if let Some(out) = decompress(&bytes, length) {
                prop_assert_eq!(out.len(), length);
            }
        }
    }
}
