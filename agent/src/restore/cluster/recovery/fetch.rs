//! From parts in the archive to files for the server.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use rustix::fs::OFlags;
use strongroom_compare::beneath;
use strongroom_layout::position::{Lsn, SegmentName};
use strongroom_postgres::wal::Edits;

use super::{
    RecoveryError,
    chain::{Piece, Source},
    directory::{Unfinished, WalDirectory},
    parts::{Opened, Parts, Shelf, Wanted},
    plan::{Asked, Plan, TAKEN},
    scan::vanished,
    segments::Segment,
};
use crate::{
    allowed::AllowedDirectory,
    monitor::Monitor,
    restore::{RestoreError, cluster::single::open_single},
};

/// Bytes copied at once.
const BUFFER: usize = 1 << 20;

/// What fetching took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Files written.
    pub(super) files: u64,
    /// Bytes of log in them.
    pub(super) written: u64,
    /// Bytes that came from the store.
    pub(super) received: u64,
}

/// Where files come from and go to.
pub(super) struct Fetch<'a> {
    pub(super) asked: &'a Asked<'a>,
    pub(super) shelf: &'a Shelf,
    pub(super) directory: &'a WalDirectory,
    /// The data directory: the snapshot's own segments are there.
    pub(super) target: &'a AllowedDirectory,
    pub(super) monitor: &'a Monitor,
    /// Files that are there already.
    pub(super) whole: BTreeSet<String>,
    /// What is changed in the log.
    pub(super) edits: &'a Edits,
    /// Whether the log of another plan does what was consented to, and no more.
    pub(super) verify: &'a dyn Fn(&Plan) -> Result<(), RecoveryError>,
}

impl Fetch<'_> {
    /// Fetches all that the plan says, in the log's order, and counts it in
    /// `done`. For parts that cannot be read, or that vanished since they were
    /// listed, others are looked up.
    pub(super) fn run(&mut self, plan: &Plan, done: &mut Fetched) -> Result<(), RecoveryError> {
        let mut again: Option<Plan> = None;
        loop {
            let plan = again.as_ref().unwrap_or(plan);
            match self.once(plan, done) {
                Err(RecoveryError::Vanished {
                    timeline,
                    at,
                    object,
                    source,
                }) => {
                    let next = self.asked.again(plan, (timeline, at, object, source))?;
                    (self.verify)(&next)?;
                    again = Some(next);
                }
                other => return other,
            }
        }
    }

    fn once(&mut self, plan: &Plan, done: &mut Fetched) -> Result<(), RecoveryError> {
        self.histories(plan, done)?;
        let missing: Vec<_> = plan
            .segments
            .iter()
            .filter(|it| !self.has(plan, it))
            .collect();
        let pieces = || missing.iter().flat_map(|segment| &segment.pieces);
        let mut numbers: Vec<usize> = pieces().filter_map(number).collect();
        // Several segments may lie in one part.
        numbers.dedup();
        let stored: Vec<_> = numbers
            .iter()
            .filter_map(|it| plan.stored.get(*it))
            .collect();
        let mut source = PartSource {
            plan,
            shelf: self.shelf,
            parts: Parts::new(self.shelf, stored.into_iter().map(Wanted::of))?,
            current: None,
            fetched: 0,
            target: self.target,
            edits: self.edits,
        };
        for segment in missing {
            let written = self.segment(plan, segment, &mut source);
            done.received += std::mem::take(&mut source.fetched);
            written?;
            let name = segment.name.file_name(plan.size);
            self.whole.insert(name);
            self.monitor.add(segment.filled);
            done.files += 1;
            done.written += segment.filled;
        }
        Ok(())
    }

    fn has(&self, plan: &Plan, segment: &Segment) -> bool {
        let name = segment.name.file_name(plan.size);
        self.whole.contains(&name) && self.directory.length(&name) == Some(plan.size.bytes())
    }

    fn histories(&mut self, plan: &Plan, done: &mut Fetched) -> Result<(), RecoveryError> {
        let missing = |name: &String| !self.whole.contains(name);
        let wanted: Vec<_> = plan
            .histories
            .iter()
            .map(|it| (it.timeline.history_file(), it))
            .filter(|(name, _)| missing(name))
            .collect();
        let objects = wanted.iter().map(|(_, history)| Wanted {
            object: history.object(),
            length: history.length,
        });
        let mut parts = Parts::new(self.shelf, objects)?;
        let taken = plan.taken.iter().map(|timeline| timeline.history_file());
        for name in taken {
            if !self.whole.contains(&name) {
                self.directory.write(&name, TAKEN)?;
                self.whole.insert(name);
            }
        }
        for (name, _) in wanted {
            if let Some(Opened { plaintext, stored }) = parts.next()? {
                done.received += stored;
                self.directory.write(&name, &plaintext)?;
                self.whole.insert(name);
            }
        }
        Ok(())
    }

    fn segment(
        &self,
        plan: &Plan,
        segment: &Segment,
        source: &mut PartSource<'_>,
    ) -> Result<(), RecoveryError> {
        let name = segment.name.file_name(plan.size);
        let failed = |error| self.failed(&name, plan, error);
        let mut unfinished = self.directory.begin(&name).map_err(failed)?;
        for piece in &segment.pieces {
            source.copy(piece, &mut unfinished, &failed)?;
        }
        let finish = || {
            // Where the archive ends, the segment goes on with zeros.
            unfinished.file.set_len(plan.size.bytes())?;
            self.directory.finish(unfinished)
        };
        finish().map_err(failed)
    }

    fn failed(&self, name: &str, plan: &Plan, error: io::Error) -> RecoveryError {
        let path = self.directory.path().join(name);
        if error.kind() == io::ErrorKind::StorageFull {
            let missing = plan
                .segments
                .iter()
                .filter(|it| !self.has(plan, it))
                .count();
            let remaining = plan.size.bytes().saturating_mul(missing as u64);
            return RestoreError::Full { path, remaining }.into();
        }
        RecoveryError::file("write", path)(error)
    }
}

