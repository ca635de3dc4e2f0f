//! Looks into the log itself, before anything is written.

use strongroom_layout::position::Lsn;
use strongroom_postgres::wal::{DEFAULT_BLOCK_SIZE, Found, Layout, Scanner};
use strongroom_spec::Leg;
use strongroom_wire::wal::{StoredWal, UNIT};

use super::{
    RecoveryError,
    chain::{Piece, Source, timeline_at},
    parts::{Parts, Shelf, Wanted},
    reach::Seek,
};

/// Fed to the scanner at once where it matters between which records a
/// position lies: no record is shorter.
const STEP: usize = 8;

/// The log, put together.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    pub(super) stored: &'a [StoredWal],
    pub(super) pieces: &'a [Piece],
    pub(super) legs: &'a [Leg],
    pub(super) layout: Layout,
}

/// Answers a question; `None`: nothing of that kind is there.
pub(super) fn seek(seek: &Seek, log: Log<'_>, shelf: &Shelf) -> Result<Option<Lsn>, RecoveryError> {
    match seek {
        Seek::Commit { xid, ranges } => first(ranges, log, shelf, |found| match found {
            Found::Commit { end, xid: it, .. } if it == xid => Some(*end),
            _ => None,
        }),
        Seek::Later { than, ranges } => {
            let than = than.as_microsecond();
            first(ranges, log, shelf, |found| match found {
                Found::Commit { end, at, .. } if *at > than => Some(*end),
                _ => None,
            })
        }
        Seek::Last { upto, ranges } => last(*upto, ranges, log, shelf),
        Seek::Record { lsn } => record_from(*lsn, log, shelf),
    }
}

/// The first in the ranges that `wanted` gives an end of. A record may have
/// begun in the unit before that in which it ends.
fn first(
    ranges: &[(Lsn, Lsn)],
    log: Log<'_>,
    shelf: &Shelf,
    wanted: impl Fn(&Found) -> Option<Lsn>,
) -> Result<Option<Lsn>, RecoveryError> {
    for (from, to) in ranges {
        let unit = from.0 / UNIT * UNIT;
        let mut hit = None;
        let mut all = Vec::new();
        log.read(
            (Lsn(unit.saturating_sub(UNIT)), *to),
            shelf,
            |scanner, bytes| {
                all.clear();
                scanner.feed(bytes, &mut all)?;
                let found = all.iter().filter_map(&wanted);
                hit = hit.or(found.filter(|end| end <= to).min());
                Ok(hit.is_none())
            },
        )?;
        if hit.is_some() {
            return Ok(hit);
        }
    }
    Ok(None)
}

/// The end of the last commit in the ranges, of which those that end last come
/// first: what ends behind a range lies in one that was looked at before.
fn last(
    upto: Lsn,
    ranges: &[(Lsn, Lsn)],
    log: Log<'_>,
    shelf: &Shelf,
) -> Result<Option<Lsn>, RecoveryError> {
    for (from, to) in ranges {
        let unit = from.0 / UNIT * UNIT;
        let end = (*to).min(upto);
        let mut hit = None;
        let mut all = Vec::new();
        log.read(
            (Lsn(unit.saturating_sub(UNIT)), end),
            shelf,
            |scanner, bytes| {
                all.clear();
                scanner.feed(bytes, &mut all)?;
                let commits = all.iter().filter_map(|found| match found {
                    Found::Commit { end, .. } => Some(*end),
                    _ => None,
                });
                hit = hit.max(commits.filter(|at| from < at && *at <= end).max());
                Ok(true)
            },
        )?;
        if hit.is_some() {
            return Ok(hit);
        }
    }
    Ok(None)
}

