//! How much of the log a target takes, and what the server is told. Pure.
//!
//! A server that runs out of log before its target gives up. So it is given a
//! target only where the log is known to go beyond it; where it does not, all
//! of the log is at or before the target, and it is replayed to its end.
//!
//! The catalog knows of each part which commits end in it. That decides, but
//! for three questions that only the log itself answers: they are a [`Seek`].

use jiff::Timestamp;
use strongroom_layout::position::Lsn;
use strongroom_wire::{
    job::{Leg, RecoveryTarget},
    wal::{StoredWal, UNIT},
};

use super::{
    RecoveryError,
    chain::{Span, usable},
    error::shown,
};

/// Log that is given behind the target: the record at the target may be longer
/// than the rest of its unit. Longer ones than this are unheard of.
const BEHIND: u64 = 4 * UNIT;

/// How far the log is fetched, and where the server is told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Behind the last byte that is wanted.
    pub(super) upto: Lsn,
    /// [`RecoveryTarget::Latest`]: it is told nothing.
    pub(super) stop: RecoveryTarget,
}

/// The log that there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) legs: &'a [Leg],
    pub(super) stored: &'a [StoredWal],
    /// Replay must reach this: the base backup's end.
    pub(super) consistent: Lsn,
    /// Behind the last byte.
    pub(super) end: Lsn,
}

/// Known, or to be sought in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Known(Extent),
    Seek(Seek),
}

/// A question that the log answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// Where in these ranges the transaction is committed.
    Commit { xid: u32, ranges: Vec<(Lsn, Lsn)> },
    /// Whether a commit in these ranges is later than this.
    Later {
        than: Timestamp,
        ranges: Vec<(Lsn, Lsn)>,
    },
    /// Whether a whole record begins there or behind.
    Record { lsn: Lsn },
}

/// What is to be fetched for a target.
pub(super) fn reach(target: &RecoveryTarget, known: &Known<'_>) -> Result<Answer, RecoveryError> {
    Ok(Answer::Known(match target {
        RecoveryTarget::Latest => known.all(),
        RecoveryTarget::Time(at) => return Ok(time(*at, known)),
        RecoveryTarget::Lsn(lsn) => {
            known.check(target, *lsn)?;
            if *lsn == known.end {
                known.all()
            } else if lsn.0.saturating_add(BEHIND) <= known.end.0 {
                known.until(*lsn, target)
            } else {
                return Ok(Answer::Seek(Seek::Record { lsn: *lsn }));
            }
        }
        RecoveryTarget::Xid(xid) => {
            let ranges = known.ranges(|part| {
                part.commits
                    .is_some_and(|it| (it.first_xid..=it.last_xid).contains(xid))
            });
            return Ok(Answer::Seek(Seek::Commit { xid: *xid, ranges }));
        }
        RecoveryTarget::RestorePoint(name) => {
            let places = known.stored.iter().filter_map(|part| {
                let end = known.usable(part)?;
                let here = part.restore_points.iter();
                here.filter(|it| it.name == *name && it.lsn <= end)
                    .map(|it| it.lsn)
                    .min()
            });
            match places.min() {
                Some(lsn) => {
                    known.check(target, lsn)?;
                    known.until(lsn, target)
                }
                None => Extent {
                    stop: target.clone(),
                    ..known.all()
                },
            }
        }
    }))
}

/// What the answer to a question means for the target.
pub(super) fn sought(
    target: &RecoveryTarget,
    seek: &Seek,
    found: Option<Lsn>,
    known: &Known<'_>,
) -> Result<Extent, RecoveryError> {
    match (found, seek) {
        (Some(lsn), _) => {
            known.check(target, lsn)?;
            Ok(known.until(lsn, target))
        }
        (None, Seek::Commit { xid, .. }) => Err(RecoveryError::NoTransaction { xid: *xid }),
        (None, Seek::Later { .. } | Seek::Record { .. }) => Ok(known.all()),
    }
}

