//! Cuts a stream of log into what is stored: pure.

use bytes::Bytes;
use strongroom_layout::position::Lsn;

/// A part to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Its first byte.
    pub(super) start: Lsn,
    /// Its bytes, at least one.
    pub(super) bytes: Bytes,
}

impl Cut {
    /// Behind its last byte.
    pub(super) fn end(&self) -> Lsn {
        Lsn(self.start.0 + self.bytes.len() as u64)
    }
}

/// Gathers a stream into whole units, and gives pieces of the unit that is not
/// whole yet. A whole unit holds its pieces once more, so that many small
/// objects do not stay.
#[derive(Debug)]
pub(super) struct Cutter {
    unit: u64,
    /// Of `bytes`.
    start: Lsn,
    /// Of the unit that is not whole yet.
    bytes: Vec<u8>,
    /// How many of them were given as pieces.
    given: usize,
}

impl Cutter {
    /// `start` is where a unit begins.
    pub(super) fn new(unit: u64, start: Lsn) -> Self {
        debug_assert_eq!(start.0 % unit, 0);
        Self {
            unit,
            start,
            bytes: Vec::new(),
            given: 0,
        }
    }

    /// The next byte of the stream.
    pub(super) fn end(&self) -> Lsn {
        Lsn(self.start.0 + self.bytes.len() as u64)
    }

    /// Where the unit begins that is not whole yet.
    pub(super) fn unit_start(&self) -> Lsn {
        self.start
    }

    /// Takes what follows; gives the units that it makes whole.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Vec<Cut> {
        let mut whole = Vec::new();
        while !bytes.is_empty() {
            let room = self.unit as usize - self.bytes.len();
            let (taken, rest) = bytes.split_at(room.min(bytes.len()));
            self.bytes.extend_from_slice(taken);
            bytes = rest;
            if self.bytes.len() as u64 == self.unit {
                whole.push(Cut {
                    start: self.start,
                    bytes: std::mem::take(&mut self.bytes).into(),
                });
                self.start.0 += self.unit;
                self.given = 0;
            }
        }
        whole
    }

    /// What is in no part yet, as a piece.
    pub(super) fn piece(&mut self) -> Option<Cut> {
        let bytes = Bytes::copy_from_slice(self.bytes.get(self.given..)?);
        if bytes.is_empty() {
            return None;
        }
        let start = Lsn(self.start.0 + self.given as u64);
        self.given = self.bytes.len();
        Some(Cut { start, bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIT: u64 = 64;

    proptest! {
        /// However a stream comes and whenever pieces are taken: units are
        /// whole and aligned, no part crosses a unit's border, pieces follow
        /// each other, and the same bytes are in both.
        #[test]
        fn every_byte_is_in_a_piece_or_a_unit(
            arrivals in prop::collection::vec((0..200usize, any::<bool>()), 1..20),
        ) {
            let length: usize = arrivals.iter().map(|(length, _)| length).sum();
            let log: Vec<u8> = (0..length).map(|n| (n * 7 % 251) as u8).collect();
            let mut cutter = Cutter::new(UNIT, Lsn(0));
            let (mut at, mut covered) = (0, 0);
            let mut cuts = Vec::new();
            for (length, piece) in arrivals {
                cuts.extend(cutter.push(&log[at..at + length]));
                at += length;
                if piece {
                    cuts.extend(cutter.piece());
                    prop_assert_eq!(cutter.piece(), None);
                }
                prop_assert_eq!(cutter.end(), Lsn(at as u64));
            }
            cuts.extend(cutter.piece());
            for cut in cuts {
                let (start, end) = (cut.start.0, cut.end().0);
                prop_assert!(start < end);
                prop_assert_eq!(start / UNIT, (end - 1) / UNIT);
                prop_assert_eq!(&cut.bytes[..], &log[start as usize..end as usize]);
                // Nothing is left out on the way.
                prop_assert!(start <= covered);
                covered = covered.max(end);
            }
            prop_assert_eq!(covered, length as u64);
        }
    }

    #[test]
    fn a_unit_is_given_once_and_pieces_only_of_news() {
        let mut cutter = Cutter::new(UNIT, Lsn(128));
        assert_eq!(cutter.piece(), None);
        assert_eq!(cutter.push(&[1; 10]), []);
        assert_eq!(cutter.piece().unwrap().end(), Lsn(138));
        assert_eq!(cutter.piece(), None);
        let whole = cutter.push(&[2; 60]);
        assert_eq!(
            (whole.len(), whole[0].start, whole[0].end()),
            (1, Lsn(128), Lsn(192))
        );
        assert_eq!(cutter.unit_start(), Lsn(192));
        assert_eq!(cutter.piece().unwrap().bytes[..], [2; 6]);
    }
}
