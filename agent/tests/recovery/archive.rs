//! An archive of logs, as an agent that streams them fills it: in pieces,
//! sealed, with what the catalog knows of each.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use futures::future::{BoxFuture, ready};
use jiff::Timestamp;
use strongroom_agent::restore::cluster::recovery::LogIndex;
use strongroom_layout::{
    ObjectId, SystemId, WalPart,
    position::{Lsn, SegmentName, SegmentSize, TimelineId},
};
use strongroom_postgres::wal::{DEFAULT_BLOCK_SIZE, Found, History, Layout, Scanner};
use strongroom_repository::{
    Repository,
    format::wal::{WalCodec, WalPlace},
    store::{Body, StoreError},
};
use strongroom_spec::Leg;
use strongroom_wire::wal::{
    ArchivedWalResponse, Commits, StoredHistory, StoredWal, UNIT, WalRange,
};
use tokio::runtime::Runtime;

pub(crate) struct Archive {
    pub(crate) layout: Layout,
    repository: Arc<Repository>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    stored: Vec<StoredWal>,
    histories: BTreeMap<TimelineId, StoredHistory>,
    /// Behind what is archived.
    ends: BTreeMap<TimelineId, Lsn>,
    /// How often parts were listed.
    listed: usize,
    /// What takes their place when they are listed again.
    later: Option<Vec<StoredWal>>,
}

impl Archive {
    pub(crate) fn new(repository: Arc<Repository>, system: SystemId, major: u32) -> Self {
        let layout = Layout {
            major,
            system_identifier: system.0,
            segment_size: SegmentSize::new(16 << 20).expect("a size"),
            block_size: DEFAULT_BLOCK_SIZE,
        };
        Self {
            layout,
            repository,
            known: Mutex::default(),
        }
    }

    /// Archives a timeline's log up to `end`, from the segments in a data
    /// directory, in pieces of some length; goes on where it ended before.
    pub(crate) fn take(&self, runtime: &Runtime, data: &Path, timeline: u32, end: Lsn, piece: u64) {
        let timeline = TimelineId(timeline);
        let segments = segments(data, timeline, self.layout.segment_size);
        let first = segments.keys().next().expect("a segment is there");
        let start = SegmentName {
            timeline,
            number: *first,
        };
        let start = start.start(self.layout.segment_size);
        let before = self
            .known
            .lock()
            .expect("no panic")
            .ends
            .insert(timeline, end);
        let mut at = before.unwrap_or(start);
        let mut scanner = None;
        while at < end {
            let unit = Lsn((at.0 / UNIT + 1) * UNIT);
            let to = Lsn(at.0 + piece).min(unit).min(end);
            let bytes = read(&segments, self.layout.segment_size, at, to);
            let scanner = scanner.get_or_insert_with(|| {
                // What was read before matters to where records end.
                let from = Lsn(self.layout.segment_size.segment_of(at) * UNIT);
                let mut scanner = Scanner::new(self.layout, timeline, from).expect("a segment");
                let before = read(&segments, self.layout.segment_size, from, at);
                scanner.feed(&before, &mut Vec::new()).expect("a valid log");
                scanner
            });
            let mut found = Vec::new();
            scanner.feed(&bytes, &mut found).expect("a valid log");
            let part = self.seal(timeline, at, to, &bytes, runtime);
            let commits = commits(&found);
            let mut known = self.known.lock().expect("no panic");
            known.stored.push(StoredWal { commits, ..part });
            at = to;
        }
    }

    /// Archives a history file.
    pub(crate) fn take_history(&self, runtime: &Runtime, data: &Path, timeline: u32) {
        let timeline = TimelineId(timeline);
        let path = data.join("pg_wal").join(timeline.history_file());
        let content = fs::read(path).expect("a history file");
        let place = WalPlace {
            system: SystemId(self.layout.system_identifier),
            timeline,
            part: WalPart::History,
        };
        let (id, length) = self.put(runtime, place, &content);
        let history = History::parse(timeline, &content).expect("a history");
        let legs = history.entries().iter().map(|entry| Leg {
            timeline: entry.timeline,
            until: Some(entry.switch),
        });
        let stored = StoredHistory {
            system: place.system,
            timeline,
            id,
            length,
            legs: legs.collect(),
            digest: None,
        };
        let histories = &mut self.known.lock().expect("no panic").histories;
        histories.insert(timeline, stored);
    }

