//! Long runs of zeros: what may lie in a file as a hole.
//!
//! A restore leaves them out, or writes them where they were no holes; so a backup
//! looks for the very runs that a restore would leave out.

use std::ops::Range;

/// Zeros are compared in pieces of a page.
const PAGE: usize = 4096;

/// Fewer zeros than this, in bytes, are written: a hole is not worth another call.
pub(crate) const MIN_HOLE: usize = 4 * PAGE;

static ZEROS: [u8; PAGE] = [0; PAGE];

/// The parts of `bytes` that are not long runs of zeros.
pub(crate) fn data_runs(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let hole = zeros(&bytes[at..]);
        if hole >= MIN_HOLE {
            at += hole;
        }
        if at >= bytes.len() {
            return None;
        }
        let start = at;
        while at < bytes.len() {
            let hole = zeros(&bytes[at..]);
            if hole >= MIN_HOLE {
                break;
            }
            at = (at + hole.max(PAGE)).min(bytes.len());
        }
        Some(start..at)
    })
}

/// How many bytes of zeros `bytes` begins with, in whole pages, or to its end.
fn zeros(bytes: &[u8]) -> usize {
    let mut count = 0;
    for page in bytes.chunks(PAGE) {
        if page[0] != 0 || page != &ZEROS[..page.len()] {
            break;
        }
        count += page.len();
    }
    count
}

/// Looks for a long run of zeros in what passes in pieces.
#[derive(Debug, Default)]
pub(crate) struct LongRun {
    /// Zeros that the last piece ended with.
    ending: usize,
    found: bool,
}

impl LongRun {
    /// Whether there was one.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    /// The next piece. Of most data it looks at a byte in [`MIN_HOLE`].
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        if self.found {
            return;
        }
        let first = leading(bytes);
        if self.ending + first >= MIN_HOLE {
            self.found = true;
            return;
        }
        if first == bytes.len() {
            self.ending += first;
            return;
        }
        // `at` is no zero: a long run behind it reaches as far as the next look.
        let mut at = first;
        while at + MIN_HOLE < bytes.len() {
            let look = at + MIN_HOLE;
            let before = trailing(&bytes[at + 1..=look]);
            if before == 0 {
                at = look;
                continue;
            }
            let behind = leading(&bytes[look + 1..]);
            if before + behind >= MIN_HOLE {
                self.found = true;
                return;
            }
            at = look + 1 + behind;
        }
        self.ending = trailing(bytes);
    }
}

fn leading(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len())
}

fn trailing(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rev()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holes_are_left_out() {
        let mut bytes = vec![0; 100 * PAGE];
        assert_eq!(data_runs(&bytes).count(), 0);
        assert_eq!(data_runs(&[]).count(), 0);
        bytes[50 * PAGE + 7] = 1;
        let runs: Vec<_> = data_runs(&bytes).collect();
        assert_eq!(runs, vec![50 * PAGE..51 * PAGE]);
        bytes[52 * PAGE] = 1;
        let runs: Vec<_> = data_runs(&bytes).collect();
        assert_eq!(runs, vec![50 * PAGE..53 * PAGE], "short runs are written");
        let short = [0; MIN_HOLE - 1];
        assert_eq!(data_runs(&short).collect::<Vec<_>>(), vec![0..short.len()]);
    }

    /// Runs of zeros between single bytes.
    fn runs() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(
            prop_oneof![0..40_usize, (MIN_HOLE - 3)..(MIN_HOLE + 3), 0..3 * MIN_HOLE],
            0..6,
        )
    }

    proptest! {
        #[test]
        fn only_zeros_are_left_out(
            pages in prop::collection::vec((any::<bool>(), 0..PAGE), 0..40),
            tail in 0..PAGE,
        ) {
            let mut bytes = vec![0; pages.len() * PAGE + tail];
            for (number, (data, at)) in pages.iter().enumerate() {
                if *data {
                    bytes[number * PAGE + at] = 1;
                }
            }
            let mut copy = vec![0; bytes.len()];
            for run in data_runs(&bytes) {
                copy[run.clone()].copy_from_slice(&bytes[run]);
            }
            prop_assert_eq!(copy, bytes);
        }

        #[test]
        fn a_long_run_is_found_in_any_pieces(runs in runs(), piece in 1..5 * MIN_HOLE) {
            let mut bytes = Vec::new();
            for run in &runs {
                bytes.resize(bytes.len() + run, 0);
                bytes.push(1);
            }
            let mut seen = LongRun::default();
            bytes.chunks(piece).for_each(|piece| seen.pass(piece));
            prop_assert_eq!(seen.found(), runs.iter().any(|run| *run >= MIN_HOLE));
            // Whatever is left out of a chunk has been found.
            let whole = data_runs(&bytes).map(|run| run.len()).sum::<usize>() == bytes.len();
            prop_assert!(whole || seen.found());
        }
    }
}
