//! A checksum of a table's rows that does not depend on their order. Pure.
//!
//! Each row, as `COPY` writes it in its text format, is hashed alone (SHA-256,
//! the first 16 bytes), and the hashes are added modulo 2^128: two tables with
//! the same sum hold the same rows, each as often. The sum of an empty table
//! is 0. The line feeds between rows do not count.
//!
//! What a row's text is depends on the session: [`crate::connection::TEXTS`] fixes that.

use ring::digest::{Context, SHA256, digest};

/// Ends the rows in a dump; no row is written so.
const END: [u8; 2] = *b"\\.";

/// Rows and their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSum {
    /// How many.
    pub rows: u64,
    /// See the module.
    pub sum: u128,
}

impl RowSum {
    /// The sum as the manifest has it: 32 hexadecimal digits.
    pub fn text(&self) -> String {
        format!("{:032x}", self.sum)
    }

    fn add(&mut self, hash: &[u8]) {
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(half));
    }
}

/// Takes rows in pieces, cut anywhere.
#[derive(Default)]
pub struct RowHasher {
    sum: RowSum,
    /// Of a row whose end has not been seen.
    begun: Option<Context>,
    /// Of that row, bytes.
    length: usize,
    first: [u8; 2],
    ended: bool,
}

impl std::fmt::Debug for RowHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowHasher").finish_non_exhaustive()
    }
}

impl RowHasher {
    /// More bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !self.ended && !bytes.is_empty() {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.begin(bytes);
                return;
            };
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.begun.is_none() {
                if line == END {
                    self.ended = true;
                    return;
                }
                self.sum.add(digest(&SHA256, line).as_ref());
                continue;
            }
            self.begin(line);
            if self.length == END.len() && self.first == END {
                self.ended = true;
                return;
            }
            if let Some(context) = self.begun.take() {
                self.sum.add(context.finish().as_ref());
            }
            self.length = 0;
        }
    }

    /// Those that were complete.
    pub fn sum(&self) -> RowSum {
        self.sum
    }

    fn begin(&mut self, part: &[u8]) {
        for (at, byte) in part.iter().take(END.len()).enumerate() {
            if let Some(slot) = self.first.get_mut(self.length.saturating_add(at)) {
                *slot = *byte;
            }
        }
        self.length = self.length.saturating_add(part.len());
        self.begun
            .get_or_insert_with(|| Context::new(&SHA256))
            .update(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(pieces: &[&[u8]]) -> RowSum {
        let mut hasher = RowHasher::default();
        for piece in pieces {
            hasher.feed(piece);
        }
        hasher.sum()
    }

    #[test]
    fn order_does_not_matter_and_content_does() {
        let one = sum(&[b"a\t1\nb\t2\n"]);
        assert_eq!(one.rows, 2);
        assert_eq!(one, sum(&[b"b\t2\na\t1\n"]));
        assert_ne!(one, sum(&[b"a\t1\nb\t3\n"]));
        assert_ne!(one, sum(&[b"a\t1\na\t1\n"]));
        assert_ne!(sum(&[b"a\na\n"]), sum(&[b"b\nb\n"]));
        assert_eq!(sum(&[]).text(), "0".repeat(32));
        // A table without columns, or with empty texts.
        assert_eq!(sum(&[b"\n\n"]).rows, 2);
    }

    #[test]
    fn nothing_behind_the_end_of_rows_counts() {
        let rows = sum(&[b"a\n"]);
        for pieces in [
            &[&b"a\n\\.\n\n\n"[..]][..],
            &[b"a\n\\", b".\n\n\n"],
            &[b"a\n\\.", b"\n\n\n"],
            &[b"a\n", b"\\", b".", b"\n", b"\nx\n"],
        ] {
            assert_eq!(sum(pieces), rows, "{pieces:?}");
        }
        assert_ne!(sum(&[b"\\.x\n"]), RowSum::default());
        assert_ne!(sum(&[b"\\", b".x\n"]), RowSum::default());
    }

    #[test]
    fn the_sum_stays_what_it_is() {
        // Manifests hold it for years.
        let known = sum(&[b"1\tx\n2\ty\n"]).text();
        let mut expected = RowSum::default();
        expected.add(digest(&SHA256, b"1\tx").as_ref());
        expected.add(digest(&SHA256, b"2\ty").as_ref());
        assert_eq!(known, expected.text());
        assert_eq!(known.len(), 32);
    }

    proptest! {
        #[test]
        fn pieces_may_be_cut_anywhere(
            rows in prop::collection::vec("[a.\\\\]{0,4}", 0..8),
            cuts in prop::collection::vec(0..40_usize, 0..6),
        ) {
            let text = rows.iter().flat_map(|it| [it.as_str(), "\n"]).collect::<String>();
            let whole = sum(&[text.as_bytes()]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|it| it.min(text.len())).collect();
            cuts.sort_unstable();
            let mut hasher = RowHasher::default();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                hasher.feed(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(hasher.sum(), whole);
        }
    }
}
