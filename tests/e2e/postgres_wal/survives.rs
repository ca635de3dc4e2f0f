//! What is archived survives whoever is killed, and whoever is promoted.

use std::fs;

use strongroom_tests::{
    cluster::{self, Cluster},
    operator::eventually,
    scratch::Scratch,
};

use super::recovery::rows;
use crate::postgres_physical::{load::Load, site::Site};

#[test]
fn nothing_is_missing_after_each_of_three_was_killed() {
    let mut site = Site::new("wal-kills", "");
    site.cluster.sql(
        "CREATE TABLE moments (n int PRIMARY KEY);\
         CREATE TABLE ledger (n bigint PRIMARY KEY, pad text);\
         CREATE TABLE churn AS SELECT id, 0 AS value FROM generate_series(1, 500) id;\
         CREATE TABLE truncated (n int); CREATE UNLOGGED TABLE unlogged (n int)",
    );
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();

    let load = Load::start(site.cluster.url());
    load.wait_for(50);
    site.world.agent.kill();
    load.wait_for(load.rows() + 50);
    site.world.agent.start();
    load.wait_for(load.rows() + 50);
    site.world.coordinator.kill();
    load.wait_for(load.rows() + 50);
    site.world.coordinator.start_again();
    load.wait_for(load.rows() + 50);
    let committed = load.finish().len();
    site.commit(1..=5);
    site.cluster.kill();
    site.cluster.start_again();
    let last = site.commit(6..=10);
    site.wait_until_recoverable(&last[4].at);

    let recovery = site.recovery();
    let lengths = ["gaps", "windows"].map(|of| recovery[of].as_array().map(Vec::len));
    assert_eq!(lengths, [Some(0), Some(1)], "{recovery:#}");
    let mut server = site.recovered("latest", &[]);
    assert_eq!(rows(&server), 10);
    let ledger = server.sql("SELECT count(*) FROM ledger");
    assert_eq!(ledger, committed.to_string());
    server.prove();
}

#[test]
fn a_promoted_standby_is_followed_and_the_old_timeline_can_be_chosen() {
    let scratch = Scratch::new("wal-promotion");
    let mut site = Site::new("wal-promoted", "wal_keep_size = '512MB'");
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    site.commit(1..=5);
    let mut standby = site.cluster.standby(&scratch, "standby");
    eventually("a standby that follows", || {
        let rows = standby.sql("SELECT count(*) FROM moments");
        (rows == "5").then_some(())
    });
    standby.sql("SELECT pg_promote()");

    // The old primary does not know, and goes on.
    let left = site.commit(6..=8);
    site.wait_for_archive();
    site.cluster.stop();
    let port = site.cluster.port();
    take_over(&mut standby, port);
    let last = site.commit(6..=9);
    site.wait_until_recoverable(&last[3].at);

    let server = site.recovered("newest", &[]);
    assert_eq!(rows(&server), 9);
    let server = site.recovered("old", &["--timeline", "1"]);
    assert_eq!(rows(&server), 8);
    // What was then was on the old one, whatever came of it.
    let server = site.recovered("then", &["--at", &left[1].at]);
    assert_eq!(rows(&server), 7);
    standby.stop();
    assert!(fs::exists(standby.data().join("pg_wal/00000002.history")).expect("a directory"));
}

/// Has a server listen where another one did.
fn take_over(standby: &mut Cluster, port: u16) {
    let set = format!("ALTER SYSTEM SET port = {port}");
    cluster::sql(standby.port(), "postgres", &set);
    standby.stop();
    standby.start_again();
}
