//! Files of a server's log.

use std::io::{self, Read as _};

use bytes::Bytes;
use jiff::Timestamp;
use strongroom_layout::position::{Lsn, SegmentName, TimelineId};
use strongroom_postgres::wal::{History, Layout};
use strongroom_repository::format::wal_digest::WalDigester;
use strongroom_runtime::buffers::Buffers;
use strongroom_spec::Leg;
use strongroom_wire::wal::UNIT;

use super::{
    super::{
        WalError,
        cut::Cut,
        resume::Archived,
        summary::{Reader, Summary},
    },
    directory::{LogDirectory, unreadable},
};

/// Larger history files are none.
const LONGEST_HISTORY: u64 = 1 << 20;

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A segment.
    Segment(SegmentName),
    /// A timeline's history.
    History(TimelineId),
    /// What nobody needs who restores from here: a base backup's own note
    /// (snapshots have theirs), and the last, partial segment of a timeline
    /// (the next timeline begins with a copy of it).
    Needless,
}

impl Kind {
    /// `None`: no file of a log that a server would push.
    pub(super) fn of(name: &str, layout: Layout) -> Option<Self> {
        if let Some(segment) = SegmentName::parse(name, layout.segment_size) {
            return Some(Self::Segment(segment));
        }
        if let Some(timeline) = TimelineId::of_history_file(name) {
            return Some(Self::History(timeline));
        }
        let (first, rest) = name.split_once('.')?;
        SegmentName::parse(first, layout.segment_size)?;
        let is_note = |rest: &str| {
            rest.strip_suffix(".backup").is_some_and(|offset| {
                offset.len() == 8 && offset.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        let needless = rest == "partial" || is_note(rest);
        needless.then_some(Self::Needless)
    }
}

/// By what a segment is told from others at its place.
pub(super) struct Compare {
    pub(super) digester: WalDigester,
    /// Where the archive of its timeline ended.
    pub(super) tail: Option<Lsn>,
}

/// A file that was read.
pub(super) enum Read {
    /// And what is archived once all of it is.
    Segment(Archived, Segment),
    History(TimelineId, HistoryFile),
}

/// Reads the file of that name and kind, a segment into memory of `buffers`. No
/// error says what is in it. Blocks.
pub(super) fn read(
    log: &LogDirectory,
    file: &str,
    kind: Kind,
    layout: Layout,
    buffers: &Buffers,
    compare: &Compare,
) -> Result<Read, WalError> {
    match kind {
        Kind::Segment(segment) => {
            let whole = Archived {
                timeline: segment.timeline,
                end: end_of(segment, layout),
            };
            let segment = read_segment(log, file, segment, layout, (buffers, compare))?;
            Ok(Read::Segment(whole, segment))
        }
        Kind::History(timeline) => {
            let history = read_history(log, file, timeline)?;
            Ok(Read::History(timeline, history))
        }
        Kind::Needless => Err(WalError::Cancelled),
    }
}

/// A segment, read and read along.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) timeline: TimelineId,
    pub(super) parts: Vec<(Cut, Summary)>,
    /// The time of the last commit in it.
    pub(super) last_commit: Option<Timestamp>,
}

/// Reads a segment. Blocks.
fn read_segment(
    log: &LogDirectory,
    file: &str,
    name: SegmentName,
    layout: Layout,
    (buffers, compare): (&Buffers, &Compare),
) -> Result<Segment, WalError> {
    let path = log.path_of(file);
    let wrong = |cause: String| unreadable(&path)(io::Error::other(cause));
    let (mut file, length) = log.file(file).map_err(unreadable(&path))?;
    let size = layout.segment_size.bytes();
    if length != size {
        return Err(wrong(format!("it has {length} bytes instead of {size}")));
    }
    let first = name.start(layout.segment_size);
    let mut reader = Reader::new(layout, name.timeline, first);
    let mut parts = Vec::new();
    // Both are powers of two.
    let unit = UNIT.min(size);
    for start in (first.0..first.0 + size).step_by(unit as usize).map(Lsn) {
        let mut bytes = buffers.buffer(unit as usize);
        let read = file.by_ref().take(unit).read_to_end(&mut bytes);
        if read.map_err(unreadable(&path))? as u64 != unit {
            return Err(wrong(format!("it was cut off at {start} as it was read")));
        }
        match reader.read(&bytes, Timestamp::MAX) {
            // Whatever it is, it is not told: it may be anybody's file.
            Err(error) if error.at == first => {
                let cause = "its first page is not that of this segment of this server's log";
                return Err(wrong(cause.into()));
            }
            _ => {}
        }
        let bytes = buffers.share(bytes);
        let cut = Cut {
            start,
            bytes,
            digester: compare.digester.clone(),
            marks: compare
                .tail
                .filter(|end| *end > start)
                .into_iter()
                .collect(),
        };
        let summary = reader.summary(start, cut.end());
        parts.push((cut, summary));
    }
    let commits = parts.iter().filter_map(|(_, summary)| summary.commits);
    Ok(Segment {
        timeline: name.timeline,
        last_commit: commits
            .map(|it| it.last)
            .filter(|at| *at < Timestamp::MAX)
            .max(),
        parts,
    })
}

/// A timeline's history.
#[derive(Debug)]
pub(super) struct HistoryFile {
    pub(super) content: Bytes,
    pub(super) legs: Vec<Leg>,
}

/// Reads a history file. Blocks.
fn read_history(
    log: &LogDirectory,
    file: &str,
    timeline: TimelineId,
) -> Result<HistoryFile, WalError> {
    let path = log.path_of(file);
    let wrong = |cause: String| unreadable(&path)(io::Error::other(cause));
    let (file, length) = log.file(file).map_err(unreadable(&path))?;
    if length > LONGEST_HISTORY {
        return Err(wrong(format!(
            "it has {length} bytes, which no history file has"
        )));
    }
    let mut content = Vec::new();
    let read = file.take(LONGEST_HISTORY).read_to_end(&mut content);
    read.map_err(unreadable(&path))?;
    let history = History::parse(timeline, &content);
    // The error would quote it.
    let history = history.map_err(|_| wrong(format!("it is no history of timeline {timeline}")))?;
    let legs = history.entries().iter().map(|entry| Leg {
        timeline: entry.timeline,
        until: Some(entry.switch),
    });
    Ok(HistoryFile {
        legs: legs.collect(),
        content: content.into(),
    })
}

/// Behind a segment.
fn end_of(segment: SegmentName, layout: Layout) -> Lsn {
    let start = segment.start(layout.segment_size);
    Lsn(start.0.saturating_add(layout.segment_size.bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use strongroom_layout::position::SegmentSize;
    use strongroom_repository::format::crypto::MasterKey;
    use strongroom_tests::scratch::Scratch;

    use super::*;

    fn compare() -> Compare {
        Compare {
            digester: WalDigester::new(&MasterKey::from_bytes(&[7; 64])),
            tail: None,
        }
    }

    fn log(scratch: &Scratch) -> LogDirectory {
        scratch.dir("data/pg_wal");
        LogDirectory::of_server(&scratch.join("data")).unwrap()
    }

    fn layout() -> Layout {
        Layout {
            major: 15,
            system_identifier: 7,
            segment_size: SegmentSize::new(16 << 20).unwrap(),
            block_size: 8192,
        }
    }

    #[test]
    fn only_files_of_a_log_are_taken() {
        let kind = |name| Kind::of(name, layout());
        assert!(matches!(
            kind("000000020000000000000005"),
            Some(Kind::Segment(segment)) if segment.number == 5
        ));
        assert_eq!(
            kind("0000001F.history"),
            Some(Kind::History(TimelineId(31)))
        );
        for name in [
            "000000020000000000000005.partial",
            "000000020000000000000005.00000028.backup",
        ] {
            assert_eq!(kind(name), Some(Kind::Needless), "{name}");
        }
        for name in [
            "",
            "..",
            "archive_status",
            "../../etc/shadow",
            "000000020000000000000005.",
            "x.partial",
            "x.backup",
            "000000020000000000000005.partial/../../x",
            "000000020000000000000005./../../x.backup",
        ] {
            assert_eq!(kind(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_segment_of_that_name_is_refused() {
        let scratch = Scratch::new("wal-files");
        let log = log(&scratch);
        let name = SegmentName {
            timeline: TimelineId(1),
            number: 2,
        };
        let refused = |content: Option<Vec<u8>>| {
            if let Some(content) = content {
                fs::write(log.path_of("file"), content).unwrap();
            }
            let read = read_segment(
                &log,
                "file",
                name,
                layout(),
                (&Buffers::default(), &compare()),
            );
            read.unwrap_err().to_string()
        };
        let error = refused(None);
        assert!(error.contains("No such file"), "{error}");
        let error = refused(Some(vec![0; 100]));
        assert!(error.contains("100 bytes"), "{error}");
        let error = refused(Some(b"hush".repeat(4 << 20)));
        let nothing_of_it = "its first page is not that of this segment of this server's log";
        let path = log.path_of("file").display().to_string();
        assert!(error.starts_with(&format!("cannot read {path}: {nothing_of_it};")));
    }

    #[test]
    fn nothing_of_a_file_that_is_no_history_is_told() {
        let scratch = Scratch::new("wal-history");
        let log = log(&scratch);
        let read = |content: &[u8]| {
            fs::write(log.path_of("file"), content).unwrap();
            read_history(&log, "file", TimelineId(2))
        };
        let error = read(b"the password is hush\n").unwrap_err().to_string();
        assert!(error.contains("no history of timeline 2"), "{error}");
        assert!(!error.contains("hush"), "{error}");
        let error = read(&vec![b'#'; 2 << 20]).unwrap_err().to_string();
        assert!(error.contains("which no history file has"), "{error}");
        assert_eq!(read(b"1\t0/5000000\tpromoted\n").unwrap().legs.len(), 1);
    }

    #[test]
    fn a_large_segment_is_read_unit_by_unit_and_none_of_it_is_lost() {
        let scratch = Scratch::new("wal-large");
        let layout = Layout {
            segment_size: SegmentSize::new(32 << 20).unwrap(),
            ..layout()
        };
        let name = SegmentName {
            timeline: TimelineId(1),
            number: 3,
        };
        // A first page on which nothing was written, and whatever behind it.
        let mut log = vec![0; 8192];
        log.extend(strongroom_tests::noise(1, (32 << 20) - log.len()));
        let directory = self::log(&scratch);
        fs::write(directory.path_of("large"), &log).unwrap();
        let segment = read_segment(
            &directory,
            "large",
            name,
            layout,
            (&Buffers::default(), &compare()),
        );
        let segment = segment.unwrap();
        let parts: Vec<_> = segment.parts.iter().map(|(cut, _)| cut).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].start, name.start(layout.segment_size));
        assert_eq!(parts[1].start, parts[0].end());
        let whole = [&parts[0].bytes[..], &parts[1].bytes[..]].concat();
        assert!(whole == log);
    }
}
