//! The part of the write-ahead log that makes a backup consistent.
//!
//! Read from `pg_wal` when the server has ended the backup: the segments from
//! the one in which replay begins to the one in which it may end, of whichever
//! timeline, and all history files. Each is checked: a segment that was
//! recycled meanwhile has the right name for a moment only.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering::Relaxed,
};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Stat, statat};
use strongroom_compare::beneath;
use strongroom_postgres::physical::{
    Lsn, SegmentName, SegmentSize, TimelineId,
    backup::Hold,
    control::ControlFile,
    wal::{LONG_HEADER, check_segment},
};
use strongroom_repository::write::{Content, StreamError, WriteError, Writer};

use super::{
    ClusterError,
    access::{Owner, os},
    copy::read_fully,
    survey::Dir,
};
use crate::{
    monitor::Monitor,
    sources::{
        files::{Counts, metadata::size},
        throttle::{Pace, Paced},
    },
};

/// Larger history files are none.
const LARGEST_HISTORY: u64 = 1 << 20;

/// A file of the log in the snapshot.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) name: String,
    pub(super) stat: Stat,
    pub(super) content: Content,
    /// Otherwise a history file.
    pub(super) is_segment: bool,
}

/// What is to be read, and from where.
pub(super) struct Log<'a> {
    pub(super) dir: &'a Dir,
    pub(super) control: &'a ControlFile,
    pub(super) major: u32,
    pub(super) start: Lsn,
    pub(super) stop: Lsn,
    pub(super) hold: &'a Hold,
    pub(super) owner: &'a Owner,
    pub(super) monitor: &'a Monitor,
    pub(super) counts: &'a Counts,
    pub(super) pace: &'a Pace,
}

/// The segments among `names` that replay from `start` to `stop` may need, in
/// order. Or the name of one that is missing, on the timeline `timeline` or
/// that of the segment before.
fn needed(
    names: &[Box<[u8]>],
    size: SegmentSize,
    (start, stop): (Lsn, Lsn),
    timeline: TimelineId,
) -> Result<Vec<SegmentName>, String> {
    let wanted = size.segment_of(start)..=size.segment_before(stop).max(size.segment_of(start));
    let mut found: Vec<_> = names
        .iter()
        .filter_map(|name| SegmentName::parse(std::str::from_utf8(name).ok()?, size))
        .filter(|segment| wanted.contains(&segment.number))
        .collect();
    found.sort_unstable_by_key(|segment| (segment.number, segment.timeline));
    let mut timeline = timeline;
    for number in wanted {
        match found.iter().find(|segment| segment.number == number) {
            Some(segment) => timeline = segment.timeline.max(timeline),
            None => return Err(SegmentName { timeline, number }.file_name(size)),
        }
    }
    Ok(found)
}

