//! What waits on the server while the store is away is bounded, and the policy
//! says what gives way.

use strongroom_tests::{coordinator::Setup, operator::eventually, proxy::Gate};

use super::recovery::rows;
use crate::{postgres_physical::site::Site, world::POLICY};

/// Segments that are more than the least limit.
const SEGMENTS: usize = 6;

/// A cluster with a base backup and three rows in its archive, whose log is
/// then no longer stored.
fn without_store(name: &str, when_full: &str) -> (Site, Gate) {
    let site = Site::behind_proxy(name, Setup::default());
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive(&format!(
        "flush = '1s', limit = '64MiB', when_full = '{when_full}'"
    ));
    site.archiving_job();
    site.backup();
    let known = site.commit(1..=3);
    site.wait_until_recoverable(&known[2].at);
    let gate = site.world.proxy().hold_all(|seen| seen.puts("wal"));
    site.commit(4..=4);
    for _ in 0..SEGMENTS {
        site.fill_segment();
    }
    (site, gate)
}

/// The store is there again.
fn heal(site: &Site, gate: &Gate) {
    site.world.proxy().clear();
    gate.open();
}

#[test]
fn log_that_is_kept_raises_an_alarm_and_nothing_is_missing() {
    let (site, gate) = without_store("wal-keep", "keep-log");
    eventually("an alarm", || {
        let archiving = site.archiving();
        let problem = archiving["problem"].as_str()?;
        (problem.contains("wal.limit of 64MiB") && problem.contains("keep-log")).then_some(())
    });
    let shown = site.world.operator().run(["status"]).stdout;
    assert!(shown.contains("disk fills up"), "{shown}");
    assert_eq!(site.slots(), "1");

    heal(&site, &gate);
    let last = site.commit(5..=5);
    site.wait_until_recoverable(&last[0].at);
    eventually("the alarm's end", || {
        site.archiving()["problem"].is_null().then_some(())
    });
    let recovery = site.recovery();
    let lengths = ["gaps", "windows"].map(|of| recovery[of].as_array().map(Vec::len));
    assert_eq!(lengths, [Some(0), Some(1)], "{recovery:#}");
    let server = site.recovered("latest", &[]);
    assert_eq!(rows(&server), 5);
}

#[test]
fn log_that_gives_way_is_said_to_and_the_next_base_backup_ends_the_gap() {
    let (site, gate) = without_store("wal-drop", "drop-log");
    let held = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) < 16000000 \
                FROM pg_replication_slots";
    eventually("a slot that holds nothing back", || {
        (site.cluster.sql(held) == "t").then_some(())
    });
    heal(&site, &gate);
    let agent = site.world.agent.program();
    agent.wait_for_line("a word of what was given up", |line| {
        ["wal.limit", "given up", "gap"]
            .iter()
            .all(|it| line.contains(it))
    });

    site.backup();
    let last = site.commit(5..=5);
    site.recovery_behind_a_gap(&last[0].at);
    let snapshots = site
        .world
        .operator()
        .json(&["snapshots", "list", "--policy", POLICY]);
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(2));
    let server = site.recovered("latest", &[]);
    assert_eq!(rows(&server), 5);
}