fn time(at: Timestamp, known: &Known<'_>) -> Answer {
    let later = |part: &StoredWal| part.commits.is_some_and(|it| it.last > at);
    let whole = |part: &&StoredWal| known.usable(part) == Some(part.end);
    let first = known
        .stored
        .iter()
        .filter(|part| later(part))
        .filter(whole)
        .map(|part| part.end)
        .min();
    if let Some(end) = first {
        return Answer::Known(known.until(end, &RecoveryTarget::Time(at)));
    }
    // The later commit may lie behind the switch, and not count.
    let ranges = known.ranges(later);
    if ranges.is_empty() {
        return Answer::Known(known.all());
    }
    Answer::Seek(Seek::Later { than: at, ranges })
}

impl Known<'_> {
    fn all(&self) -> Extent {
        Extent {
            upto: self.end,
            stop: RecoveryTarget::Latest,
        }
    }

    fn until(&self, lsn: Lsn, target: &RecoveryTarget) -> Extent {
        let upto = lsn.0.div_ceil(UNIT).saturating_mul(UNIT);
        Extent {
            upto: Lsn(upto.saturating_add(BEHIND)).min(self.end),
            stop: target.clone(),
        }
    }

    fn check(&self, target: &RecoveryTarget, lsn: Lsn) -> Result<(), RecoveryError> {
        if (self.consistent..=self.end).contains(&lsn) {
            return Ok(());
        }
        Err(RecoveryError::Outside {
            target: shown(target),
            consistent: self.consistent,
            end: self.end,
        })
    }

    fn usable(&self, part: &StoredWal) -> Option<Lsn> {
        usable(self.legs, &Span::of(part))
    }

    /// What counts of the parts that may hold it, in the log's order.
    fn ranges(&self, may_hold: impl Fn(&StoredWal) -> bool) -> Vec<(Lsn, Lsn)> {
        let parts = self.stored.iter().filter(|part| may_hold(part));
        let mut ranges: Vec<_> = parts
            .filter_map(|part| Some((part.start, self.usable(part)?)))
            .collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }
}

