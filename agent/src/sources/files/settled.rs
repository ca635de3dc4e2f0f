//! Whether a file's times can be trusted to show every change. Pure.
//!
//! A file whose times, size and inode are those of the last snapshot was not
//! written since, unless it was written within the same tick of the clock that
//! stamps it, after it had been read. The kernel's clock stands still for up to
//! 10 ms; some file systems keep milliseconds, whole seconds or two. So only a
//! file that was still, by more than a tick, before the last backup *began* is
//! taken over unread; what was written about then or later is read once more.
//! The next backup then finds it settled.
//!
//! Where a server stamps files, its clock may be behind this host's, and what is written
//! now looks older than it is. There the margin is minutes; a clock that is further
//! behind is not allowed for ([`stamps`](super::stamps)).
//!
//! Databases' files have the same rule with a wider margin (`unchanged` of
//! physical backups).

use jiff::{SignedDuration, Timestamp};
use rustix::fs::Stat;

use super::{
    metadata::{changed, modified},
    stamps::Stamps,
};

/// Of a clock that counts finer than milliseconds: ten ticks of the kernel's.
const FINE: SignedDuration = SignedDuration::from_millis(100);
/// Of any other: FAT counts in twos of seconds.
const COARSE: SignedDuration = SignedDuration::from_secs(2);

/// Of a server's clock, which may be so far behind: some files are read once more.
const SERVERS: SignedDuration = SignedDuration::from_mins(5);

/// When the last backup and this one began, by the host's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    last: Timestamp,
    this: Timestamp,
}

impl Settled {
    pub(super) fn new(last: Timestamp, this: Timestamp) -> Self {
        Self { last, this }
    }

    /// Whether every change since the last backup read the file shows in its
    /// times, which that clock made.
    pub(super) fn is(self, stat: &Stat, stamps: Stamps) -> bool {
        // Only clocks set the time of change; some file systems lack it, and the
        // other may be set by hand, which a time that has not come yet was.
        let modified = modified(stat);
        let is_before = |time| self.is_before(time, stamps);
        is_before(changed(stat)) && (modified > self.this || is_before(modified))
    }

    fn is_before(self, time: Timestamp, stamps: Stamps) -> bool {
        let margin = if stamps == Stamps::Server {
            SERVERS
        } else if time.subsec_nanosecond() % 1_000_000 == 0 {
            COARSE
        } else {
            FINE
        };
        // Times that the clock cannot add to lie in no past.
        time.checked_add(margin).is_ok_and(|time| time < self.last)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::fstat;

    use super::*;

    fn at(seconds: i64, nanoseconds: i32) -> Timestamp {
        Timestamp::new(seconds, nanoseconds).unwrap()
    }

    fn stat(modified: Timestamp, changed: Timestamp) -> Stat {
        let mut stat = fstat(tempfile::tempfile().unwrap()).unwrap();
        stat.st_mtime = modified.as_second() as _;
        stat.st_mtime_nsec = modified.subsec_nanosecond() as _;
        stat.st_ctime = changed.as_second() as _;
        stat.st_ctime_nsec = changed.subsec_nanosecond() as _;
        stat
    }

    #[test]
    fn what_was_written_about_when_the_last_backup_began_is_not_settled() {
        let settled = Settled::new(at(1_000, 500_000_001), at(2_000, 0));
        let is = |time| settled.is(&stat(time, time), Stamps::Host);
        for (time, expected) in [
            (at(10, 0), true),
            // Of a fine clock.
            (at(1_000, 400_000_000 - 1), true),
            (at(1_000, 400_000_000 + 1), false),
            (at(1_000, 600_000_001), false),
            // Whole seconds, milliseconds: of a coarse one.
            (at(998, 0), true),
            (at(999, 0), false),
            (at(998, 500_000_000), true),
            (at(998, 501_000_000), false),
            // While and after it ran.
            (at(1_500, 7), false),
            (at(3_000, 7), false),
        ] {
            assert_eq!(is(time), expected, "{time}");
        }
    }

    /// Its clock is two minutes behind, and it was written as the last backup began.
    #[test]
    fn a_server_that_is_behind_hides_no_change() {
        let settled = Settled::new(at(10_000, 1), at(20_000, 0));
        let is = |seconds, stamps| settled.is(&stat(at(seconds, 7), at(seconds, 7)), stamps);
        assert!(is(9_880, Stamps::Host));
        assert!(!is(9_880, Stamps::Server));
        assert!(is(9_699, Stamps::Server));
    }

    #[test]
    fn either_time_may_tell() {
        let settled = Settled::new(at(1_000, 0), at(2_000, 0));
        let is = |modified, changed| settled.is(&stat(modified, changed), Stamps::Host);
        assert!(is(at(5, 1), at(6, 1)));
        assert!(
            !is(at(5, 1), at(1_500, 1)),
            "written, and its time set back"
        );
        assert!(!is(at(1_500, 1), at(0, 0)), "no time of change is kept");
        assert!(is(at(9_000, 1), at(6, 1)), "set by hand, long ago");
        assert!(!is(at(9_000, 1), at(9_000, 1)), "the clock was set back");
    }
}
