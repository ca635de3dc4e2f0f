//! What is archived survives whoever is killed, and whoever is promoted.

use std::{fs, io::Write as _};

use strongroom_tests::{
    cluster::{self, Cluster},
    operator::eventually,
    scratch::Scratch,
};

use super::recovery::rows;
use crate::postgres_physical::{
    load::{Load, position},
    site::Site,
};

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

#[test]
fn an_old_primary_that_comes_back_is_followed_on_its_own_timeline() {
    let scratch = Scratch::new("wal-old-primary");
    let mut site = Site::new("wal-old-primary-site", "wal_keep_size = '512MB'");
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    let mut standby = site.cluster.standby(&scratch, "standby");
    site.commit(1..=2);
    eventually("a standby that follows", || {
        let rows = standby.sql("SELECT count(*) FROM moments");
        (rows == "2").then_some(())
    });
    standby.sql("SELECT pg_promote()");
    site.cluster.stop();
    take_over(&mut standby, site.cluster.port());
    site.commit(3..=4);
    site.fill_segment();
    site.wait_for_archive();
    assert_eq!(site.archiving()["timeline"], 2);

    // The archive knows more of a later timeline than this server will ever have.
    standby.stop();
    site.cluster.start_again();
    let last = site.commit(3..=5);
    site.fill_segment();
    let end = site.cluster.sql("SELECT pg_current_wal_flush_lsn()");
    eventually("the archive of the old primary's log", || {
        let archiving = site.archiving();
        let archived = position(archiving["lsn"].as_str()?) >= position(&end);
        let complete = archiving["as_of"].as_str()? >= last[2].at.as_str();
        (archiving["timeline"] == 1 && archived && complete).then_some(())
    });
    let start = site.cluster.sql("SELECT pg_current_wal_lsn()");
    site.fill_segment();
    eventually("a slot that moves on", || {
        let moved = format!("SELECT restart_lsn > '{start}'::pg_lsn FROM pg_replication_slots");
        (site.cluster.sql(&moved) == "t").then_some(())
    });
    let server = site.recovered("old", &["--timeline", "1", "--at", &last[2].at]);
    assert_eq!(rows(&server), 5);
    let server = site.recovered("new", &["--timeline", "2"]);
    assert_eq!(rows(&server), 4);
}

#[test]
fn a_standby_that_lacks_what_is_archived_is_waited_for_aloud() {
    let scratch = Scratch::new("wal-lagging");
    let mut site = Site::new("wal-lagging-site", "wal_keep_size = '512MB'");
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    let mut standby = site.cluster.standby(&scratch, "standby");
    site.commit(1..=1);
    eventually("a standby that follows", || {
        let rows = standby.sql("SELECT count(*) FROM moments");
        (rows == "1").then_some(())
    });
    standby.stop();
    site.commit(2..=3);
    site.wait_for_archive();
    site.cluster.stop();
    take_over_as_standby(&mut standby, site.cluster.port());
    eventually("what it lacks", || {
        let archiving = site.archiving();
        let problem = archiving["problem"].as_str()?;
        problem.contains("of timeline 1").then_some(())
    });

    // Promoted, it has a log of its own.
    site.cluster.sql("SELECT pg_promote()");
    let last = site.commit(2..=2);
    site.wait_until_recoverable(&last[0].at);
    assert_eq!(site.archiving()["problem"], serde_json::Value::Null);
}

/// Has a server listen where another one did.
fn take_over(standby: &mut Cluster, port: u16) {
    let set = format!("ALTER SYSTEM SET port = {port}");
    cluster::sql(standby.port(), "postgres", &set);
    standby.stop();
    standby.start_again();
}

/// The same of one that is down, and stays a standby: whom it follows is away.
fn take_over_as_standby(standby: &mut Cluster, port: u16) {
    let settings = standby.data().join("postgresql.auto.conf");
    let settings = fs::OpenOptions::new().append(true).open(settings);
    let mut settings = settings.expect("the settings");
    writeln!(settings, "port = {port}").expect("a line");
    standby.start_again();
}
