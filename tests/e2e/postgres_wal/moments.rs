//! A moment is the end of the last commit at or before it.

use strongroom_tests::cluster::sql;

use crate::postgres_physical::site::Site;

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
