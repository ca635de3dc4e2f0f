//! A moment is the end of the last commit at or before it.

use std::fs;

use strongroom_tests::{
    cluster::sql,
    operator::{only, text},
};

use crate::postgres_physical::site::{Restored, Site};

const NOW: &str = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', \
                   'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";

/// The files of a database are removed before its drop is committed.
#[test]
fn a_database_that_is_about_to_be_dropped_is_whole() {
    let site = Site::new("wal-before-drop", "");
    site.cluster.sql("CREATE DATABASE victim");
    let port = site.cluster.port();
    sql(
        port,
        "victim",
        "CREATE TABLE t AS SELECT generate_series(1, 1000) id",
    );
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    let at = site.cluster.sql(NOW);
    let lsn = site.cluster.sql("SELECT pg_current_wal_insert_lsn()");
    site.cluster.sql("DROP DATABASE victim");
    site.cluster.sql("CREATE TABLE later ()");
    let after = site.cluster.sql(NOW);
    site.cluster.sql("CREATE TABLE latest ()");
    site.wait_until_recoverable(&after);

    let rows = |port| sql(port, "victim", "SELECT count(*) FROM t");
    let first = site.recovered("at", &["--at", &at]);
    assert_eq!(rows(first.port), "1000");
    let second = site.recovered("position", &["--lsn", &lsn]);
    assert_eq!(rows(second.port), "1000");
    let third = site.recovered("after", &["--at", &after]);
    let there = "SELECT count(*) FROM pg_database WHERE datname = 'victim'";
    assert_eq!(third.sql(there), "0");
    assert_eq!(third.sql("SELECT to_regclass('later') IS NOT NULL"), "t");

    // Each has a timeline that no other has taken.
    let timeline = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
    let timelines = [&first, &second, &third].map(|server| server.sql(timeline));
    assert_eq!(timelines, ["00000002", "00000003", "00000004"]);
}

#[test]
fn databases_that_cannot_be_used_are_named_behind_a_recovery() {
    let site = Site::new("wal-unusable", "");
    let sql = |statement: &str| site.cluster.sql(statement);
    for database in ["\"half, dropped\"", "gone", "whole"] {
        sql(&format!("CREATE DATABASE {database}"));
    }
    sql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half, dropped'");
    sql("CHECKPOINT");
    let gone = sql("SELECT oid FROM pg_database WHERE datname = 'gone'");
    fs::remove_dir_all(site.cluster.data().join("base").join(gone)).expect("its directory");
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    sql("CREATE TABLE later ()");
    site.wait_for_archive();

    let (said, data) = site.recover(3, "named", &[]);
    let job = only(&said["jobs"]);
    let server = Restored::of(&job, data);
    assert_eq!(server.sql("SELECT to_regclass('later') IS NOT NULL"), "t");
    let warnings = job["warnings"].as_array().expect("warnings");
    let told = warnings.iter().map(|it| {
        let cause = text(&it["cause"]);
        let what = cause.split(':').next().unwrap_or_default().to_owned();
        (text(&it["code"]), text(&it["path"]["text"]), what)
    });
    let unusable = |name: &str, what: &str| {
        let code = "database-unusable".to_owned();
        (code, name.to_owned(), what.to_owned())
    };
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            unusable("half, dropped", "it is invalid"),
            unusable("gone", "its directory is not there"),
        ]
    );
}
