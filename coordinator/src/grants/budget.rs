//! How much a job may write, by its plan, and how much its history explains.
//! Pure: what was written so far, the catalog counts.

use std::num::NonZeroU64;

use strongroom_layout::ObjectKind;
use strongroom_transfer::{MAX_BYTES, MAX_OBJECT};

use super::decide::{Scope, max_length};
use crate::model::{Budget, Written};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// New bytes of one call: an agent asks for what it has in memory, which is far
/// less.
pub const MAX_CALL: u64 = 16 * GIB;
/// Jobs of the same dataset that are looked at to see what is usual.
pub const HISTORY: u32 = 20;
/// What never is unusual, bytes.
pub const FLOOR: u64 = GIB;
/// And so many times the most that one of the last jobs wrote.
const USUAL: u64 = 4;

/// The budget of a job: of what it is for, of what its policy allows for new data
/// (bytes; `None`: any amount), and of the `minutes` since it was made.
///
/// Objects are counted, too: each is a row of the catalog. Small ones come with
/// time, such as index files and refreshed locks; others are as large as packs.
pub fn of(scope: Scope, new_data: Option<NonZeroU64>, minutes: u64) -> Budget {
    let budget = |bytes, at_first: u64, a_minute: u64, bytes_per_object| Budget {
        bytes,
        objects: at_first.saturating_add(a_minute.saturating_mul(minutes)),
        bytes_per_object,
    };
    let new_data = new_data.map_or(u64::MAX, NonZeroU64::get);
    match scope {
        Scope::Backup { .. } | Scope::Upload { .. } => {
            budget(new_data, 1_000, 60, pieces(256 * KIB))
        }
        // A busy server fills segments that compress well, faster than they
        // would be pushed one by one.
        Scope::Wal { .. } => budget(new_data, 10_000, 600, pieces(64 * KIB)),
        // Locks, one every five minutes.
        Scope::Read { .. } | Scope::List { .. } => {
            let locks = budget(0, 32, 1, NonZeroU64::MAX);
            Budget {
                bytes: locks.objects.saturating_mul(max_length(ObjectKind::Lock)),
                ..locks
            }
        }
        // Sealed, a transfer is a little larger than what is in it.
        Scope::Download { .. } => {
            let bytes = MAX_BYTES + MAX_BYTES / 100;
            budget(bytes, 1_000, 60, pieces(MAX_OBJECT as u64 / 16))
        }
    }
}

fn pieces(bytes: u64) -> NonZeroU64 {
    NonZeroU64::new(bytes).unwrap_or(NonZeroU64::MIN)
}

/// What the history of a dataset explains, bytes; `largest` is the most that one of
/// its last jobs wrote.
pub fn explained(largest: u64) -> u64 {
    largest.saturating_mul(USUAL).saturating_add(FLOOR)
}

/// What new objects of these lengths are together.
pub fn sum(lengths: impl IntoIterator<Item = u64>) -> Written {
    lengths.into_iter().fold(Written::default(), Written::and)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_layout::ObjectId;

    use super::*;

    const SNAPSHOT: ObjectId = ObjectId([1; 32]);
    const BACKUP: Scope = Scope::Backup {
        create: false,
        parent: None,
    };

    fn scopes() -> [Scope; 6] {
        [
            BACKUP,
            Scope::Upload { create: false },
            Scope::Wal { create: false },
            Scope::Read { snapshot: SNAPSHOT },
            Scope::List { snapshot: SNAPSHOT },
            Scope::Download { snapshot: SNAPSHOT },
        ]
    }

    #[test]
    fn what_only_reads_writes_nothing_but_a_lock_now_and_then() {
        for scope in [
            Scope::Read { snapshot: SNAPSHOT },
            Scope::List { snapshot: SNAPSHOT },
        ] {
            let a_day = of(scope, None, 24 * 60);
            assert!(a_day.admits(sum([300; 24 * 12])));
            assert!(!a_day.admits(sum([300; 2_000])));
            assert!(!a_day.admits(sum([GIB])));
            assert!(!of(scope, NonZeroU64::new(1 << 50), 0).admits(sum([GIB])));
        }
    }

    #[test]
    fn a_backup_writes_what_its_policy_allows_and_no_byte_more() {
        let limited = of(BACKUP, NonZeroU64::new(100 * GIB), 0);
        let full = Written {
            objects: 1_600,
            bytes: 100 * GIB,
        };
        assert!(limited.admits(full));
        assert!(!limited.admits(full.and(1)));
        assert!(of(BACKUP, None, 0).admits(full.and(1)));
    }

    #[test]
    fn a_million_crumbs_are_no_backup() {
        assert!(!of(BACKUP, None, 60).admits(sum(std::iter::repeat_n(1, 1_000_000))));
    }

    #[test]
    fn twice_the_usual_is_not_odd_and_ten_times_is() {
        let usual = 50 * GIB;
        assert!(2 * usual < explained(usual));
        assert!(10 * usual > explained(usual));
        assert!(explained(0) >= FLOOR);
        assert_eq!(explained(u64::MAX), u64::MAX);
    }

    proptest! {
        /// Whoever was refused is refused all the more with more of it, and is
        /// admitted again at most by time.
        #[test]
        fn a_budget_that_is_used_up_stays_so(
            scope in 0..6usize, new_data in proptest::option::of(1..u64::MAX), minutes: u64,
            lengths in proptest::collection::vec(0..1u64 << 40, 0..50), more: u64,
        ) {
            let budget = of(scopes()[scope], new_data.and_then(NonZeroU64::new), minutes);
            let written = sum(lengths.iter().copied());
            let bytes_alone = Written { bytes: written.bytes.saturating_add(more), ..written };
            if written.bytes > budget.bytes {
                prop_assert!(!budget.admits(written));
                prop_assert!(!budget.admits(bytes_alone));
                prop_assert!(!budget.admits(written.and(more)));
            }
            let crumbs = Written { objects: written.objects.saturating_add(more), ..written };
            if !budget.admits(written) {
                prop_assert!(!budget.admits(crumbs));
            }
            let later = of(
                scopes()[scope], new_data.and_then(NonZeroU64::new), minutes.saturating_add(1),
            );
            prop_assert!(!budget.admits(written) || later.admits(written));
        }

        /// What is admitted holds to the policy's bytes, whatever the time.
        #[test]
        fn no_time_and_no_count_admits_more_bytes(
            limit in 1..u64::MAX, minutes: u64, objects: u64, bytes: u64,
        ) {
            let budget = of(BACKUP, NonZeroU64::new(limit), minutes);
            if budget.admits(Written { objects, bytes }) {
                prop_assert!(bytes <= limit);
            }
        }
    }
}
