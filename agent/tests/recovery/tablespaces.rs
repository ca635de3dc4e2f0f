//! Tablespaces that the log makes, beside the server that made them.

use std::{fs, path::PathBuf, process::Stdio};

use strongroom_spec::{ClusterTarget, FailureCode, RecoveryTarget, Relocation, RestoreSpec};
use strongroom_tests::{
    cluster::{self, as_postgres, directory_for_postgres, programs, server_programs, sql, succeed},
    operator::eventually,
    port::Port,
};

use crate::site::{Site, port};

/// Bytes of a segment.
const SEGMENT: u64 = 16 << 20;
/// Tablespaces with long paths: many of their records go over pages.
const SPACES: usize = 24;

impl Site {
    /// A directory for a tablespace, with a path of some 600 bytes.
    fn space(&self, name: &str) -> PathBuf {
        let mut path = self.scratch.join("spaces");
        for _ in 0..3 {
            directory_for_postgres(&path);
            path.push("d".repeat(190));
        }
        directory_for_postgres(&path);
        path.push(name);
        directory_for_postgres(&path);
        path
    }

    /// A tablespace with a table in it that has this many rows.
    fn make(&self, name: &str, rows: usize) -> PathBuf {
        let path = self.space(name);
        let location = path.display();
        self.cluster
            .sql(&format!("CREATE TABLESPACE {name} LOCATION '{location}'"));
        self.cluster.sql(&format!(
            "CREATE TABLE in_{name} TABLESPACE {name} AS SELECT generate_series(1, {rows}) n"
        ));
        path
    }

    fn oid(&self, name: &str) -> String {
        let oid = format!("SELECT oid FROM pg_tablespace WHERE spcname = '{name}'");
        self.cluster.sql(&oid)
    }

    /// Fills the log up to so many bytes before a segment's end.
    fn fill_up_to(&self, left: u64) {
        let at = |of: &str| -> u64 {
            let at = self.cluster.sql(&format!("SELECT {of} - '0/0'::pg_lsn"));
            at.parse().expect("a number")
        };
        let insert = "pg_current_wal_insert_lsn()";
        // With the headers of its pages, and those of the record itself.
        let room = SEGMENT - at(insert) % SEGMENT;
        let message = (room - left) / 8192 * (8192 - 24) - 4096;
        let emit = |bytes: u64| {
            self.cluster.sql(&format!(
                "SELECT pg_logical_emit_message(false, 'fill', repeat('x', {bytes}))"
            ));
        };
        emit(message);
        while SEGMENT - at(insert) % SEGMENT > left {
            emit(16);
        }
    }
}

fn moved(from: &str, to: &std::path::Path) -> Relocation {
    Relocation {
        from: from.into(),
        to: to.to_str().expect("UTF-8").into(),
    }
}

/// What a server says of its tablespaces, and that their tables are whole.
fn prove(port: u16, places: &[(String, PathBuf)]) {
    for (rows, (name, place)) in places.iter().enumerate() {
        let count = sql(port, "postgres", &format!("SELECT count(*) FROM in_{name}"));
        assert_eq!(count, (rows + 1).to_string(), "{name}");
        let located = sql(
            port,
            "postgres",
            &format!(
                "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = '{name}'"
            ),
        );
        assert_eq!(PathBuf::from(located), *place, "{name}");
    }
}

#[test]
fn tablespaces_of_the_log_are_moved_wherever_their_records_lie() {
    let site = Site::new("recovery-tablespaces");
    let mut moves = Vec::new();
    let mut places = Vec::new();
    let mut paths = Vec::new();
    for number in 1..=SPACES {
        let name = format!("space{number}");
        if number == SPACES {
            site.fill_up_to(300);
        }
        let before: u64 = segment(&site);
        let path = site.make(&name, number);
        assert!(
            number < SPACES || segment(&site) > before,
            "no boundary was crossed"
        );
        let to = site.scratch.join("moved").join(&name);
        // By path, and by number.
        let oid = site.oid(&name);
        let from = path.to_str().expect("UTF-8");
        moves.push(moved(if number % 2 == 0 { from } else { &oid }, &to));
        places.push((name, to));
        paths.push(path);
    }
    // One that was dropped, and a database that was copied into one.
    let gone = site.make("gone", 7);
    let gone_oid = site.oid("gone");
    site.cluster.sql("DROP TABLE in_gone");
    site.cluster.sql("DROP TABLESPACE gone");
    let gone_to = site.scratch.join("moved/gone");
    moves.push(moved(&gone_oid, &gone_to));
    site.cluster
        .sql("CREATE DATABASE elsewhere TABLESPACE space1");
    sql(
        site.cluster.port(),
        "elsewhere",
        "CREATE TABLE t AS SELECT 1 AS n",
    );
    site.archive(300_000);
    let work = |name: &str, start: bool| RestoreSpec {
        target: ClusterTarget {
            start,
            tablespaces: moves.clone(),
            ..site
                .work(name, site.recovery(RecoveryTarget::Latest))
                .target
        },
        ..site.work(name, site.recovery(RecoveryTarget::Latest))
    };

    let result = site.run(&work("started", true)).expect("restored");
    let restored = port(&result);
    prove(restored, &places);
    assert_eq!(sql(restored, "elsewhere", "SELECT n FROM t"), "1");
    assert!(!gone_to.exists(), "an empty directory is left");
    let notes = result.notes.join("\n");
    assert!(
        notes.contains(&format!("not there at that moment: {}", gone_to.display())),
        "{notes}"
    );
    // It writes, and the other server's files stay as they are.
    for (name, _) in &places {
        sql(
            restored,
            "postgres",
            &format!("INSERT INTO in_{name} SELECT 0; CHECKPOINT"),
        );
    }
    let data = site.target("started");
    cluster::stop(&data);
    let mut links: Vec<_> = fs::read_dir(data.join("pg_tblspc"))
        .expect("a directory")
        .map(|link| fs::read_link(link.expect("an entry").path()).expect("a link"))
        .collect();
    links.sort();
    let mut wanted: Vec<_> = places.iter().map(|(_, place)| place.clone()).collect();
    wanted.sort();
    assert_eq!(links, wanted);

    // The same for a server that somebody starts by himself, later.
    fs::remove_dir_all(site.scratch.join("moved")).expect("a directory");
    site.run(&work("prepared", false)).expect("restored");
    let data = site.target("prepared");
    let lease = Port::lease();
    let mut start = as_postgres(server_programs().join("pg_ctl"));
    start
        .args(["start", "-s", "-w", "-t", "600", "-D"])
        .arg(&data);
    start.arg("-l").arg(site.cluster.beside("logs").join("log"));
    start.args(["-o", &format!("-p {}", lease.number())]);
    succeed(start.stdin(Stdio::null()));
    eventually("a primary", || {
        let mut ready = as_postgres(programs().join("pg_isready"));
        let port = lease.number().to_string();
        let ready = ready.args(["-h", "127.0.0.1", "-p", &port]).output();
        ready.expect("it runs").status.success().then_some(())
    });
    prove(lease.number(), &places);

    let originals: Vec<_> = places
        .iter()
        .map(|(name, _)| name.clone())
        .zip(paths)
        .collect();
    prove(site.cluster.port(), &originals);
    assert!(gone.exists());
}

