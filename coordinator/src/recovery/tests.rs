//! Windows and choices on small logs: positions are seconds behind noon.

use strongroom_layout::position::{Lsn, SegmentSize, TimelineId};
use strongroom_spec::{Leg, RecoveryTarget};

use super::*;

fn at(second: u64) -> Timestamp {
    let noon: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    noon + jiff::SignedDuration::from_secs(second as i64)
}

/// A base backup that ended at this second, and began ten before.
fn base(timeline: u32, stop: u64) -> Base {
    Base {
        snapshot: ObjectId([stop as u8; 32]),
        taken: at(stop),
        point: ClusterPoint {
            system: SystemId(7),
            timeline: TimelineId(timeline),
            start: Lsn(stop - 10),
            stop: Lsn(stop),
            segment: SegmentSize::new(16 << 20).unwrap(),
            major: 15,
            ended: at(stop),
        },
    }
}

fn stretch(timeline: u32, start: u64, end: u64) -> WalStretch {
    WalStretch {
        timeline: TimelineId(timeline),
        start: Lsn(start),
        end: Lsn(end),
    }
}

/// The last commit of a stretch comes one second before its end.
fn cluster(bases: Vec<Base>, stretches: &[WalStretch]) -> Cluster {
    Cluster {
        dataset: crate::model::DatasetName::new("orders", "db-1"),
        system: SystemId(7),
        repository: "primary/db-1".into(),
        line: 0,
        broken: None,
        bases,
        stretches: stretches.to_vec(),
        histories: Vec::new(),
        position: None,
        last_commits: stretches.iter().map(|it| (*it, at(it.end.0 - 1))).collect(),
    }
}

/// With the agent's word that the log of a timeline was there up to a second,
/// a minute ago by that log.
fn live(mut cluster: Cluster, timeline: u32, second: u64) -> Cluster {
    cluster.position = Some(WalPosition {
        system: SystemId(7),
        timeline: TimelineId(timeline),
        lsn: Lsn(second),
        as_of: Some(at(second + 60)),
        waiting: 0,
        problem: None,
    });
    cluster
}

/// Timeline 2 leaves timeline 1 at this position.
fn promoted(mut cluster: Cluster, switch: u64) -> Cluster {
    cluster.histories.push(WalHistory {
        timeline: TimelineId(2),
        legs: vec![Leg {
            timeline: TimelineId(1),
            until: Some(Lsn(switch)),
        }],
        begun: at(switch),
    });
    cluster
        .last_commits
        .push((stretch(1, 0, switch), at(switch - 1)));
    cluster
}

fn spans(cluster: &Cluster) -> Vec<(u64, u64, bool)> {
    let second = |time: Timestamp| (time.duration_since(at(0))).as_secs() as u64;
    windows(cluster)
        .into_iter()
        .map(|it| (second(it.from), second(it.to), it.open))
        .collect()
}

fn chosen(cluster: &Cluster, target: &Target) -> (u8, u32, u64) {
    let chosen = choose(cluster, target, None).unwrap();
    let last = chosen.recovery.legs.last().unwrap();
    assert_eq!(last.until, None);
    (
        chosen.base.snapshot.0[0],
        last.timeline.0,
        chosen.recovery.end.0,
    )
}

#[test]
fn a_log_that_goes_on_is_one_open_window() {
    let cluster = live(
        cluster(vec![base(1, 50), base(1, 90)], &[stretch(1, 0, 120)]),
        1,
        120,
    );
    assert_eq!(spans(&cluster), [(50, 180, true)]);
    assert_eq!(windows(&cluster)[0].bases.len(), 2);
    assert_eq!(chosen(&cluster, &Target::Latest), (90, 1, 120));
    assert_eq!(chosen(&cluster, &Target::Time(at(180))), (90, 1, 120));
    // The base that ended before is the one to begin with.
    assert_eq!(chosen(&cluster, &Target::Time(at(89))), (50, 1, 120));
    assert_eq!(chosen(&cluster, &Target::Lsn(Lsn(90))), (90, 1, 120));
    assert_eq!(chosen(&cluster, &Target::Lsn(Lsn(89))), (50, 1, 120));
}

#[test]
fn a_log_that_grew_since_its_agent_spoke_is_still_open() {
    let grown = |second| {
        let cluster = cluster(vec![base(1, 50)], &[stretch(1, 0, 120)]);
        spans(&live(cluster, 1, second))
    };
    assert_eq!(grown(110), [(50, 170, true)]);
    // It speaks of what lies behind a gap.
    assert_eq!(grown(130), [(50, 119, false)]);
}