impl Span {
    /// Of a part.
    pub(super) fn of(part: &StoredWal) -> Self {
        Self {
            timeline: part.timeline,
            start: part.start,
            end: part.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_layout::{ObjectId, SystemId, position::TimelineId};
    use strongroom_wire::wal::{Commits, RestorePoint};

    use super::*;

    fn noon(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    /// Units of a timeline's log; commits are at the second of the unit, under
    /// its number as the transaction's.
    fn part(timeline: u32, from: u64, to: u64, commits: Option<(u32, u32)>) -> StoredWal {
        StoredWal {
            system: SystemId(7),
            timeline: TimelineId(timeline),
            start: Lsn(from * UNIT),
            end: Lsn(to * UNIT),
            id: ObjectId([0; 32]),
            length: 1,
            commits: commits.map(|(first, last)| Commits {
                count: 1,
                last: noon(i64::from(last)),
                first_xid: first,
                last_xid: last,
            }),
            restore_points: vec![],
        }
    }

    fn one_leg() -> Vec<Leg> {
        vec![Leg {
            timeline: TimelineId(1),
            until: None,
        }]
    }

    fn run(
        legs: &[Leg],
        stored: &[StoredWal],
        target: &RecoveryTarget,
    ) -> Result<Answer, RecoveryError> {
        let known = Known {
            legs,
            stored,
            consistent: Lsn(UNIT + 5),
            end: Lsn(20 * UNIT),
        };
        reach(target, &known)
    }

    fn extent(upto: u64, stop: &RecoveryTarget) -> Answer {
        Answer::Known(Extent {
            upto: Lsn(upto * UNIT),
            stop: stop.clone(),
        })
    }

    fn twenty() -> Vec<StoredWal> {
        (1..20)
            .map(|unit| {
                part(
                    1,
                    unit,
                    unit + 1,
                    (unit % 3 == 0).then_some((unit as u32, unit as u32)),
                )
            })
            .collect()
    }

    #[test]
    fn a_time_takes_the_log_up_to_a_later_commit() {
        let at = |second| RecoveryTarget::Time(noon(second));
        let (legs, stored) = (one_leg(), twenty());
        // The commit of second 6 ends in the unit from 6 to 7.
        assert_eq!(run(&legs, &stored, &at(5)).unwrap(), extent(11, &at(5)));
        assert_eq!(run(&legs, &stored, &at(6)).unwrap(), extent(14, &at(6)));
        // Nothing is later: no target, lest the server give up.
        let all = extent(20, &RecoveryTarget::Latest);
        assert_eq!(run(&legs, &stored, &at(18)).unwrap(), all);
        assert_eq!(run(&legs, &[], &at(2)).unwrap(), all);
        assert_eq!(run(&legs, &stored, &RecoveryTarget::Latest).unwrap(), all);
    }

    #[test]
    fn a_later_commit_behind_the_switch_does_not_count() {
        let legs = [
            Leg {
                timeline: TimelineId(1),
                until: Some(Lsn(10 * UNIT + 7)),
            },
            Leg {
                timeline: TimelineId(2),
                until: None,
            },
        ];
        let at = RecoveryTarget::Time(noon(5));
        let old = part(1, 10, 11, Some((1, 9)));
        let seek = Answer::Seek(Seek::Later {
            than: noon(5),
            ranges: vec![(Lsn(10 * UNIT), Lsn(10 * UNIT + 7))],
        });
        assert_eq!(run(&legs, std::slice::from_ref(&old), &at).unwrap(), seek);
        let both = [old, part(2, 12, 13, Some((10, 10)))];
        assert_eq!(run(&legs, &both, &at).unwrap(), extent(17, &at));
        let stray = [part(1, 11, 12, Some((6, 6)))];
        assert_eq!(
            run(&legs, &stray, &at).unwrap(),
            extent(20, &RecoveryTarget::Latest)
        );
    }

    #[test]
    fn a_position_takes_what_may_hold_its_record() {
        let (legs, stored) = (one_leg(), twenty());
        let at = |lsn| RecoveryTarget::Lsn(Lsn(lsn));
        let near = at(3 * UNIT - 1);
        assert_eq!(run(&legs, &stored, &near).unwrap(), extent(7, &near));
        let late = Lsn(18 * UNIT);
        let seek = Answer::Seek(Seek::Record { lsn: late });
        assert_eq!(run(&legs, &stored, &at(late.0)).unwrap(), seek);
        assert_eq!(
            run(&legs, &stored, &at(20 * UNIT)).unwrap(),
            extent(20, &RecoveryTarget::Latest)
        );
        for outside in [UNIT + 4, 20 * UNIT + 1] {
            let error = run(&legs, &stored, &at(outside)).unwrap_err();
            assert!(matches!(error, RecoveryError::Outside { .. }), "{error}");
        }
    }

    #[test]
    fn a_transaction_is_sought_in_the_parts_that_may_hold_it() {
        let stored = [part(1, 3, 4, Some((5, 9))), part(1, 4, 5, Some((10, 12)))];
        let seek = |xid, units: &[u64]| {
            let ranges = units
                .iter()
                .map(|it| (Lsn(it * UNIT), Lsn((it + 1) * UNIT)));
            let ranges = ranges.collect();
            Seek::Commit { xid, ranges }
        };
        for (xid, units) in [(7, &[3][..]), (10, &[4]), (4, &[])] {
            let sought = run(&one_leg(), &stored, &RecoveryTarget::Xid(xid)).unwrap();
            assert_eq!(sought, Answer::Seek(seek(xid, units)));
        }
        let known = Known {
            legs: &one_leg(),
            stored: &stored,
            consistent: Lsn(UNIT),
            end: Lsn(20 * UNIT),
        };
        let target = RecoveryTarget::Xid(7);
        let found = sought(&target, &seek(7, &[3]), Some(Lsn(3 * UNIT + 9)), &known);
        assert_eq!(Answer::Known(found.unwrap()), extent(8, &target));
        for (found, says) in [(None, "rolled back"), (Some(Lsn(9)), "before")] {
            let error = sought(&target, &seek(7, &[3]), found, &known).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_restore_point_takes_the_log_up_to_it_where_it_is_known() {
        let mut stored = twenty();
        let target = RecoveryTarget::RestorePoint("before".into());
        assert_eq!(
            run(&one_leg(), &stored, &target).unwrap(),
            extent(20, &target)
        );
        stored[3].restore_points.push(RestorePoint {
            name: "before".into(),
            lsn: Lsn(4 * UNIT + 100),
            at: noon(4),
        });
        assert_eq!(
            run(&one_leg(), &stored, &target).unwrap(),
            extent(9, &target)
        );
    }
}
