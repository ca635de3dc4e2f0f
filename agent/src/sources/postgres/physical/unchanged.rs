//! Which files of a cluster need not be read again. Pure.
//!
//! A file is taken over from the last physical backup when nothing was written
//! to it since *before that backup began to copy*. The reasoning:
//!
//! - Every write, in place or not, sets the file's modification time and its
//!   change time to the kernel's clock. Nobody can set the change time to a
//!   value of their own. PostgreSQL writes relations with `write`, never
//!   through memory maps, whose times come late.
//! - Equal times, size and inode alone do not prove that nothing was written:
//!   the kernel's clock stands still between two ticks, and some file systems
//!   keep whole seconds. A page that was written right after the last copy had
//!   read it, but within the same tick, leaves the times as the copy saw them.
//! - That can only happen to a file that was written *during* the copy. So
//!   both times must lie before the moment at which the last backup began to
//!   copy, by a margin that covers every granularity and the lag of the
//!   kernel's coarse clock. A write after that moment gives times which are
//!   not before it, and so differ.
//! - The times of a node are taken before its first byte is read: what is
//!   written while it is read makes the node look old, not new.
//! - A file in which pages were damaged is stored without its inode's number:
//!   it is read, and complained about, every time.
//!
//! The moment is kept as the modification time of `backup_label` in the
//! snapshot. It is taken from the clock of this host, as are the files' times:
//! the agent runs beside its server. Should that clock be set back, times of
//! new writes may be older than they should be, but equal to the nanosecond to
//! those of the last backup they are not.

use jiff::{SignedDuration, Timestamp};
use rustix::fs::Stat;
use strongroom_repository::format::node::Node;

use crate::sources::files::metadata::{changed, is_unchanged, modified};

/// The coarsest file times in use are 2 s (FAT); the kernel's coarse clock
/// lags by some 10 ms.
const MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// Whether a file may be taken over from the backup that began to copy at
/// `copied_from` and stored it as `before`.
pub(super) fn may_be_taken_over(before: &Node, stat: &Stat, copied_from: Timestamp) -> bool {
    let limit = copied_from.saturating_sub(MARGIN).unwrap_or(Timestamp::MIN);
    is_unchanged(before, stat) && modified(stat) < limit && changed(stat) < limit
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write, os::unix::fs::FileExt};

    use rustix::fs::{Timespec, Timestamps, fstat, futimens};
    use strongroom_repository::format::node::NodeKind;
    use strongroom_runtime::clock::{Clock, SystemClock};

    use super::*;
    use crate::sources::files::{metadata::node, owners::Owners};

    fn before(stat: &Stat) -> Node {
        let kind = NodeKind::File {
            size: stat.st_size as u64,
            content: Vec::new(),
            allocated: false,
        };
        node(b"16384", kind, stat, &Owners::default(), Vec::new())
    }

    fn at(seconds: i64, nanoseconds: i32) -> Timestamp {
        Timestamp::new(seconds, nanoseconds).unwrap()
    }

    /// A file's status with both times set.
    fn stat_at(time: Timestamp) -> Stat {
        let mut stat = fstat(tempfile::tempfile().unwrap()).unwrap();
        stat.st_mtime = time.as_second() as _;
        stat.st_mtime_nsec = time.subsec_nanosecond() as _;
        stat.st_ctime = stat.st_mtime;
        stat.st_ctime_nsec = stat.st_mtime_nsec;
        stat
    }

    #[test]
    fn only_what_was_still_long_before_the_last_copy_is_taken_over() {
        let began = at(1_000, 500);
        for (time, taken) in [
            (at(10, 0), true),
            (at(997, 0), true),
            (at(998, 499), true),
            // Within the margin: a file system may have cut its time off.
            (at(998, 500), false),
            (at(1_000, 0), false),
            (at(1_000, 500), false),
            // During or after the copy, although nothing looks changed.
            (at(1_001, 0), false),
            (at(2_000, 0), false),
        ] {
            let stat = stat_at(time);
            assert_eq!(
                may_be_taken_over(&before(&stat), &stat, began),
                taken,
                "{time}"
            );
        }
    }

    /// The case that equal times hide: the copy reads a page, and within the
    /// same tick of the file system's clock that page is written in place.
    #[test]
    fn a_write_in_the_tick_of_the_last_copy_is_not_missed() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 8192]).unwrap();
        let copied = fstat(&file).unwrap();
        let began = modified(&copied);
        let node = before(&copied);
        file.write_all_at(&[2; 8192], 0).unwrap();
        // What a clock that stands still would have left.
        let mut written = copied;
        written.st_size = fstat(&file).unwrap().st_size;
        assert!(is_unchanged(&node, &written), "nothing tells them apart");
        assert!(!may_be_taken_over(&node, &written, began));
    }

    /// Whoever sets the modification time back cannot hide the change time.
    #[test]
    fn a_modification_time_set_back_hides_nothing() {
        let file = tempfile::tempfile().unwrap();
        let old = Timespec {
            tv_sec: 1_000,
            tv_nsec: 0,
        };
        let set_back = |file: &File| {
            let times = Timestamps {
                last_access: old,
                last_modification: old,
            };
            futimens(file, &times).unwrap();
        };
        file.write_all_at(&[1; 8192], 0).unwrap();
        set_back(&file);
        let node = before(&fstat(&file).unwrap());
        file.write_all_at(&[2; 8192], 0).unwrap();
        set_back(&file);
        let now = fstat(&file).unwrap();
        assert_eq!(modified(&now), at(1_000, 0));
        assert!(!may_be_taken_over(&node, &now, SystemClock.now()));
    }

    #[test]
    fn a_file_with_damaged_pages_is_read_again() {
        let stat = stat_at(at(10, 0));
        let damaged = Node {
            inode: 0,
            ..before(&stat)
        };
        assert!(!may_be_taken_over(&damaged, &stat, at(1_000, 0)));
    }
}