#[test]
fn a_gap_ends_a_window_and_the_next_base_begins_another() {
    let stretches = [stretch(1, 0, 70), stretch(1, 80, 150)];
    let cluster = live(
        cluster(vec![base(1, 50), base(1, 60), base(1, 100)], &stretches),
        1,
        150,
    );
    assert_eq!(spans(&cluster), [(50, 69, false), (100, 210, true)]);
    for second in [49, 70, 99, 211] {
        let target = Target::Time(at(second));
        let error = choose(&cluster, &target, None).unwrap_err().to_string();
        assert!(
            error.contains(&at(second).to_string()) && error.contains("gaps"),
            "{error}"
        );
    }
    assert_eq!(chosen(&cluster, &Target::Time(at(69))), (60, 1, 70));
    choose(&cluster, &Target::Lsn(Lsn(75)), None).unwrap_err();
    assert_eq!(chosen(&cluster, &Target::Lsn(Lsn(70))), (60, 1, 70));
}

#[test]
fn a_base_without_log_is_a_moment() {
    let alone = cluster(vec![base(1, 50)], &[]);
    assert_eq!(spans(&alone), [(50, 50, false)]);
    assert_eq!(chosen(&alone, &Target::Latest), (50, 1, 50));
    assert_eq!(chosen(&alone, &Target::Time(at(50))), (50, 1, 50));
    choose(&alone, &Target::Time(at(51)), None).unwrap_err();
    // Log that begins later is of no use to it.
    let late = cluster(vec![base(1, 50)], &[stretch(1, 60, 90)]);
    assert_eq!(spans(&late), [(50, 50, false)]);
    let none = cluster(vec![], &[stretch(1, 0, 90)]);
    assert_eq!(spans(&none), []);
    assert_eq!(
        choose(&none, &Target::Latest, None),
        Err(Unreachable::NoBase)
    );
}

#[test]
fn the_promoted_timeline_is_followed_unless_another_is_named() {
    // The old primary went on by itself up to 130; timeline 2 begins with a
    // copy of the segment in which it left timeline 1.
    let stretches = [stretch(1, 0, 130), stretch(2, 96, 140)];
    let cluster = live(
        promoted(cluster(vec![base(1, 50)], &stretches), 110),
        2,
        140,
    );
    assert_eq!(spans(&cluster), [(50, 200, true)]);
    assert_eq!(chosen(&cluster, &Target::Latest), (50, 2, 140));
    assert_eq!(chosen(&cluster, &Target::Time(at(105))), (50, 2, 140));
    let old = choose(&cluster, &Target::Latest, Some(TimelineId(1))).unwrap();
    assert_eq!(old.recovery.end, Lsn(130));
    assert_eq!(old.recovery.legs.len(), 1);
    let new = choose(&cluster, &Target::Latest, None).unwrap();
    assert_eq!(
        new.recovery.legs,
        [
            Leg {
                timeline: TimelineId(1),
                until: Some(Lsn(110))
            },
            Leg {
                timeline: TimelineId(2),
                until: None
            }
        ]
    );
    let error = choose(&cluster, &Target::Latest, Some(TimelineId(3))).unwrap_err();
    assert!(error.to_string().contains("1, 2"), "{error}");
}

#[test]
fn a_moment_before_a_timeline_began_is_on_the_one_that_was_written_then() {
    // At 160 somebody recovered to 100, and went on with that; timeline 1 had been
    // written up to 130.
    let stretches = [stretch(1, 0, 130), stretch(2, 96, 200)];
    let mut cluster = promoted(cluster(vec![base(1, 50)], &stretches), 100);
    cluster.histories[0].begun = at(160);
    let cluster = live(cluster, 2, 200);
    assert_eq!(spans(&cluster), [(50, 260, true)]);
    for (second, timeline, end) in [
        // Both know it.
        (99, 2, 200),
        (101, 1, 130),
        (129, 1, 130),
        // Nothing more was written then, as far as anybody knows.
        (159, 1, 130),
        (160, 2, 200),
        (260, 2, 200),
    ] {
        let target = Target::Time(at(second));
        assert_eq!(chosen(&cluster, &target), (50, timeline, end), "{second}");
    }
    let named = choose(&cluster, &Target::Time(at(120)), Some(TimelineId(2))).unwrap();
    assert_eq!(named.recovery.legs.len(), 2);
    assert_eq!(chosen(&cluster, &Target::Latest), (50, 2, 200));
}

