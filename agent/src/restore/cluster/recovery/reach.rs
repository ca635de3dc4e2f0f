//! How much of the log a target takes, and what the server is told. Pure.
//!
//! A moment and a position are the end of the last commit at or before them, and
//! replay stops right behind that: what follows belongs to transactions that were
//! not committed then, and some of it (the files of a database that is being
//! dropped) is not undone by their not being committed.
//!
//! A server that runs out of log before its target gives up. So it is given a
//! target only where the log is known to go beyond it; where it does not, all
//! of the log is at or before the target, and it is replayed to its end.
//!
//! The catalog knows of each part which commits end in it, and so where to look.
//! Where exactly, only the log itself answers: such a question is a [`Seek`], and
//! its answer may lead to another.

use jiff::Timestamp;
use strongroom_layout::position::Lsn;
use strongroom_spec::{Leg, RecoveryTarget};
use strongroom_wire::wal::{StoredWal, UNIT};

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
    /// [`RecoveryTarget::Latest`]: it is told nothing. [`RecoveryTarget::Lsn`]:
    /// before the first record that begins there or behind.
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
    /// The first commit in these ranges that is later than this.
    Later {
        than: Timestamp,
        ranges: Vec<(Lsn, Lsn)>,
    },
    /// The last commit in these ranges that ends there or before.
    Last { upto: Lsn, ranges: Vec<(Lsn, Lsn)> },
    /// Whether a whole record follows that which ends there.
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
            } else {
                return Ok(known.last(*lsn));
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
                    Extent {
                        upto: known.upto(lsn),
                        stop: target.clone(),
                    }
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
) -> Result<Answer, RecoveryError> {
    Ok(match (seek, found) {
        (Seek::Commit { .. }, Some(end)) => {
            known.check(target, end)?;
            known.behind(end)
        }
        (Seek::Commit { xid, .. }, None) => {
            return Err(RecoveryError::NoTransaction { xid: *xid });
        }
        // Everything before it was committed at that moment.
        (Seek::Later { .. }, Some(later)) => known.last(Lsn(later.0.saturating_sub(1))),
        // The base backup itself is at or before the target.
        (Seek::Last { .. }, end) => {
            known.behind(end.map_or(known.consistent, |end| end.max(known.consistent)))
        }
        (Seek::Record { lsn }, Some(_)) => Answer::Known(known.until(*lsn)),
        (Seek::Later { .. } | Seek::Record { .. }, None) => Answer::Known(known.all()),
    })
}

fn time(at: Timestamp, known: &Known<'_>) -> Answer {
    let ranges = known.ranges(|part| part.commits.is_some_and(|it| it.last > at));
    if ranges.is_empty() {
        // What was not committed by the end of the log, was not then.
        return known.last(known.end);
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

    /// With what a server needs to see that it is there.
    fn upto(&self, lsn: Lsn) -> Lsn {
        let upto = lsn.0.div_ceil(UNIT).saturating_mul(UNIT);
        Lsn(upto.saturating_add(BEHIND)).min(self.end)
    }

    fn until(&self, lsn: Lsn) -> Extent {
        Extent {
            upto: self.upto(lsn),
            stop: RecoveryTarget::Lsn(lsn),
        }
    }

    /// Up to the end of a record: a server stops before the next one, if there is
    /// one.
    fn behind(&self, end: Lsn) -> Answer {
        if end.0.saturating_add(BEHIND) <= self.end.0 {
            Answer::Known(self.until(end))
        } else {
            Answer::Seek(Seek::Record { lsn: end })
        }
    }

    /// Up to the last commit that ends there or before.
    fn last(&self, upto: Lsn) -> Answer {
        let mut ranges = self.ranges(|part| part.commits.is_some() && part.start < upto);
        for (_, to) in &mut ranges {
            *to = (*to).min(upto);
        }
        // The one that ends last is looked at first.
        ranges.sort_unstable_by_key(|(from, to)| std::cmp::Reverse((*to, *from)));
        Answer::Seek(Seek::Last { upto, ranges })
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
mod tests;