fn segment(site: &Site) -> u64 {
    let at = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8 / 16777216";
    site.cluster.sql(at).parse().expect("a number")
}

#[test]
fn a_tablespace_of_the_log_is_refused_before_anything_is_written() {
    let site = Site::new("recovery-tablespace-refused");
    let path = site.make("late", 1);
    let oid = site.oid("late");
    site.archive(1 << 20);
    let refused = |moves: &[Relocation], start: bool, says: &[&str]| {
        let mut work = site.work("refused", site.recovery(RecoveryTarget::Latest));
        (work.target.tablespaces, work.target.start) = (moves.to_vec(), start);
        let error = site.run(&work).expect_err("a refusal");
        let message = error.to_string();
        assert!(says.iter().all(|part| message.contains(part)), "{message}");
        assert!(!site.target("refused").exists(), "something was written");
        error.code()
    };
    let path = path.to_str().expect("UTF-8");
    // The consent of these tests is given to every path, but it is in use.
    let says = ["not empty", path, &oid, "--tablespace"];
    for start in [true, false] {
        assert_eq!(refused(&[], start, &says), FailureCode::NotAllowed);
    }
    let taken = site.scratch.dir("taken");
    fs::write(taken.join("precious"), "").expect("a file");
    refused(&[moved(&oid, &taken)], true, &["not empty", "taken"]);
    let inside = site.target("refused").join("inside");
    refused(&[moved(&oid, &inside)], true, &["one in the other", &oid]);
    refused(&[moved("/no/such", &taken)], true, &["/no/such", path]);
}

#[test]
fn a_restored_server_s_own_log_is_understood() {
    // Its archive begins with the record without a path.
    let site = Site::new("recovery-tablespace-again");
    let path = site.make("late", 1);
    site.archive(1 << 20);
    let first = site.scratch.join("moved/first");
    let mut work = site.work("first", site.recovery(RecoveryTarget::Latest));
    work.target.tablespaces = vec![moved(path.to_str().expect("UTF-8"), &first)];
    let restored = port(&site.run(&work).expect("restored"));
    sql(restored, "postgres", "INSERT INTO in_late VALUES (2)");
    let end = crate::site::flushed(restored);
    let data = site.target("first");
    site.archive.take(&site.runtime, &data, 2, end, 1 << 20);
    site.archive.take_history(&site.runtime, &data, 2);
    cluster::stop(&data);
    let history = site.archive.history(2);
    let mut recovery = site.recovery(RecoveryTarget::Latest);
    recovery.end = end;
    recovery.legs = history.legs.clone();
    recovery.legs.push(strongroom_spec::Leg {
        timeline: history.timeline,
        until: None,
    });
    // Of the segment with the record, only what the restored server archived.
    let mut parts = site.archive.parts();
    let new = parts.iter().filter(|it| it.timeline == history.timeline);
    let begins = new.map(|it| it.start).min().expect("a part");
    parts.retain(|it| it.timeline == history.timeline || it.end <= begins);
    site.archive.set_parts(parts);
    let again = site.scratch.join("moved/again");
    let mut work = site.work("again", recovery);
    work.target.tablespaces = vec![moved(path.to_str().expect("UTF-8"), &again)];
    let restored = port(&site.run(&work).expect("restored again"));
    assert_eq!(
        sql(restored, "postgres", "SELECT count(*) FROM in_late"),
        "2"
    );
    let located = sql(
        restored,
        "postgres",
        "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'late'",
    );
    assert_eq!(PathBuf::from(located), again);
}