#[test]
fn what_the_newest_timeline_does_not_lead_to_is_looked_for_on_others() {
    let stretches = [stretch(1, 0, 130), stretch(2, 96, 115)];
    let cluster = promoted(cluster(vec![base(1, 50)], &stretches), 110);
    assert_eq!(chosen(&cluster, &Target::Latest), (50, 2, 115));
    assert_eq!(chosen(&cluster, &Target::Lsn(Lsn(112))), (50, 2, 115));
    assert_eq!(chosen(&cluster, &Target::Lsn(Lsn(125))), (50, 1, 130));
    assert_eq!(chosen(&cluster, &Target::Time(at(129))), (50, 1, 130));
    let commit = Target::Xid(7, vec![(TimelineId(1), Lsn(118), Lsn(122))]);
    assert_eq!(chosen(&cluster, &commit), (50, 1, 130));
    let point = |places: &[(u32, u64)]| {
        let places = places.iter().map(|(t, l)| (TimelineId(*t), Lsn(*l)));
        Target::RestorePoint("before".into(), places.collect())
    };
    assert_eq!(chosen(&cluster, &point(&[(1, 120)])), (50, 1, 130));
    // That of the newest counts, where it has one.
    assert_eq!(
        chosen(&cluster, &point(&[(1, 120), (2, 113)])),
        (50, 2, 115)
    );
    choose(&cluster, &Target::Lsn(Lsn(131)), None).unwrap_err();
    choose(&cluster, &Target::Lsn(Lsn(125)), Some(TimelineId(2))).unwrap_err();
}

#[test]
fn a_timeline_without_commits_ends_no_window() {
    // Its first segment is a copy of the last of the timeline before.
    let stretches = [stretch(1, 0, 110), stretch(2, 96, 112)];
    let mut cluster = promoted(cluster(vec![base(1, 50)], &stretches), 110);
    cluster.last_commits.retain(|(it, _)| it.timeline.0 == 1);
    assert_eq!(spans(&cluster), [(50, 109, false)]);
    assert_eq!(chosen(&cluster, &Target::Time(at(109))), (50, 2, 112));
}

#[test]
fn a_base_behind_the_switch_does_not_lead_to_the_new_timeline() {
    let stretches = [stretch(1, 0, 130), stretch(2, 96, 140)];
    let cluster = promoted(cluster(vec![base(1, 120)], &stretches), 110);
    // It was taken on the old primary, after the promotion of the other.
    assert_eq!(chosen(&cluster, &Target::Latest), (120, 1, 130));
    choose(&cluster, &Target::Latest, Some(TimelineId(2))).unwrap_err();
}

#[test]
fn a_gap_before_the_switch_keeps_the_new_timeline_out_of_reach() {
    let stretches = [stretch(1, 0, 80), stretch(2, 96, 140)];
    let cluster = promoted(cluster(vec![base(1, 50), base(2, 120)], &stretches), 110);
    assert_eq!(spans(&cluster), [(50, 79, false), (120, 139, false)]);
    assert_eq!(chosen(&cluster, &Target::Latest), (120, 2, 140));
    let old = choose(&cluster, &Target::Time(at(79)), None).unwrap();
    assert_eq!(old.recovery.end, Lsn(80));
    assert_eq!(old.recovery.legs.len(), 1);
}

#[test]
fn what_is_complete_up_to_the_switch_is_on_the_new_timeline() {
    // The old log ends exactly where the new one begins.
    let stretches = [stretch(1, 0, 110), stretch(2, 110, 140)];
    let cluster = promoted(cluster(vec![base(1, 50)], &stretches), 110);
    assert_eq!(chosen(&cluster, &Target::Latest), (50, 2, 140));
}

#[test]
fn names_and_transactions_are_looked_up() {
    let cluster = cluster(vec![base(1, 50), base(1, 90)], &[stretch(1, 0, 120)]);
    let point = |places: &[(u32, u64)]| {
        let places = places.iter().map(|(t, l)| (TimelineId(*t), Lsn(*l)));
        Target::RestorePoint("before".into(), places.collect())
    };
    assert_eq!(chosen(&cluster, &point(&[(1, 80)])), (50, 1, 120));
    assert_eq!(chosen(&cluster, &point(&[(1, 95)])), (90, 1, 120));
    for (places, says) in [
        (&[][..], "no restore point"),
        (&[(9, 80)], "no restore point"),
        (&[(1, 80), (1, 95)], "several"),
        (&[(1, 45)], "cannot be recovered"),
    ] {
        let error = choose(&cluster, &point(places), None).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let commit = |parts: &[(u64, u64)]| {
        let parts = parts.iter().map(|(a, b)| (TimelineId(1), Lsn(*a), Lsn(*b)));
        Target::Xid(742, parts.collect())
    };
    assert_eq!(chosen(&cluster, &commit(&[(60, 70)])), (50, 1, 120));
    let named = choose(&cluster, &commit(&[(92, 96)]), None).unwrap();
    assert_eq!(named.recovery.target, RecoveryTarget::Xid(742));
    assert_eq!(named.base.snapshot.0[0], 90);
    for parts in [&[][..], &[(40, 60)], &[(120, 130)]] {
        choose(&cluster, &commit(parts), None).unwrap_err();
    }
}
