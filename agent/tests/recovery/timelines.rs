//! Along a promotion.

use strongroom_layout::position::TimelineId;
use strongroom_spec::{Leg, Recovery, RecoveryTarget};
use strongroom_tests::cluster::{self, sql};

use crate::site::{Site, flushed, insert, port, rows};

#[test]
fn along_a_promotion_and_not_beyond_it_on_the_old_timeline() {
    let site = Site::new("recovery-timelines");
    site.insert(1);
    site.archive(2 << 20);
    // The first restore is the promotion: its server is on timeline 2.
    let work = site.work("promoted", site.recovery(RecoveryTarget::Latest));
    let promoted = port(&site.run(&work).expect("restored"));
    let data = site.target("promoted");
    insert(promoted, 20);
    let time = sql(
        promoted,
        "postgres",
        "SELECT to_json(clock_timestamp())#>>'{}'",
    );
    let xid = insert(promoted, 21);
    insert(promoted, 22);
    // Meanwhile the old primary goes on, in the very segment of the switch.
    for row in 30..33 {
        site.insert(row);
    }
    site.archive(100_000);
    let end = flushed(promoted);
    site.archive.take(&site.runtime, &data, 2, end, 1_000_000);
    site.archive.take_history(&site.runtime, &data, 2);
    cluster::stop(&data);

    let along = |target| {
        let mut legs = site.archive.history(2).legs;
        legs.push(Leg {
            timeline: TimelineId(2),
            until: None,
        });
        Recovery {
            system: site.base.system,
            legs,
            end: site.archive.end(2),
            target,
            line: 0,
            new_timeline: None,
        }
    };
    let at = RecoveryTarget::Time(time.parse().expect("a time"));
    for (name, target, wanted) in [
        ("latest", RecoveryTarget::Latest, "1 20 21 22"),
        ("transaction", RecoveryTarget::Xid(xid), "1 20 21"),
        ("time", at, "1 20"),
    ] {
        let result = site.run(&site.work(name, along(target)));
        let result = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(rows(port(&result)), wanted, "{name}: {:?}", result.notes);
        let notes = result.notes.join("\n");
        assert!(notes.contains("primary of timeline 3"), "{notes}");
        cluster::stop(&site.target(name));
    }
    // The old timeline is still there for whoever asks for it, and timeline 2
    // is not made twice.
    let (found, notes) = site.rows_at("old", RecoveryTarget::Latest);
    assert_eq!(found, "1 30 31 32");
    assert!(
        notes.join("\n").contains("primary of timeline 3"),
        "{notes:?}"
    );
}
