//! Physical backups of real clusters, and servers brought up on what was
//! restored.

mod access;
mod exchanged;
mod failures;
mod home;
mod incremental;
pub(crate) mod load;
mod quiet;
mod refusals;
mod rights;
pub(crate) mod site;

use std::{fs, path::Path};

use strongroom_tests::{
    cluster::{Cluster, sql},
    operator::{eventually, text},
    scratch::Scratch,
};

use self::{
    load::{Load, position},
    site::Site,
};

#[test]
fn a_busy_cluster_comes_back_whole_and_starts() {
    let site = Site::new("physical", "");
    let cluster = &site.cluster;
    let (fast, slow) = (cluster.beside("fast disk"), cluster.beside("slow"));
    cluster.sql(&format!(
        "CREATE TABLESPACE fast LOCATION '{}'",
        fast.display()
    ));
    cluster.sql(&format!(
        "CREATE TABLESPACE slow LOCATION '{}'",
        slow.display()
    ));
    cluster.sql("CREATE DATABASE elsewhere TABLESPACE slow");
    sql(
        cluster.port(),
        "elsewhere",
        "CREATE TABLE t AS SELECT generate_series(1, 5000) n",
    );
    cluster.sql(
        "CREATE TABLE ledger (n bigint PRIMARY KEY, pad text);\
         ALTER TABLE ledger ALTER pad SET STORAGE EXTERNAL;\
         CREATE TABLE churn TABLESPACE fast AS SELECT id, 0 AS value FROM generate_series(1, 5000) id;\
         CREATE INDEX ON churn (value) TABLESPACE slow; CREATE INDEX ON churn (id);\
         CREATE TABLE truncated (n int); CREATE UNLOGGED TABLE unlogged (n int);\
         INSERT INTO unlogged SELECT generate_series(1, 1000)",
    );
    let load = Load::start(cluster.url());
    load.wait_for(50);
    let (snapshot, figures) = site.backup();
    assert!(
        figures["bytes_read"].as_u64() > Some(20_000_000),
        "{figures:#}"
    );
    // The writer was at it all the time.
    load.wait_for(load.rows() + 1);
    let committed = load.finish();
    assert_eq!(site.slots(), "0");
    site.world.restic().check();

    let manifest = site.manifest(&snapshot);
    assert_eq!(manifest["pages"]["checksums"], true, "{manifest:#}");
    assert_eq!(manifest["pages"]["damaged"], 0, "{manifest:#}");
    // Real pages, by thousands: what is computed is what the server computes.
    assert!(
        manifest["pages"]["verified"].as_u64() > Some(2_000),
        "{manifest:#}"
    );
    let (moved_fast, moved_slow) = (
        site.world.restores.join("moved fast"),
        site.world.restores.join("moved-slow"),
    );
    let fast = format!("{}={}", fast.display(), moved_fast.display());
    // One by its path, one by its number.
    let oid = cluster.sql("SELECT oid FROM pg_tablespace WHERE spcname = 'slow'");
    let slow = format!("{oid}={}", moved_slow.display());
    let moves = ["--tablespace", fast.as_str(), "--tablespace", slow.as_str()];
    let mut restored = site.start_restored(&snapshot, "data", &moves);

    let rows: i64 = restored
        .sql("SELECT coalesce(max(n), 0) FROM ledger")
        .parse()
        .expect("a number");
    let gaps = restored.sql("SELECT max(n) - count(*) FROM ledger");
    assert_eq!(gaps, "0", "rows are missing in the middle");
    let stop = position(&text(&manifest["stop_lsn"]));
    let promised = committed
        .iter()
        .filter(|(_, behind)| *behind <= stop)
        .map(|(number, _)| *number)
        .max();
    assert!(promised >= Some(50), "{manifest:#}");
    assert!(
        rows >= promised.unwrap_or(0),
        "{rows} rows, but {promised:?} were committed before {stop:X}"
    );
    let wrong = "SELECT count(*) FROM ledger WHERE pad <> repeat(md5(n::text), (5 + n % 100)::int)";
    assert_eq!(restored.sql(wrong), "0");
    assert_eq!(restored.sql("SELECT count(*) FROM unlogged"), "0");
    assert_eq!(restored.sql("SELECT count(*) FROM churn"), "5000");
    assert_eq!(restored.sql("SELECT pg_is_in_recovery()"), "f");
    let elsewhere = sql(restored.port, "elsewhere", "SELECT count(*) FROM t");
    assert_eq!(elsewhere, "5000");
    let place = restored
        .sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'");
    assert_eq!(Path::new(&place), moved_fast);
    restored.prove();

    // Nothing that only the running server needs was kept.
    assert!(
        !restored.data.join("backup_label").exists(),
        "it was replayed"
    );
    let leftovers = fs::read_dir(restored.data.join("pg_replslot")).expect("a directory");
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn a_standby_is_backed_up_as_well() {
    let scratch = Scratch::new("physical-standby");
    let primary = Cluster::start(&scratch, "primary");
    primary.sql(
        "CREATE TABLE ledger (n bigint PRIMARY KEY, pad text); CREATE TABLE churn AS \
         SELECT id, 0 AS value FROM generate_series(1, 1000) id; CREATE TABLE truncated (n int);\
         CREATE UNLOGGED TABLE unlogged (n int)",
    );
    let standby = primary.standby(&scratch, "standby");
    let site = Site::of("physical-standby", scratch, standby, |agent| agent);
    let load = Load::start(primary.url());
    load.wait_for(20);
    eventually("a table on the standby", || {
        (site.cluster.sql("SELECT count(*) > 10 FROM ledger") == "t").then_some(())
    });
    let (snapshot, _) = site.backup();
    let committed = load.finish();
    let manifest = site.manifest(&snapshot);
    assert_eq!(manifest["from_standby"], true, "{manifest:#}");
    let mut restored = site.start_restored(&snapshot, "data", &[]);
    assert_eq!(restored.sql("SELECT pg_is_in_recovery()"), "f");
    assert_eq!(restored.sql("SELECT max(n) - count(*) FROM ledger"), "0");
    let rows: i64 = restored
        .sql("SELECT max(n) FROM ledger")
        .parse()
        .expect("a number");
    let stop = position(&text(&manifest["stop_lsn"]));
    let promised = committed.iter().filter(|(_, behind)| *behind <= stop);
    assert!(rows >= promised.map(|(number, _)| *number).max().unwrap_or(11));
    restored.prove();
}
