//! Whose restore points count for whom: pure.
//!
//! Several datasets may archive one log, and each says what names it found in it. A name
//! that another claims must not make a dataset's own ambiguous, nor move it.

use std::collections::BTreeSet;

use strongroom_layout::position::TimelineId;

use crate::model::{DatasetName, WalRestorePoint};

/// A restore point, and by whom it was entered.
#[derive(Debug, Clone)]
pub(super) struct Entered {
    /// A dataset; empty: an earlier version did not say.
    pub(super) by: String,
    pub(super) point: WalRestorePoint,
}

/// Those that count for a dataset: on each timeline the names that it has entered
/// itself, and of the others those of whose timeline it is. After a failover the log of
/// the primary is that agent's.
pub(super) fn counting<'a>(
    entered: Vec<Entered>,
    dataset: &DatasetName,
    owner: impl Fn(TimelineId) -> Option<&'a DatasetName>,
) -> Vec<WalRestorePoint> {
    let own = dataset.to_string();
    let name = |it: &Entered| (it.point.timeline, it.point.point.name.clone());
    let mine = entered.iter().filter(|it| it.by == own);
    let mine: BTreeSet<_> = mine.map(name).collect();
    let counts = |it: &Entered| {
        if mine.contains(&name(it)) {
            return it.by == own;
        }
        owner(it.point.timeline).is_some_and(|owner| it.by == owner.to_string())
    };
    let counting = entered.into_iter().filter(counts);
    counting.map(|it| it.point).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use strongroom_layout::position::Lsn;
    use strongroom_wire::wal::RestorePoint;

    use super::*;

    fn entered(by: &str, name: &str, lsn: u64) -> Entered {
        Entered {
            by: by.into(),
            point: WalRestorePoint {
                timeline: TimelineId(1),
                point: RestorePoint {
                    name: name.into(),
                    lsn: Lsn(lsn),
                    at: Timestamp::UNIX_EPOCH,
                },
            },
        }
    }

    #[test]
    fn each_sees_its_own_names_and_else_those_of_whose_timeline_it_is() {
        let all = [
            entered("orders@db-1", "before", 10),
            entered("orders@db-1", "owned", 20),
            entered("orders@db-2", "before", 30),
            entered("orders@db-3", "owned", 40),
            entered("", "of-old", 50),
        ];
        let owner = DatasetName::new("orders", "db-1");
        let seen = |agent: &str| -> Vec<u64> {
            let dataset = DatasetName::new("orders", agent);
            let points = counting(all.to_vec(), &dataset, |_| Some(&owner));
            points.iter().map(|it| it.point.lsn.0).collect()
        };
        assert_eq!(seen("db-1"), [10, 20]);
        assert_eq!(seen("db-2"), [20, 30]);
        assert_eq!(seen("db-3"), [10, 40]);
    }
}