/// `lsn`, which is the end of a record, when a whole one is behind it: a server
/// that is to stop at the first that begins there or behind needs one to see.
fn record_from(lsn: Lsn, log: Log<'_>, shelf: &Shelf) -> Result<Option<Lsn>, RecoveryError> {
    let mut found = false;
    let mut all = Vec::new();
    let end = log.pieces.last().map_or(lsn, |piece| piece.to);
    log.read((lsn, end), shelf, |scanner, bytes| {
        let before = lsn.0.saturating_sub(scanner.position().0);
        let (before, rest) = bytes.split_at((before as usize).min(bytes.len()));
        scanner.feed(before, &mut all)?;
        let known = scanner.end_of_records();
        for step in rest.chunks(STEP) {
            all.clear();
            scanner.feed(step, &mut all)?;
            found = scanner.end_of_records() != known;
            if found || scanner.end_reached() {
                break;
            }
        }
        Ok(!found)
    })?;
    Ok(found.then_some(lsn))
}

impl Log<'_> {
    /// Feeds a scanner with the log from the page of `from` on, for as long as
    /// `see` wants more. Starts behind what only the snapshot holds: no target
    /// lies in that.
    fn read(
        &self,
        (from, to): (Lsn, Lsn),
        shelf: &Shelf,
        mut see: impl FnMut(&mut Scanner, &[u8]) -> Result<bool, RecoveryError>,
    ) -> Result<(), RecoveryError> {
        let page = u64::from(self.layout.block_size);
        let from = Lsn(from.0 / page * page);
        let held = |piece: &Piece| matches!(piece.source, Source::Held(_));
        let archived = self
            .pieces
            .iter()
            .rposition(held)
            .map_or(0, |last| last + 1);
        let pieces: Vec<_> = self
            .pieces
            .iter()
            .skip(archived)
            .filter(|piece| from < piece.to && piece.from < to)
            .filter_map(|piece| match piece.source {
                Source::Part(number) => Some((*piece, self.stored.get(number)?)),
                Source::Held(_) => None,
            })
            .collect();
        let Some((first, _)) = pieces.first() else {
            return Ok(());
        };
        let start = from.max(first.from).0.div_ceil(page).saturating_mul(page);
        let timeline = timeline_at(self.legs, to);
        let mut scanner = Scanner::new(self.layout, timeline, Lsn(start))?;
        let wanted = pieces.iter().map(|(_, part)| Wanted::of(part));
        let mut parts = Parts::new(shelf, wanted)?;
        for (piece, part) in &pieces {
            let Some(opened) = parts.next()? else {
                break;
            };
            let (mut at, end) = (piece.from.max(Lsn(start)), piece.to.min(to));
            while at < end {
                let (first, next) = self.segment(at);
                if scanner.end_reached() && at == first {
                    // We began where a segment had ended early.
                    scanner = Scanner::new(self.layout, timeline, at)?;
                }
                let until = end.min(next);
                let range = offset(part, at)..offset(part, until);
                if !see(
                    &mut scanner,
                    opened.plaintext.get(range).unwrap_or_default(),
                )? {
                    return Ok(());
                }
                at = until;
            }
        }
        Ok(())
    }

    /// The first byte of the segment that holds `lsn`, and that of the next.
    fn segment(&self, lsn: Lsn) -> (Lsn, Lsn) {
        let size = self.layout.segment_size;
        let first = size.segment_of(lsn) * size.bytes();
        (Lsn(first), Lsn(first.saturating_add(size.bytes())))
    }
}

fn offset(part: &StoredWal, lsn: Lsn) -> usize {
    // Within a part, which is in memory.
    lsn.0.saturating_sub(part.start.0) as usize
}

impl Wanted {
    /// A part of the log.
    pub(super) fn of(part: &StoredWal) -> Self {
        Self {
            object: part.object(),
            length: part.length,
        }
    }
}

/// How the log of a cluster is cut.
pub(super) fn layout(
    major: u32,
    system: strongroom_layout::SystemId,
    segment_size: strongroom_layout::position::SegmentSize,
) -> Layout {
    Layout {
        major,
        system_identifier: system.0,
        segment_size,
        block_size: DEFAULT_BLOCK_SIZE,
    }
}
