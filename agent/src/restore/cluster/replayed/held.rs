//! The log that the snapshot itself holds: every segment in its `pg_wal`.

use std::{collections::BTreeMap, os::unix::fs::FileExt};

use rustix::fs::OFlags;
use strongroom_compare::beneath;
use strongroom_layout::position::{Lsn, SegmentName, SegmentSize, TimelineId};
use strongroom_postgres::{
    physical::manifest::{Manifest, PGDATA},
    wal::{DEFAULT_BLOCK_SIZE, Edits, InvalidWal, Layout, block_size},
};
use strongroom_repository::format::node::{Node, NodeKind};

use super::reading::{LogFacts, Reading};
use crate::{
    allowed::AllowedDirectory,
    restore::{
        RestoreError,
        cluster::{ClusterRestoreError, single::open_single},
        stream::SnapshotFiles,
    },
};

/// See the module.
pub(in super::super) struct HeldLog {
    files: SnapshotFiles,
    segments: BTreeMap<SegmentName, Node>,
    layout: Layout,
}

impl HeldLog {
    /// Finds the segments, and looks into the first.
    pub(in super::super) fn open(
        files: SnapshotFiles,
        manifest: &Manifest,
    ) -> Result<Self, ClusterRestoreError> {
        let size = manifest.wal_segment_size;
        let directory = files.entry(&format!("/{PGDATA}/pg_wal"))?;
        let mut segments = BTreeMap::new();
        for node in files.children(directory.as_ref())? {
            let name = std::str::from_utf8(&node.name);
            if let Some(name) = name.ok().and_then(|name| SegmentName::parse(name, size)) {
                segments.insert(name, node);
            }
        }
        let mut held = Self {
            files,
            segments,
            layout: Layout {
                major: manifest.major,
                system_identifier: manifest.system_identifier.parse().unwrap_or_default(),
                segment_size: size,
                block_size: DEFAULT_BLOCK_SIZE,
            },
        };
        let first = held.segments.keys().next().copied();
        if let Some(first) = first {
            let mut found = None;
            held.read(first, (0, size.bytes()), |bytes| {
                found = found.or(block_size(bytes));
                false
            })?;
            held.layout.block_size = found.unwrap_or(DEFAULT_BLOCK_SIZE);
        }
        Ok(held)
    }

    /// How the cluster's log is cut.
    pub(in super::super) fn layout(&self) -> Layout {
        self.layout
    }

    fn size(&self) -> SegmentSize {
        self.layout.segment_size
    }

    /// What is read of a segment, from one byte of it to before another, goes to
    /// `see` in order, for as long as that wants more.
    pub(in super::super) fn read(
        &self,
        segment: SegmentName,
        (from, to): (u64, u64),
        mut see: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), RestoreError> {
        let path = self.path(segment);
        let node = self.segments.get(&segment);
        let node = node.filter(|node| {
            matches!(&node.kind, NodeKind::File { size, .. } if *size == self.size().bytes())
        });
        let node = node.ok_or_else(|| RestoreError::InvalidPath {
            path: path.clone(),
            problem: "it is no segment of the write-ahead log there",
        })?;
        let mut stream = self.files.content(&path, node)?;
        let mut at: u64 = 0;
        while at < to
            && let Some(piece) = stream.next_piece()?
        {
            let end = at + piece.len() as u64;
            // Within the piece, which is in memory.
            let wanted = from.clamp(at, end) - at..to.clamp(at, end) - at;
            let wanted = &piece[wanted.start as usize..wanted.end as usize];
            if !wanted.is_empty() && !see(wanted) {
                break;
            }
            at = end;
        }
        Ok(())
    }

    fn path(&self, segment: SegmentName) -> String {
        format!("/{PGDATA}/pg_wal/{}", segment.file_name(self.size()))
    }

    /// What the log does that a server replays which has no other: it goes on
    /// behind the backup's end as far as it is valid. That end must be in it.
    pub(in super::super) fn facts(&self, stop: Lsn) -> Result<LogFacts, ClusterRestoreError> {
        let mut facts = LogFacts::default();
        let mut reaches = None;
        let mut invalid = None;
        let mut timelines: Vec<_> = self.segments.keys().map(|it| it.timeline).collect();
        timelines.dedup();
        for timeline in timelines {
            for segments in self.runs(timeline) {
                let (reading, fault) = self.read_all(timeline, &segments)?;
                reaches = reaches.max(reading.end());
                invalid = fault.or(invalid);
                let held = segments.into_iter().map(|it| {
                    let start = it.start(self.size());
                    (start, Lsn(start.0.saturating_add(self.size().bytes())), it)
                });
                let held = held.collect();
                facts.add(reading, held);
            }
        }
        if reaches >= Some(stop) {
            return Ok(facts);
        }
        Err(match invalid {
            Some(invalid) => ClusterRestoreError::HeldLog(invalid),
            None => ClusterRestoreError::ShortLog { stop },
        })
    }

    /// The segments that follow one another as a server of that timeline reads
    /// them: each of that timeline, or of the newest before it.
    fn runs(&self, timeline: TimelineId) -> Vec<Vec<SegmentName>> {
        let mut newest: BTreeMap<u64, SegmentName> = BTreeMap::new();
        // In order of timelines.
        for name in self.segments.keys().filter(|it| it.timeline <= timeline) {
            newest.insert(name.number, *name);
        }
        let mut runs: Vec<Vec<SegmentName>> = Vec::new();
        for name in newest.into_values() {
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|it| it.number + 1 == name.number) => {
                    run.push(name);
                }
                _ => runs.push(vec![name]),
            }
        }
        runs
    }

    /// Reads to the end of what is valid; what ended it, if it was anything but
    /// the end of the segments.
    fn read_all(
        &self,
        timeline: TimelineId,
        segments: &[SegmentName],
    ) -> Result<(Reading, Option<InvalidWal>), ClusterRestoreError> {
        let start = segments.first().map_or(Lsn(0), |it| it.start(self.size()));
        let mut reading = Reading::new(self.layout, timeline, start)?;
        for segment in segments {
            let mut fed = Ok(());
            self.read(*segment, (0, self.size().bytes()), |bytes| {
                fed = reading.feed(bytes);
                fed.is_ok()
            })?;
            if let Err(invalid) = fed {
                return Ok((reading, Some(invalid)));
            }
            if reading.end_reached() {
                break;
            }
        }
        Ok((reading, None))
    }
}

/// Makes edits in the segments of a data directory. It came from a snapshot: no
/// link in it is followed.
pub(super) fn edit(
    target: &AllowedDirectory,
    size: SegmentSize,
    all: &BTreeMap<SegmentName, Edits>,
) -> Result<(), ClusterRestoreError> {
    let path = target.path().join("pg_wal");
    let open = || beneath::open_dir(target.descriptor()?, b"pg_wal");
    let directory = open().map_err(ClusterRestoreError::file("open", &path))?;
    for (segment, edits) in all {
        let name = segment.file_name(size);
        let path = path.join(&name);
        let failed = |operation| ClusterRestoreError::file(operation, &path);
        let file = open_single(&directory, &name, OFlags::RDWR).map_err(failed("open"))?;
        let start = segment.start(size);
        for edit in edits.within(start, Lsn(start.0.saturating_add(size.bytes()))) {
            let mut byte = [0];
            let at = edit.at.0 - start.0;
            file.read_exact_at(&mut byte, at).map_err(failed("read"))?;
            edits.apply(edit.at, &mut byte)?;
            file.write_all_at(&byte, at).map_err(failed("write"))?;
        }
        file.sync_all().map_err(failed("write to disk"))?;
    }
    Ok(())
}