    fn seal(
        &self,
        timeline: TimelineId,
        start: Lsn,
        end: Lsn,
        bytes: &[u8],
        runtime: &Runtime,
    ) -> StoredWal {
        let place = WalPlace {
            system: SystemId(self.layout.system_identifier),
            timeline,
            part: WalPart::Range { start, end },
        };
        let (id, length) = self.put(runtime, place, bytes);
        StoredWal {
            system: place.system,
            timeline,
            start,
            end,
            id,
            length,
            commits: None,
            restore_points: vec![],
            digests: vec![],
        }
    }

    fn put(
        &self,
        runtime: &Runtime,
        place: WalPlace,
        bytes: &[u8],
    ) -> (strongroom_layout::ObjectId, u64) {
        let mut codec = WalCodec::new().expect("zstd");
        let sealed = codec.seal(self.repository.key(), place, 1, bytes);
        let (name, sealed) = sealed.expect("a part");
        let length = sealed.len() as u64;
        let object = strongroom_layout::ObjectName::Wal(name);
        let put = self.repository.store().put(object, Body::new(sealed));
        runtime.block_on(put).expect("stored");
        (name.id, length)
    }

    /// From a position within a part to its end.
    pub(crate) fn part_from(&self, runtime: &Runtime, data: &Path, from: Lsn) -> Option<StoredWal> {
        let timeline = TimelineId(1);
        let next = self.parts().into_iter().find(|part| part.start > from)?;
        let segments = segments(data, timeline, self.layout.segment_size);
        let bytes = read(&segments, self.layout.segment_size, from, next.start);
        Some(self.seal(timeline, from, next.start, &bytes, runtime))
    }

    /// A part's place with another content: one byte differs.
    pub(crate) fn forged(
        &self,
        runtime: &Runtime,
        data: &Path,
        part: &StoredWal,
        at: Lsn,
    ) -> StoredWal {
        let segments = segments(data, part.timeline, self.layout.segment_size);
        let mut bytes = read(&segments, self.layout.segment_size, part.start, part.end);
        bytes[(at.0 - part.start.0) as usize] ^= 1;
        let forged = self.seal(part.timeline, part.start, part.end, &bytes, runtime);
        StoredWal {
            commits: part.commits,
            ..forged
        }
    }

    /// A part's place up to some end, with what nobody can open.
    pub(crate) fn junk(&self, runtime: &Runtime, part: &StoredWal, end: Lsn) -> StoredWal {
        let junk = StoredWal {
            end,
            id: ObjectId([0x5a; 32]),
            length: 4,
            ..part.clone()
        };
        let put = self
            .repository
            .store()
            .put(junk.object(), Body::new(b"junk".to_vec()));
        runtime.block_on(put).expect("stored");
        junk
    }

    /// Where these bytes lie in the log that is archived, first.
    pub(crate) fn find(&self, data: &Path, bytes: &[u8]) -> Lsn {
        let size = self.layout.segment_size;
        for part in self.parts() {
            let segments = segments(data, part.timeline, size);
            let log = read(&segments, size, part.start, part.end);
            let found = log.windows(bytes.len()).position(|it| it == bytes);
            if let Some(at) = found {
                return Lsn(part.start.0 + at as u64);
            }
        }
        panic!("it is not in the log");
    }

    /// Where the archived log of a timeline ends.
    pub(crate) fn end(&self, timeline: u32) -> Lsn {
        self.known.lock().expect("no panic").ends[&TimelineId(timeline)]
    }

    pub(crate) fn history(&self, timeline: u32) -> StoredHistory {
        self.known.lock().expect("no panic").histories[&TimelineId(timeline)].clone()
    }

    pub(crate) fn parts(&self) -> Vec<StoredWal> {
        self.known.lock().expect("no panic").stored.clone()
    }

    /// Changes what is listed.
    pub(crate) fn set_parts(&self, stored: Vec<StoredWal>) {
        self.known.lock().expect("no panic").stored = stored;
    }

