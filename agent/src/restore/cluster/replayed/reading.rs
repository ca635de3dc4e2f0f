//! Reading log for what matters before it is replayed.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_layout::position::{Lsn, SegmentName, TimelineId};
use strongroom_postgres::wal::{
    Edits, Found, InvalidWal, Layout, Replayed, Scanner, TablespaceCreation,
};

use crate::restore::cluster::ClusterRestoreError;

/// Tablespaces that a log may make: whoever makes more of them than this does
/// not mean well.
const MOST: usize = 10_000;

/// A log while it is read, in order.
#[derive(Debug)]
pub(in super::super) struct Reading {
    scanner: Scanner,
    found: Vec<Found>,
    creations: Vec<TablespaceCreation>,
}

impl Reading {
    /// From `start`, where a segment begins.
    pub(in super::super) fn new(
        layout: Layout,
        timeline: TimelineId,
        start: Lsn,
    ) -> Result<Self, InvalidWal> {
        Ok(Self {
            scanner: Scanner::new(layout, timeline, start)?,
            found: Vec::new(),
            creations: Vec::new(),
        })
    }

    /// The next bytes.
    pub(in super::super) fn feed(&mut self, bytes: &[u8]) -> Result<(), InvalidWal> {
        self.found.clear();
        let fed = self.scanner.feed(bytes, &mut self.found);
        let creations = self.found.drain(..).filter_map(|found| match found {
            Found::Tablespace(creation) if !creation.is_in_place() => Some(creation),
            _ => None,
        });
        let room = (MOST + 1).saturating_sub(self.creations.len());
        self.creations.extend(creations.take(room));
        fed
    }

    /// Behind the last whole record.
    pub(super) fn end(&self) -> Option<Lsn> {
        self.scanner.end_of_records()
    }

    /// Nothing was written behind that.
    pub(super) fn end_reached(&self) -> bool {
        self.scanner.end_reached()
    }
}

/// A part of the log that is replayed in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Stretch {
    /// The tablespaces that it makes, but for those in place.
    pub(in super::super) creations: Vec<TablespaceCreation>,
    /// What of it is replayed from segments of the snapshot.
    held: Vec<(Lsn, Lsn, SegmentName)>,
}

/// What a log does that must be known before it is replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct LogFacts {
    pub(in super::super) stretches: Vec<Stretch>,
    /// Resource managers of extensions, by number.
    pub(in super::super) managers: BTreeSet<u8>,
    /// Where the last whole record begins.
    pub(in super::super) last: Option<Lsn>,
}

impl LogFacts {
    /// What was read, and what of it lies in segments of the snapshot.
    pub(in super::super) fn add(&mut self, reading: Reading, held: Vec<(Lsn, Lsn, SegmentName)>) {
        self.managers.extend(reading.scanner.custom_managers());
        self.last = self.last.max(reading.scanner.last_record());
        self.stretches.push(Stretch {
            creations: reading.creations,
            held,
        });
    }

    /// Whether the log makes the tablespaces that another does, each in the same
    /// record.
    pub(in super::super) fn does_the_same(&self, other: &Self) -> bool {
        let all = |it: &Self| -> Vec<_> {
            it.stretches
                .iter()
                .flat_map(|it| it.creations.clone())
                .collect()
        };
        all(self) == all(other) && self.managers == other.managers
    }

    /// The tablespaces that are made; one that several stretches make alike is
    /// one.
    pub(super) fn creations(&self) -> Result<Vec<&TablespaceCreation>, ClusterRestoreError> {
        let mut all: Vec<&TablespaceCreation> = Vec::new();
        for creation in self.stretches.iter().flat_map(|it| &it.creations) {
            let known = |it: &&TablespaceCreation| {
                it.start == creation.start && it.path == creation.path && it.oid == creation.oid
            };
            if !all.iter().any(known) {
                all.push(creation);
            }
            if all.len() > MOST {
                return Err(ClusterRestoreError::ManyTablespaces { most: MOST });
            }
        }
        Ok(all)
    }

    /// What changes in the log, in that of the archive (of which there is one
    /// stretch) and in each segment of the snapshot.
    pub(super) fn edits(
        &self,
        layout: &Layout,
        replayed: impl Fn(&TablespaceCreation) -> Replayed,
    ) -> (Edits, BTreeMap<SegmentName, Edits>) {
        let mut of_all = Edits::default();
        let mut of_held: BTreeMap<SegmentName, Edits> = BTreeMap::new();
        for stretch in &self.stretches {
            let mut edits = Edits::default();
            for creation in &stretch.creations {
                edits.extend(creation.edits(layout, replayed(creation)));
            }
            for (from, to, segment) in &stretch.held {
                let mut within = edits.within(*from, *to).copied().peekable();
                if within.peek().is_some() {
                    of_held.entry(*segment).or_default().extend(within);
                }
            }
            of_all.extend(edits.within(Lsn(0), Lsn(u64::MAX)).copied());
        }
        (of_all, of_held)
    }
}
