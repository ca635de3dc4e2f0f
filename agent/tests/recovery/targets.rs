//! To each kind of target.

use std::{fs, io::Write, path::Path, process::Stdio};

use strongroom_layout::position::Lsn;
use strongroom_spec::RecoveryTarget;
use strongroom_tests::cluster::{as_postgres, server_programs, succeed};

use crate::site::{Site, lsn, names, rows};

fn assert_says(notes: &[String], parts: &[&str]) {
    let notes = notes.join("\n");
    for part in parts {
        assert!(notes.contains(part), "{part:?} is not in: {notes}");
    }
}

#[test]
fn to_a_time_a_position_a_transaction_a_name_and_the_end() {
    let site = Site::new("recovery-targets");
    site.insert(1);
    let time = site.cluster.sql("SELECT to_json(clock_timestamp())#>>'{}'");
    site.cluster.sql("SELECT pg_switch_wal()");
    site.insert(2);
    let position = lsn(&site.cluster.sql("SELECT pg_current_wal_flush_lsn()"));
    let xid = site.insert(3);
    // Filled, so that targets lie in different parts.
    site.cluster.sql(
        "CREATE TABLE filler AS SELECT repeat(md5(n::text), 40) FROM generate_series(1, 40000) n",
    );
    site.insert(4);
    site.cluster
        .sql("SELECT pg_create_restore_point('it''s \\ a point')");
    site.insert(5);
    site.archive(3_000_017);

    let time = RecoveryTarget::Time(time.parse().expect("a time"));
    let (found, notes) = site.rows_at("time", time);
    assert_eq!(found, "1", "{notes:?}");
    assert_says(
        &notes,
        &[
            "recovery stopping before WAL location",
            "timeline 2",
            "along timeline 1",
        ],
    );

    let (found, notes) = site.rows_at("position", RecoveryTarget::Lsn(position));
    assert_eq!(found, "1 2", "{notes:?}");

    let (found, notes) = site.rows_at("transaction", RecoveryTarget::Xid(xid));
    assert_eq!(found, "1 2 3", "{notes:?}");
    assert_says(&notes, &["recovery stopping before WAL location"]);

    let point = RecoveryTarget::RestorePoint("it's \\ a point".into());
    let (found, notes) = site.rows_at("point", point);
    assert_eq!(found, "1 2 3 4", "{notes:?}");

    let (found, notes) = site.rows_at("latest", RecoveryTarget::Latest);
    assert_eq!(found, "1 2 3 4 5", "{notes:?}");
    assert_says(
        &notes,
        &["the end of the archived log", "last transaction is of"],
    );
}

#[test]
fn targets_at_the_end_of_the_log_are_reached() {
    let site = Site::new("recovery-ends");
    site.insert(1);
    let before = lsn(&site.cluster.sql("SELECT pg_current_wal_flush_lsn()"));
    // In the rest of a segment, where nothing ever was written.
    let switched = lsn(&site.cluster.sql("SELECT pg_switch_wal()")).0 + 1_000_000;
    site.insert(2);
    site.archive(1 << 20);
    let end = site.archive.end(1);
    // Nothing is committed in the last record.
    let within = Lsn(end.0 - 8);
    for (name, target, wanted) in [
        ("end", RecoveryTarget::Lsn(end), "1 2"),
        ("within", RecoveryTarget::Lsn(within), "1 2"),
        ("before", RecoveryTarget::Lsn(before), "1"),
        ("switched", RecoveryTarget::Lsn(Lsn(switched)), "1"),
        ("late", RecoveryTarget::Time(strongroom_tests::now()), "1 2"),
    ] {
        let (found, notes) = site.rows_at(name, target);
        assert_eq!(found, wanted, "{name}: {notes:?}");
    }
    // What the snapshot holds stands in for what was archived too late.
    let stop = site.base.stop;
    let late = site.archive.parts();
    let mut late: Vec<_> = late.into_iter().filter(|part| part.start >= stop).collect();
    late.extend(
        site.archive
            .part_from(&site.runtime, &site.cluster.data(), stop),
    );
    site.archive.set_parts(late);
    let (found, notes) = site.rows_at("held", RecoveryTarget::Latest);
    assert_eq!(found, "1 2", "{notes:?}");
    // And where the base backup is all there is.
    let mut work = site.work("base", site.recovery(RecoveryTarget::Time(site.base.ended)));
    site.archive.set_parts(vec![]);
    work.recovery.as_mut().expect("a recovery").end = site.base.stop;
    let result = site.run(&work).expect("restored");
    assert_eq!(rows(crate::site::port(&result)), "");
}