    /// Merges all parts of each unit into one, which is what is listed from
    /// the second time on; those before are gone from the store if they are to be.
    pub(crate) fn supersede(&self, runtime: &Runtime, data: &Path, remove: bool) {
        let before = self.parts();
        let mut units: BTreeMap<(TimelineId, u64), Vec<StoredWal>> = BTreeMap::new();
        for part in &before {
            let unit = (part.timeline, part.start.0 / UNIT);
            units.entry(unit).or_default().push(part.clone());
        }
        let mut merged = Vec::new();
        for ((timeline, _), parts) in units {
            let start = parts.first().expect("not empty").start;
            let end = parts.last().expect("not empty").end;
            let segments = segments(data, timeline, self.layout.segment_size);
            let bytes = read(&segments, self.layout.segment_size, start, end);
            let part = self.seal(timeline, start, end, &bytes, runtime);
            let commits: Vec<_> = parts.iter().filter_map(|it| it.commits).collect();
            let commits = commits.into_iter().reduce(|a, b| Commits {
                count: a.count + b.count,
                last: a.last.max(b.last),
                first_xid: a.first_xid.min(b.first_xid),
                last_xid: a.last_xid.max(b.last_xid),
            });
            merged.push(StoredWal { commits, ..part });
        }
        let kept: Vec<_> = merged.iter().map(|it| it.id).collect();
        for part in before.iter().filter(|it| remove && !kept.contains(&it.id)) {
            let removed = self.repository.store().remove(part.object());
            runtime.block_on(removed).expect("removed");
        }
        let mut known = self.known.lock().expect("no panic");
        (known.later, known.listed) = (Some(merged), 0);
    }
}

impl LogIndex for Archive {
    fn archived(
        &self,
        (system, line): (SystemId, u32),
        range: Option<WalRange>,
    ) -> BoxFuture<'_, Result<ArchivedWalResponse, StoreError>> {
        assert_eq!((system.0, line), (self.layout.system_identifier, 0));
        let mut known = self.known.lock().expect("no panic");
        if known.listed > 0
            && let Some(later) = known.later.take()
        {
            known.stored = later;
        }
        known.listed += 1;
        let range = range.expect("parts are wanted");
        let inside = |part: &&StoredWal| {
            part.timeline == range.timeline
                && part.start >= range.from
                && range.to.is_none_or(|to| part.start < to)
        };
        let mut stored: Vec<_> = known.stored.iter().filter(inside).cloned().collect();
        stored.sort_by_key(|part| part.start);
        Box::pin(ready(Ok(ArchivedWalResponse {
            stored,
            more: false,
            histories: known.histories.values().cloned().collect(),
            tails: BTreeMap::new(),
        })))
    }
}

fn commits(found: &[Found]) -> Option<Commits> {
    let commits = found.iter().filter_map(|found| match found {
        Found::Commit { xid, at, .. } => Some((*xid, *at)),
        _ => None,
    });
    let commits: Vec<_> = commits.collect();
    let last = commits.iter().map(|(_, at)| *at).max()?;
    Some(Commits {
        count: commits.len() as u64,
        last: Timestamp::from_microsecond(last).expect("a time"),
        first_xid: commits.iter().map(|(xid, _)| *xid).min()?,
        last_xid: commits.iter().map(|(xid, _)| *xid).max()?,
    })
}

/// The segments of a timeline that are used, by number: those that are kept
/// for later have the names of later ones.
fn segments(
    data: &Path,
    timeline: TimelineId,
    size: SegmentSize,
) -> BTreeMap<u64, std::path::PathBuf> {
    let entries = fs::read_dir(data.join("pg_wal")).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let segment = SegmentName::parse(name, size)?;
            (segment.timeline == timeline).then_some((segment.number, path))
        })
        .collect()
}

fn read(
    segments: &BTreeMap<u64, std::path::PathBuf>,
    size: SegmentSize,
    from: Lsn,
    to: Lsn,
) -> Vec<u8> {
    if from == to {
        return Vec::new();
    }
    let number = size.segment_of(from);
    let bytes = fs::read(&segments[&number]).expect("a segment");
    let start = number * size.bytes();
    bytes[(from.0 - start) as usize..(to.0 - start) as usize].to_vec()
}
