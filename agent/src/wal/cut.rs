//! Cuts a stream of log into what is stored: pure.

use bytes::Bytes;
use strongroom_layout::position::Lsn;
use strongroom_repository::format::wal_digest::WalDigester;
use strongroom_wire::wal::WalDigest;

/// A part to be stored.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Its first byte.
    pub(super) start: Lsn,
    /// Its bytes, at least one.
    pub(super) bytes: Bytes,
    /// Has taken what lies before it in its unit.
    pub(super) digester: WalDigester,
    /// Where, in it, earlier parts of its unit ended.
    pub(super) marks: Vec<Lsn>,
}

impl Cut {
    /// What tells it from another log: at its marks and at its end. Takes a while.
    pub(super) fn digests(&self) -> Vec<WalDigest> {
        let mut digester = self.digester.clone();
        let mut marks = self.marks.clone();
        marks.push(self.end());
        marks.retain(|mark| (self.start..=self.end()).contains(mark));
        marks.sort_unstable();
        marks.dedup();
        let mut taken = 0;
        let digests = marks.into_iter().map(|at| {
            let upto = (at.0 - self.start.0) as usize;
            digester.update(self.bytes.get(taken..upto).unwrap_or_default());
            taken = upto;
            WalDigest {
                at,
                digest: digester.digest(),
            }
        });
        digests.collect()
    }

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
    /// Of nothing.
    fresh: WalDigester,
    /// Has taken those.
    digester: WalDigester,
    /// The archive ends there: no piece ends before it, where nobody could tell
    /// whether it is of the same log.
    mark: Option<Lsn>,
}

impl Cutter {
    /// `start` is where a unit begins; up to `mark` the log is archived already.
    pub(super) fn new(unit: u64, start: Lsn, fresh: WalDigester, mark: Option<Lsn>) -> Self {
        debug_assert_eq!(start.0 % unit, 0);
        Self {
            unit,
            start,
            bytes: Vec::new(),
            given: 0,
            digester: fresh.clone(),
            fresh,
            mark,
        }
    }

    fn given_up_to(&self) -> Lsn {
        Lsn(self.start.0 + self.given as u64)
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
                    digester: self.fresh.clone(),
                    marks: self.marks().collect(),
                });
                self.start.0 += self.unit;
                self.given = 0;
                self.digester = self.fresh.clone();
            }
        }
        whole
    }

    /// What is in no part yet, as a piece.
    pub(super) fn piece(&mut self) -> Option<Cut> {
        let bytes = Bytes::copy_from_slice(self.bytes.get(self.given..)?);
        if bytes.is_empty() || self.mark.is_some_and(|mark| self.end() < mark) {
            return None;
        }
        let piece = Cut {
            start: self.given_up_to(),
            digester: self.digester.clone(),
            marks: self.marks().collect(),
            bytes,
        };
        self.digester.update(&piece.bytes);
        self.given = self.bytes.len();
        Some(piece)
    }

    /// Where parts of this unit ended before.
    fn marks(&self) -> impl Iterator<Item = Lsn> {
        let given = Some(self.given_up_to()).filter(|given| *given > self.start);
        let mark = self.mark.filter(|mark| *mark > self.start);
        given.into_iter().chain(mark)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_repository::format::crypto::MasterKey;

    use super::*;

    const UNIT: u64 = 64;

    fn digester() -> WalDigester {
        WalDigester::new(&MasterKey::from_bytes(&[7; 64]))
    }

    fn cutter(start: u64, mark: Option<Lsn>) -> Cutter {
        Cutter::new(UNIT, Lsn(start), digester(), mark)
    }

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
            let mut cutter = cutter(0, None);
            let (mut at, mut covered) = (0, 0);
            let mut cuts = Vec::new();
            for (length, piece) in arrivals {
                cuts.extend(cutter.push(&log[at..at + length]));
                at += length;
                if piece {
                    cuts.extend(cutter.piece());
                    prop_assert!(cutter.piece().is_none());
                }
                prop_assert_eq!(cutter.end(), Lsn(at as u64));
            }
            cuts.extend(cutter.piece());
            for cut in cuts {
                let (start, end) = (cut.start.0, cut.end().0);
                prop_assert!(start < end);
                prop_assert_eq!(start / UNIT, (end - 1) / UNIT);
                prop_assert_eq!(&cut.bytes[..], &log[start as usize..end as usize]);
                // Whatever came before, the digest is that of the unit's bytes.
                let digests = cut.digests();
                prop_assert_eq!(digests.last().map(|it| it.at), Some(cut.end()));
                for said in digests {
                    let mut whole = digester();
                    let unit = start / UNIT * UNIT;
                    whole.update(&log[unit as usize..said.at.0 as usize]);
                    prop_assert_eq!(said.digest, whole.digest());
                }
                // Nothing is left out on the way.
                prop_assert!(start <= covered);
                covered = covered.max(end);
            }
            prop_assert_eq!(covered, length as u64);
        }
    }

    #[test]
    fn a_unit_is_given_once_and_pieces_only_of_news() {
        let mut cutter = cutter(128, None);
        assert!(cutter.piece().is_none());
        assert!(cutter.push(&[1; 10]).is_empty());
        assert_eq!(cutter.piece().unwrap().end(), Lsn(138));
        assert!(cutter.piece().is_none());
        let whole = cutter.push(&[2; 60]);
        assert_eq!(
            (whole.len(), whole[0].start, whole[0].end()),
            (1, Lsn(128), Lsn(192))
        );
        assert_eq!(cutter.unit_start(), Lsn(192));
        assert_eq!(cutter.piece().unwrap().bytes[..], [2; 6]);
        // The unit speaks of where its last piece ended.
        let at: Vec<_> = whole[0].digests().iter().map(|it| it.at.0).collect();
        assert_eq!(at, [138, 192]);
    }

    #[test]
    fn no_piece_ends_before_what_is_archived_and_the_first_speaks_of_it() {
        let mut cutter = cutter(128, Some(Lsn(140)));
        assert!(cutter.push(&[1; 11]).is_empty());
        assert!(cutter.piece().is_none());
        assert!(cutter.push(&[1; 10]).is_empty());
        let piece = cutter.piece().unwrap();
        assert_eq!((piece.start, piece.end()), (Lsn(128), Lsn(149)));
        let at: Vec<_> = piece.digests().iter().map(|it| it.at.0).collect();
        assert_eq!(at, [140, 149]);
        // Whole units before it are given as they come.
        let mut before = self::cutter(0, Some(Lsn(140)));
        assert_eq!(before.push(&[3; 70]).len(), 1);
        assert!(before.piece().is_none());
    }
}