/// The record of a later commit is all that is behind it.
#[test]
fn one_record_behind_a_target_is_seen() {
    let site = Site::new("recovery-one-behind");
    site.insert(1);
    let mut open = Open::insert(&site, 3);
    let xid = site.insert(2);
    let position = lsn(&site.cluster.sql("SELECT pg_current_wal_flush_lsn()"));
    let time = site.cluster.sql("SELECT to_json(clock_timestamp())#>>'{}'");
    open.commit();
    let end = lsn(&site.cluster.sql("SELECT pg_current_wal_flush_lsn()"));
    let data = site.cluster.data();
    site.archive.take(&site.runtime, &data, 1, end, 1 << 20);
    for (name, target, wanted) in [
        ("xid", RecoveryTarget::Xid(xid), "1 2"),
        ("position", RecoveryTarget::Lsn(position), "1 2"),
        (
            "time",
            RecoveryTarget::Time(time.parse().expect("a time")),
            "1 2",
        ),
        ("end", RecoveryTarget::Lsn(end), "1 2 3"),
    ] {
        let (found, notes) = site.rows_at(name, target);
        assert_eq!(found, wanted, "{name}: {notes:?}");
    }
}

/// A transaction that is under way.
struct Open(std::process::Child);

impl Open {
    /// With a row.
    fn insert(site: &Site, row: u32) -> Self {
        let port = site.cluster.port().to_string();
        let mut psql = as_postgres(server_programs().join("psql"));
        psql.args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port]);
        psql.args(["-d", "postgres"]).stdin(Stdio::piped());
        let mut open = Self(psql.spawn().expect("psql"));
        open.say(&format!("BEGIN; INSERT INTO rows VALUES ({row});\n"));
        strongroom_tests::operator::eventually("a row in a transaction", || {
            let state = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
            (site.cluster.sql(state) == "1").then_some(())
        });
        open
    }

    fn commit(&mut self) {
        self.say("COMMIT;\n");
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("it ends").success());
    }

    fn say(&mut self, words: &str) {
        let stdin = self.0.stdin.as_mut().expect("a pipe");
        stdin.write_all(words.as_bytes()).expect("it listens");
    }
}

#[test]
fn without_a_start_all_is_there_for_whoever_starts_it() {
    let site = Site::new("recovery-prepared");
    let xid = site.insert(1);
    site.insert(2);
    site.archive(5 << 20);
    let name = "odd 'name' 100%f";
    let mut work = site.work(name, site.recovery(RecoveryTarget::Xid(xid)));
    work.target.start = false;

    work.dry_run = true;
    let planned = site.run(&work).expect("planned");
    assert_says(
        &planned.notes,
        &["to be rolled forward to transaction", "2 segments"],
    );
    assert!(!site.target(name).exists());

    work.dry_run = false;
    let result = site.run(&work).expect("restored");
    assert_says(
        &result.notes,
        &["not started yet", "strongroom_wal", "postgresql.auto.conf"],
    );
    let data = site.target(name);
    let log = data.join("strongroom_wal");
    assert!(
        names(&log).iter().all(|name| name.len() == 24),
        "{:?}",
        names(&log)
    );
    for place in [&data, &log, &log.join(&names(&log)[0])] {
        let mut stat = std::process::Command::new("stat");
        let owner = succeed(stat.args(["-c", "%U"]).arg(place)).stdout;
        let owner = String::from_utf8(owner).expect("UTF-8");
        let original = owner_of(&site.cluster.data());
        assert_eq!(owner.trim_end(), original);
    }

    let port = strongroom_tests::port::Port::lease();
    let mut start = as_postgres(server_programs().join("pg_ctl"));
    start
        .args(["start", "-s", "-w", "-t", "600", "-D"])
        .arg(&data);
    start.arg("-l").arg(site.cluster.beside("logs").join("log"));
    start.args(["-o", &format!("-p {}", port.number())]);
    start.stdin(Stdio::null());
    succeed(&mut start);
    strongroom_tests::operator::eventually("a primary", || {
        let mut ready = as_postgres(server_programs().join("pg_isready"));
        let ready = ready
            .args(["-h", "127.0.0.1", "-p", &port.number().to_string()])
            .output();
        ready.expect("it runs").status.success().then_some(())
    });
    assert_eq!(rows(port.number()), "1");
}

fn owner_of(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let uid = fs::metadata(path).expect("a directory").uid();
    let mut id = std::process::Command::new("id");
    let name = succeed(id.args(["-nu", &uid.to_string()])).stdout;
    String::from_utf8(name)
        .expect("UTF-8")
        .trim_end()
        .to_owned()
}
