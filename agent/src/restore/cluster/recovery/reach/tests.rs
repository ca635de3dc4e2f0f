//! Logs of a few units.

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
        digests: vec![],
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

fn answer(
    stored: &[StoredWal],
    target: &RecoveryTarget,
    seek: &Seek,
    found: Option<Lsn>,
) -> Answer {
    let known = Known {
        legs: &one_leg(),
        stored,
        consistent: Lsn(UNIT + 5),
        end: Lsn(20 * UNIT),
    };
    sought(target, seek, found, &known).unwrap()
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
    // The commit of second 6 ends in the unit from 6 to 7: where, the log says.
    let later = |second, units: &[u64]| {
        let than = noon(second);
        let units = units.iter();
        let ranges = units.map(|unit| (Lsn(unit * UNIT), Lsn((unit + 1) * UNIT)));
        let ranges = ranges.collect();
        Seek::Later { than, ranges }
    };
    let first = later(14, &[15, 18]);
    let sought_first = run(&legs, &stored, &at(14)).unwrap();
    assert_eq!(sought_first, Answer::Seek(first.clone()));
    // What was committed before it is sought from behind.
    let found = Lsn(15 * UNIT + 9);
    let last = answer(&stored, &at(14), &first, Some(found));
    let Answer::Seek(Seek::Last { upto, ranges }) = last.clone() else {
        panic!("{last:?}");
    };
    assert_eq!(upto, Lsn(found.0 - 1));
    assert_eq!(ranges[0], (Lsn(15 * UNIT), upto));
    assert_eq!(ranges[1], (Lsn(12 * UNIT), Lsn(13 * UNIT)));
    let Answer::Seek(last) = last else {
        unreachable!()
    };
    let end = Lsn(12 * UNIT + 7);
    let until = |lsn: Lsn, upto| extent(upto, &RecoveryTarget::Lsn(lsn));
    assert_eq!(answer(&stored, &at(14), &last, Some(end)), until(end, 17));
    // Nothing was committed behind the base backup's end.
    let consistent = Lsn(UNIT + 5);
    assert_eq!(answer(&stored, &at(14), &last, None), until(consistent, 6));
    // Nothing is later: up to the last commit that there is.
    let Answer::Seek(last @ Seek::Last { upto, .. }) = run(&legs, &stored, &at(18)).unwrap() else {
        panic!("it is not sought");
    };
    assert_eq!(upto, Lsn(20 * UNIT));
    let end = Lsn(18 * UNIT + 7);
    let record = Seek::Record { lsn: end };
    let near = answer(&stored, &at(18), &last, Some(end));
    assert_eq!(near, Answer::Seek(record.clone()));
    // There is nothing behind it: no target, lest the server give up.
    let all = extent(20, &RecoveryTarget::Latest);
    assert_eq!(answer(&stored, &at(18), &record, None), all);
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
    let stray = [part(1, 11, 12, Some((6, 6)))];
    assert_eq!(
        run(&legs, &stray, &at).unwrap(),
        Answer::Seek(Seek::Last {
            upto: Lsn(20 * UNIT),
            ranges: vec![]
        })
    );
}

#[test]
fn a_position_takes_what_may_hold_its_record() {
    let (legs, stored) = (one_leg(), twenty());
    let at = |lsn| RecoveryTarget::Lsn(Lsn(lsn));
    let sought = run(&legs, &stored, &at(4 * UNIT - 1)).unwrap();
    let Answer::Seek(last @ Seek::Last { .. }) = sought else {
        panic!("{sought:?}");
    };
    let near = Lsn(3 * UNIT + 100);
    assert_eq!(
        answer(&stored, &at(4 * UNIT - 1), &last, Some(near)),
        extent(8, &RecoveryTarget::Lsn(near))
    );
    // A server gives up when there is nothing behind its target.
    let late = Lsn(18 * UNIT);
    let record = Seek::Record { lsn: late };
    assert_eq!(
        answer(&stored, &at(late.0), &last, Some(late)),
        Answer::Seek(record.clone())
    );
    assert_eq!(
        answer(&stored, &at(late.0), &record, Some(late)),
        extent(20, &RecoveryTarget::Lsn(late))
    );
    assert_eq!(
        answer(&stored, &at(late.0), &record, None),
        extent(20, &RecoveryTarget::Latest)
    );
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
    let end = Lsn(3 * UNIT + 9);
    let found = sought(&target, &seek(7, &[3]), Some(end), &known);
    assert_eq!(found.unwrap(), extent(8, &RecoveryTarget::Lsn(end)));
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
