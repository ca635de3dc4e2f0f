//! Followed by the replication protocol.

use strongroom_tests::operator::{eventually, text};

use crate::{postgres_physical::site::Site, world::POLICY};

#[test]
fn what_is_committed_is_archived_within_seconds_and_the_server_may_forget_it() {
    let site = Site::new("wal-stream", "");
    site.archive("flush = '1s'");
    site.archiving_job();
    let (snapshot, _) = site.backup();
    site.cluster.sql("CREATE TABLE t AS SELECT 1 AS n");
    site.wait_for_archive();
    let recovery = site.recovery();
    let window = &recovery["windows"][0];
    assert_eq!(window["open"], true, "{recovery:#}");
    assert_eq!(window["snapshots"][0], snapshot.as_str(), "{recovery:#}");
    assert_eq!(recovery["gaps"].as_array().map(Vec::len), Some(0));
    assert_eq!(recovery["archiving"]["problem"], serde_json::Value::Null);

    // Segments are archived whole, and the slot holds none of them back.
    let start = site.cluster.sql("SELECT pg_current_wal_lsn()");
    site.cluster
        .sql("SELECT pg_switch_wal(); CREATE TABLE u AS SELECT 2 AS n");
    site.wait_for_archive();
    let kept = "SELECT restart_lsn > $1::pg_lsn FROM pg_replication_slots";
    eventually("a slot that moves on", || {
        let moved = site.cluster.sql(&kept.replace("$1", &format!("'{start}'")));
        (moved == "t").then_some(())
    });

    eventually("a window", || {
        let window = site.recovery()["windows"][0].clone();
        (text(&window["from"]) < text(&window["to"])).then_some(())
    });

    // Nothing of it is in restic's way.
    site.world.restic().check();
    let shown = site.world.operator().run(["status"]).stdout;
    assert!(shown.contains("recoverable from"), "{shown}");
    let shown = site.world.operator().run(["snapshots", "list"]).stdout;
    assert!(shown.contains("recoverable from"), "{shown}");
}

#[test]
fn a_policy_that_goes_leaves_no_slot() {
    let site = Site::new("wal-forget", "");
    site.archive("");
    let job = site.archiving_job();
    eventually("a slot", || (site.slots() == "1").then_some(()));
    site.world.operator().json(&["policies", "delete", POLICY]);
    let ended = site.world.operator().wait_for_end(&job);
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    eventually("the slot's end", || (site.slots() == "0").then_some(()));
    let jobs = site
        .world
        .operator()
        .json(&["jobs", "list", "--kind", "wal"]);
    let last = &jobs["jobs"][0];
    assert_ne!(text(&last["id"]), job);
}