impl Log<'_> {
    /// Saves the log.
    pub(super) fn save(&self, writer: &Writer) -> Result<Vec<LogFile>, ClusterError> {
        let size = self.control.wal_segment_size;
        let names = beneath::names(&self.dir.fd).map_err(|error| self.failed(b"", error))?;
        let range = (self.start, self.stop);
        let segments = needed(&names, size, range, self.control.timeline)
            .map_err(|segment| self.gone(segment))?;
        let mut wanted: Vec<(String, Option<SegmentName>)> = segments
            .into_iter()
            .map(|segment| (segment.file_name(size), Some(segment)))
            .collect();
        wanted.extend(names.iter().filter_map(|name| {
            let name = std::str::from_utf8(name).ok()?;
            TimelineId::of_history_file(name)?;
            Some((name.to_owned(), None))
        }));
        let saved = Mutex::new(Vec::new());
        let failure = Mutex::new(None);
        let ran = writer.run(None, |worker, item: Option<usize>| {
            let Some(number) = item else {
                (0..wanted.len()).rev().for_each(|it| worker.push(Some(it)));
                return Ok(());
            };
            let (name, segment) = &wanted[number];
            let mut save = |input: &mut dyn io::Read| {
                let mut progress = |bytes| {
                    self.counts.bytes_read.fetch_add(bytes, Relaxed);
                    self.monitor.bytes.fetch_add(bytes, Relaxed);
                };
                worker.save_stream(input, &mut progress)
            };
            match self.file(name, *segment, &mut save) {
                Ok(Some(file)) => saved.lock().push(file),
                Ok(None) => {}
                Err(ClusterError::Halted(halted)) => return Err(halted),
                Err(error) => {
                    failure.lock().get_or_insert(error);
                    return Err(worker.fail(WriteError::Cancelled));
                }
            }
            Ok(())
        });
        if let Some(failure) = failure.into_inner() {
            return Err(failure);
        }
        ran?;
        let mut saved = saved.into_inner();
        saved.sort_unstable_by(|left: &LogFile, right| left.name.cmp(&right.name));
        Ok(saved)
    }

    /// Saves a file of the log; `None` for what is no history file after all.
    fn file(
        &self,
        name: &str,
        segment: Option<SegmentName>,
        save: &mut dyn FnMut(&mut dyn io::Read) -> Result<Content, StreamError>,
    ) -> Result<Option<LogFile>, ClusterError> {
        let raw = name.as_bytes();
        let opened = self.owner.open(&self.dir.fd, &self.dir.place, raw)?;
        let (fd, stat) = opened.ok_or_else(|| self.gone(name.to_owned()))?;
        match segment {
            Some(segment) => self.check(&fd, segment, name)?,
            None if size(&stat) > LARGEST_HISTORY => return Ok(None),
            None => {}
        }
        let same = fd.as_fd().try_clone_to_owned();
        let mut input = File::from(same.map_err(|error| self.failed(raw, error))?);
        let mut input = Paced {
            pace: self.pace,
            inner: &mut input,
        };
        let content = match save(&mut input) {
            Ok(content) => content,
            Err(StreamError::Halted(halted)) => return Err(halted.into()),
            Err(StreamError::Read(error)) => return Err(self.failed(raw, error)),
        };
        if segment.is_some() {
            // Renamed for later use while it was read?
            let now = statat(&self.dir.fd, raw, AtFlags::SYMLINK_NOFOLLOW);
            let still = now.is_ok_and(|now| now.st_ino == stat.st_ino);
            if !still || content.size != self.control.wal_segment_size.bytes() {
                return Err(self.gone(name.to_owned()));
            }
        }
        Ok(Some(LogFile {
            name: name.to_owned(),
            stat,
            content,
            is_segment: segment.is_some(),
        }))
    }

    fn check(&self, fd: &OwnedFd, segment: SegmentName, name: &str) -> Result<(), ClusterError> {
        let mut header = [0; LONG_HEADER];
        let read =
            read_fully(fd, &mut header, 0).map_err(|error| self.failed(name.as_bytes(), error))?;
        check_segment(&header[..read], segment, self.control, self.major).map_err(|source| {
            ClusterError::Segment {
                path: self.dir.place.join(name),
                source,
            }
        })
    }

    fn gone(&self, segment: String) -> ClusterError {
        ClusterError::LogGone {
            segment,
            start: self.start,
            stop: self.stop,
            hold: self.hold.clone(),
        }
    }

    fn failed(&self, name: &[u8], error: io::Error) -> ClusterError {
        self.owner.failed(&self.dir.place.join(os(name)), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(timeline: u32, number: u64) -> SegmentName {
        SegmentName {
            timeline: TimelineId(timeline),
            number,
        }
    }

    fn run(files: &[SegmentName], start: u64, stop: u64) -> Result<Vec<SegmentName>, String> {
        let size = SegmentSize::new(16 << 20).unwrap();
        let mut names: Vec<Box<[u8]>> = files
            .iter()
            .map(|file| file.file_name(size).into_bytes().into())
            .collect();
        names.push(Box::from(*b"archive_status"));
        names.push(Box::from(*b"00000002.history"));
        let range = (Lsn(start << 20), Lsn(stop << 20));
        needed(&names, size, range, TimelineId(1))
    }

    #[test]
    fn all_from_the_first_to_the_last_byte() {
        let files: Vec<_> = (1..9).map(|number| segment(1, number)).collect();
        assert_eq!(run(&files, 33, 70), Ok(files[1..4].to_vec()));
        // The end on a boundary needs nothing behind it.
        assert_eq!(run(&files, 33, 64), Ok(files[1..3].to_vec()));
        assert_eq!(run(&files, 33, 33), Ok(files[1..2].to_vec()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let files = [segment(1, 2), segment(1, 4)];
        assert_eq!(
            run(&files, 33, 70),
            Err("000000010000000000000003".to_owned())
        );
        assert_eq!(run(&[], 0, 1), Err("000000010000000000000000".to_owned()));
    }

    #[test]
    fn a_standby_may_have_followed_another_timeline() {
        let files = [segment(1, 2), segment(1, 3), segment(2, 3), segment(2, 4)];
        assert_eq!(run(&files, 33, 70), Ok(files.to_vec()));
        assert_eq!(
            run(&files, 33, 81),
            Err("000000020000000000000005".to_owned())
        );
    }
}
