//! Whose restore points count for whom: pure.
//!
//! Several datasets may archive one log, and each says what names it found in it. A name
//! that another claims must not make a dataset's own ambiguous, nor move it.

use std::collections::BTreeMap;

use strongroom_layout::position::TimelineId;

use crate::model::{DatasetName, WalRestorePoint};

/// A restore point, and by whom it was entered.
#[derive(Debug, Clone)]
pub(super) struct Entered {
    /// A dataset; empty: an earlier version did not say.
    pub(super) by: String,
    pub(super) point: WalRestorePoint,
}

/// Those that count for a dataset: on each timeline the names that its agent has entered
/// (under this policy before those under others, for a policy may get another name), and
/// of the others those of the agent whose timeline it is. After a failover the log of the
/// primary is that agent's.
pub(super) fn counting<'a>(
    entered: Vec<Entered>,
    dataset: &DatasetName,
    owner: impl Fn(TimelineId) -> Option<&'a DatasetName>,
) -> Vec<WalRestorePoint> {
    let weight = |it: &Entered| match it.by.parse::<DatasetName>() {
        Ok(by) if by == *dataset => 3,
        Ok(by) if by.agent == dataset.agent => 2,
        Ok(by) => {
            let owner = owner(it.point.timeline);
            u8::from(owner.is_some_and(|owner| by.agent == owner.agent))
        }
        Err(_) => 0,
    };
    let name = |it: &Entered| (it.point.timeline, it.point.point.name.clone());
    let mut weights: BTreeMap<_, u8> = BTreeMap::new();
    for it in &entered {
        let most = weights.entry(name(it)).or_default();
        *most = weight(it).max(*most);
    }
    let counts = |it: &Entered| {
        let weight = weight(it);
        weight > 0 && weights.get(&name(it)) == Some(&weight)
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

    #[test]
    fn a_policy_that_got_another_name_keeps_its_names() {
        let all = [
            entered("orders@db-1", "before", 10),
            entered("renamed@db-1", "before", 20),
            entered("renamed@db-1", "since", 30),
        ];
        let owner = DatasetName::new("orders", "db-1");
        let seen = |policy: &str, agent: &str| -> Vec<u64> {
            let dataset = DatasetName::new(policy, agent);
            let points = counting(all.to_vec(), &dataset, |_| Some(&owner));
            points.iter().map(|it| it.point.lsn.0).collect()
        };
        assert_eq!(seen("orders", "db-1"), [10, 30]);
        assert_eq!(seen("renamed", "db-1"), [20, 30]);
        // Of whom it is, under whatever name.
        assert_eq!(seen("orders", "db-2"), [10, 20, 30]);
    }
}