fn number(piece: &Piece) -> Option<usize> {
    match piece.source {
        Source::Part(number) => Some(number),
        Source::Held(_) => None,
    }
}

/// Parts as they come, the last one kept.
struct PartSource<'a> {
    plan: &'a Plan,
    shelf: &'a Shelf,
    parts: Parts<'a>,
    current: Option<(usize, Vec<u8>)>,
    fetched: u64,
    target: &'a AllowedDirectory,
    edits: &'a Edits,
}

impl PartSource<'_> {
    /// Copies a piece to the end of a file.
    fn copy(
        &mut self,
        piece: &Piece,
        to: &mut Unfinished,
        failed: &impl Fn(io::Error) -> RecoveryError,
    ) -> Result<(), RecoveryError> {
        if self.shelf.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled.into());
        }
        match piece.source {
            Source::Held(number) => self.copy_held(number, piece, to, failed),
            Source::Part(number) => {
                let start = self
                    .plan
                    .stored
                    .get(number)
                    .map_or(Lsn(0), |part| part.start);
                let edits = self.edits;
                let part = self.part(number, piece.from)?;
                let from = piece.from.0.saturating_sub(start.0) as usize;
                let length = piece.to.0.saturating_sub(piece.from.0) as usize;
                // A part that was opened is as long as its place.
                let bytes = part.get_mut(from..from + length).unwrap_or_default();
                edits.apply(piece.from, bytes)?;
                to.file.write_all(bytes).map_err(failed)
            }
        }
    }

    fn part(&mut self, number: usize, at: Lsn) -> Result<&mut [u8], RecoveryError> {
        if self
            .current
            .as_ref()
            .is_none_or(|(there, _)| *there != number)
        {
            // Its memory goes before the next takes some.
            self.current = None;
            let part = self.plan.stored.get(number);
            let next = self.parts.next();
            let next = next.map_err(|error| vanished(error, self.plan, part, at))?;
            if let Some(Opened { plaintext, stored }) = next {
                self.fetched += stored;
                self.current = Some((number, plaintext));
            }
        }
        Ok(self.current.as_mut().map_or(&mut [], |(_, bytes)| bytes))
    }

    /// Copies from a segment of the snapshot, which is restored by now.
    fn copy_held(
        &self,
        number: usize,
        piece: &Piece,
        to: &mut Unfinished,
        failed: &impl Fn(io::Error) -> RecoveryError,
    ) -> Result<(), RecoveryError> {
        let size = self.plan.size;
        let segment: Option<&SegmentName> = self.plan.held.get(number);
        let name = segment.map(|it| it.file_name(size)).unwrap_or_default();
        let path = self.target.path().join("pg_wal").join(&name);
        let open = || -> io::Result<File> {
            let wal = beneath::open_dir(self.target.descriptor()?, b"pg_wal")?;
            open_single(&wal, &name, OFlags::RDONLY)
        };
        let file = open().map_err(RecoveryError::file("open", &path))?;
        let mut buffer = vec![0; BUFFER];
        let mut at = piece.from.0;
        while at < piece.to.0 {
            let left = usize::try_from(piece.to.0 - at).unwrap_or(BUFFER);
            let bytes = &mut buffer[..left.min(BUFFER)];
            file.read_exact_at(bytes, at % size.bytes())
                .map_err(RecoveryError::file("read", &path))?;
            self.edits.apply(Lsn(at), bytes)?;
            to.file.write_all(bytes).map_err(failed)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }
}
