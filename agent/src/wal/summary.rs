//! What of a stream of log the catalog needs to know: commits and restore
//! points.

use jiff::Timestamp;
use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_postgres::wal::{Found, InvalidWal, Layout, Scanner};
use strongroom_wire::wal::{Commits, MAX_POINTS, MAX_RESTORE_POINT, RestorePoint};

/// What is known of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Transactions that are committed in it.
    pub(super) commits: Option<Commits>,
    /// What was named in it, the first of them.
    pub(super) restore_points: Vec<RestorePoint>,
}

/// Reads along. Log that it cannot read is archived all the same: what would
/// keep a restore from finding its moment must not keep the log from being
/// there.
#[derive(Debug)]
pub(super) struct Reader {
    layout: Layout,
    timeline: TimelineId,
    /// `None` behind what cannot be read, until a segment begins.
    scanner: Option<Scanner>,
    next: Lsn,
    /// Since the unit began that is not whole yet.
    found: Vec<Found>,
    /// What could not be read lies before this.
    unread_until: Lsn,
    /// By the server's clock.
    heard: Timestamp,
}

impl Reader {
    /// From `start` on, where a segment begins.
    pub(super) fn new(layout: Layout, timeline: TimelineId, start: Lsn) -> Self {
        Self {
            layout,
            timeline,
            scanner: Scanner::new(layout, timeline, start).ok(),
            next: start,
            found: Vec::new(),
            unread_until: Lsn(0),
            heard: Timestamp::UNIX_EPOCH,
        }
    }

    /// Reads what follows, of which the server said at `heard` that it was
    /// there. The error is for the log: reading goes on with the next segment.
    pub(super) fn read(&mut self, mut bytes: &[u8], heard: Timestamp) -> Result<(), InvalidWal> {
        self.heard = self.heard.max(heard);
        let size = self.layout.segment_size.bytes();
        let mut outcome = Ok(());
        while !bytes.is_empty() {
            let left = (size - self.next.0 % size) as usize;
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            if self.scanner.is_none() && self.next.0.is_multiple_of(size) {
                self.scanner = Scanner::new(self.layout, self.timeline, self.next).ok();
            }
            match &mut self.scanner {
                Some(scanner) => {
                    if let Err(error) = scanner.feed(now, &mut self.found) {
                        outcome = Err(error);
                        self.scanner = None;
                    }
                }
                None => self.unread_until = Lsn(self.next.0 + now.len() as u64),
            }
            self.next.0 += now.len() as u64;
            if self.scanner.is_none() {
                self.unread_until = self.unread_until.max(self.next);
            }
            bytes = later;
        }
        outcome
    }

    /// Of the records that end in `start` < … ≤ `end`, which has been read.
    pub(super) fn summary(&self, start: Lsn, end: Lsn) -> Summary {
        let mut summary = Summary::default();
        for found in &self.found {
            match found {
                Found::Commit { end: at, .. } | Found::RestorePoint { end: at, .. }
                    if *at <= start || *at > end => {}
                Found::Commit { xid, at, .. } => {
                    summary.add_commit(*xid, time(*at));
                }
                Found::RestorePoint { end, name, at } => {
                    let name = clip(name);
                    if !name.is_empty() && summary.restore_points.len() < MAX_POINTS {
                        summary.restore_points.push(RestorePoint {
                            name,
                            lsn: *end,
                            at: time(*at),
                        });
                    }
                }
                Found::Abort { .. } | Found::Tablespace(_) => {}
            }
        }
        if start < self.unread_until {
            // There may be any commit in it: nobody must think that there is
            // none.
            summary.add_commit(0, self.heard);
            summary.add_commit(u32::MAX, self.heard);
        }
        summary
    }

    /// Forgets what ends before `unit`.
    pub(super) fn forget_before(&mut self, unit: Lsn) {
        self.found.retain(|found| found.end() > unit);
    }
}

impl Summary {
    fn add_commit(&mut self, xid: u32, at: Timestamp) {
        let commits = self.commits.get_or_insert(Commits {
            count: 0,
            last: at,
            first_xid: xid,
            last_xid: xid,
        });
        commits.count += 1;
        commits.last = commits.last.max(at);
        commits.first_xid = commits.first_xid.min(xid);
        commits.last_xid = commits.last_xid.max(xid);
    }
}

/// The server's clock may be set to anything.
pub(super) fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(if microseconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

fn clip(name: &str) -> String {
    let mut name = name.to_owned();
    while name.len() > MAX_RESTORE_POINT {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use strongroom_layout::position::SegmentSize;

    use super::*;

    fn layout() -> Layout {
        Layout {
            major: 15,
            system_identifier: 7,
            segment_size: SegmentSize::new(1 << 20).unwrap(),
            block_size: 8192,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn reader(found: Vec<Found>) -> Reader {
        let mut reader = Reader::new(layout(), TimelineId(1), Lsn(0));
        reader.found = found;
        reader
    }

    fn commit(end: u64, xid: u32, second: i64) -> Found {
        Found::Commit {
            end: Lsn(end),
            xid,
            at: second * 1_000_000,
        }
    }

    #[test]
    fn a_record_belongs_to_the_part_in_which_it_ends() {
        let mut reader = reader(vec![
            commit(100, 700, 5),
            commit(200, 699, 4),
            Found::Abort {
                end: Lsn(250),
                xid: 9,
                at: 0,
            },
            Found::RestorePoint {
                end: Lsn(300),
                name: "before".into(),
                at: 6_000_000,
            },
            commit(301, 701, 7),
        ]);
        let first = reader.summary(Lsn(0), Lsn(200));
        assert_eq!(
            first.commits,
            Some(Commits {
                count: 2,
                last: at(5),
                first_xid: 699,
                last_xid: 700
            })
        );
        let second = reader.summary(Lsn(200), Lsn(300));
        assert_eq!(second.commits, None);
        assert_eq!(second.restore_points[0].name, "before");
        reader.forget_before(Lsn(300));
        assert_eq!(reader.found.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_may_hold_any_commit() {
        let mut reader = Reader::new(layout(), TimelineId(1), Lsn(0));
        let garbage = vec![0xab; 1 << 20];
        reader.read(&garbage[..1000], at(9)).unwrap_err();
        reader.read(&garbage[1000..], at(10)).unwrap();
        let commits = reader.summary(Lsn(0), Lsn(1 << 20)).commits.unwrap();
        assert_eq!((commits.first_xid, commits.last_xid), (0, u32::MAX));
        assert_eq!(commits.last, at(10));
        // The next segment is read again, from its beginning.
        reader.read(&[0; 8192], at(11)).unwrap();
        assert_eq!(
            reader.summary(Lsn(1 << 20), Lsn((1 << 20) + 8192)).commits,
            None
        );
    }

    #[test]
    fn times_and_names_that_no_server_writes_are_bounded() {
        assert_eq!(time(i64::MAX), Timestamp::MAX);
        assert_eq!(time(i64::MIN), Timestamp::MIN);
        assert_eq!(clip(&"ä".repeat(40)).len(), 62);
    }
}
