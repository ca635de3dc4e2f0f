//! Tablespaces that were made behind a base backup, or while it was taken.

use std::path::{Path, PathBuf};

use serde_json::Value;
use strongroom_tests::operator::{eventually, only, text};

use crate::{
    postgres_physical::site::{Restored, Site},
    world::{POLICY, assert_says, snapshot_of},
};

/// A tablespace, and a table in it with 1000 old rows.
fn make(site: &Site, place: &Path) {
    let sql = |statement: &str| site.cluster.sql(statement);
    sql(&format!(
        "CREATE TABLESPACE late LOCATION '{}'",
        place.display()
    ));
    sql("CREATE TABLE in_late (id int PRIMARY KEY, v text) TABLESPACE late");
    sql("INSERT INTO in_late SELECT n, 'old' FROM generate_series(1, 1000) n");
}

fn change(site: &Site) {
    site.cluster.sql("UPDATE in_late SET v = 'new'");
    site.cluster
        .sql("INSERT INTO in_late SELECT n, 'newer' FROM generate_series(1001, 2000) n");
    site.cluster.sql("CHECKPOINT");
}

const ROWS: &str = "SELECT string_agg(v || ' ' || rows, ', ') FROM \
     (SELECT v, count(*) AS rows FROM in_late GROUP BY v ORDER BY v) AS by_v";

/// The restored server writes, and both are what they were.
fn prove_apart(site: &mut Site, restored: &mut Restored, moved: &Path) {
    assert_eq!(restored.sql(ROWS), "old 1000");
    let located = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'late'";
    assert_eq!(PathBuf::from(restored.sql(located)), moved);
    for statement in [
        "DELETE FROM in_late WHERE id > 10",
        "VACUUM FULL in_late",
        "CHECKPOINT",
    ] {
        restored.sql(statement);
    }
    // Nothing that the original holds in memory hides what lies on its disk.
    site.cluster.stop();
    site.cluster.start_again();
    assert_eq!(site.cluster.sql(ROWS), "new 1000, newer 1000");
    restored.prove();
}

fn message(said: &Value) -> String {
    text(&only(&said["jobs"])["failure"]["message"])
}

#[test]
fn a_tablespace_made_behind_the_backup_is_not_the_original_s() {
    let mut site = Site::new("wal-tablespace", "");
    // Where restores are allowed, so that it is what lies there that counts.
    let allowed = site.world.restores.join("original");
    let forbidden = site.cluster.beside("forbidden");
    strongroom_tests::cluster::directory_for_postgres(&allowed);
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    let now =
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let before = site.cluster.sql(now);
    // Recovery stops before this commit: what the next one makes is not replayed.
    site.cluster.sql("CREATE TABLE in_between (n int)");
    make(&site, &allowed);
    site.cluster.sql(&format!(
        "CREATE TABLESPACE other LOCATION '{}'",
        forbidden.display()
    ));
    let at = site.cluster.sql(now);
    change(&site);
    site.cluster.sql("SELECT pg_switch_wal()");
    let last = site.cluster.sql(now);
    site.cluster.sql("CREATE TABLE behind_it (n int)");
    site.wait_until_recoverable(&last);

    let until = ["--at", at.as_str()];
    let oid = "SELECT oid FROM pg_tablespace WHERE spcname = ";
    let oids = ["late", "other"].map(|name| site.cluster.sql(&format!("{oid}'{name}'")));
    let moved = ["moved-late", "moved-other"].map(|name| site.world.restores.join(name));
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let by_oid = format!("{}={}", oids[0], path(&moved[0]));
    let by_path = format!("{}={}", path(&forbidden), path(&moved[1]));
    for (name, moves, says) in [
        (
            "neither",
            &[][..],
            [path(&allowed), "not empty".into(), oids[0].clone()],
        ),
        (
            "late",
            &["--tablespace", by_oid.as_str()],
            [path(&forbidden), "restore_paths".into(), oids[1].clone()],
        ),
        (
            "other",
            &["--tablespace", by_path.as_str()],
            [path(&allowed), "--tablespace".into(), oids[0].clone()],
        ),
    ] {
        let (said, data) = site.recover(1, name, &[&until, moves].concat());
        let says: Vec<_> = says.iter().map(String::as_str).collect();
        assert_says(&message(&said), &says);
        assert!(!data.exists() && !moved[0].exists() && !moved[1].exists());
    }
    let moves = [
        "--tablespace",
        by_oid.as_str(),
        "--tablespace",
        by_path.as_str(),
    ];
    let mut restored = site.recovered("moved", &[&until[..], &moves].concat());
    prove_apart(&mut site, &mut restored, &moved[0]);

    // Before they were made, they are not there, and nothing of them is left.
    for place in &moved {
        std::fs::remove_dir_all(place).expect("a directory");
    }
    let restored = site.recovered("before", &[&["--at", before.as_str()][..], &moves].concat());
    assert_eq!(restored.sql("SELECT count(*) FROM pg_tablespace"), "2");
    assert!(moved.iter().all(|it| !it.exists()));
    let links = std::fs::read_dir(restored.data.join("pg_tblspc")).expect("a directory");
    assert_eq!(links.count(), 0);
}

#[test]
fn a_tablespace_made_during_the_backup_is_not_the_original_s() {
    let mut site = Site::new("physical-tablespace", "");
    let place = site.cluster.beside("late");
    // Some 20 MiB are read after the backup has begun, and before it ends.
    site.apply("limits = { attempts = 1, read = \"2MiB/s\" }");
    let job = site.world.operator().start(POLICY);
    eventually("a backup that copies", || {
        let job = site.world.operator().job(&job);
        (job["progress"]["bytes"].as_u64() > Some(0)).then_some(())
    });
    make(&site, &place);
    let snapshot = snapshot_of(&site.world.operator().wait_for_end(&job));
    assert_eq!(
        site.manifest(&snapshot)["tablespaces"],
        Value::Array(vec![])
    );
    change(&site);

    let data = site.world.restores.join("data");
    for start in [&["--start"][..], &[]] {
        let job = site.restore(1, &snapshot, &data, start);
        assert_says(
            &text(&job["failure"]["message"]),
            &[place.to_str().expect("UTF-8"), "--tablespace"],
        );
        assert!(!data.exists(), "something was written");
    }
    let moved = site.world.restores.join("moved");
    let to = format!("{}={}", place.display(), moved.display());
    let planned = site.restore(0, &snapshot, &data, &["--dry-run", "--tablespace", &to]);
    let notes = planned["result"]["restore"]["notes"].to_string();
    assert_says(
        &notes,
        &["which the log makes", moved.to_str().expect("UTF-8")],
    );
    let mut restored = site.start_restored(&snapshot, "data", &["--tablespace", &to]);
    prove_apart(&mut site, &mut restored, &moved);
}
