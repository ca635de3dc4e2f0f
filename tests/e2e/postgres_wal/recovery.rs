//! Clusters as they were at any moment.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::Value;
use strongroom_tests::operator::{eventually, only, text};

use crate::{
    disk_full::SmallDisk,
    postgres_physical::site::{Restored, Site},
    world::{AGENT, POLICY},
};

/// Rows that are committed one by one.
const ROWS: usize = 60;
/// Moments to which the cluster is restored.
const MOMENTS: usize = 20;

/// What a client knew when its commit had returned.
pub(super) struct Commit {
    pub(super) at: String,
    lsn: String,
    xid: String,
}

impl Site {
    /// What a restore of the dataset ended with.
    pub(super) fn recover(&self, code: i32, name: &str, until: &[&str]) -> (Value, PathBuf) {
        let data = self.world.restores.join(name);
        let target = data.to_str().expect("UTF-8");
        let arguments = [
            &["restore", "--dataset", POLICY, "--agent", AGENT][..],
            &["--target", target, "--start", "--wait"],
            until,
        ]
        .concat();
        let said = self.world.operator().json_with(code, &arguments);
        (said, data)
    }

    /// A server on the cluster as it was then.
    pub(super) fn recovered(&self, name: &str, until: &[&str]) -> Restored {
        let (said, data) = self.recover(0, name, until);
        Restored::of(&only(&said["jobs"]), data)
    }

    /// Waits until the cluster can be recovered as it was at a moment.
    pub(super) fn wait_until_recoverable(&self, at: &str) {
        let at: Timestamp = at.parse().expect("a moment");
        eventually(&format!("recovery to {at}"), || {
            let to = text(&self.recovery()["windows"][0]["to"]);
            let to: Timestamp = to.parse().expect("a moment");
            (to >= at).then_some(())
        });
    }

    /// Commits rows with these numbers, one by one.
    pub(super) fn commit(&self, numbers: impl Iterator<Item = usize>) -> Vec<Commit> {
        let one = |number| {
            let sql = &self.cluster;
            sql.sql(&format!("INSERT INTO moments VALUES ({number})"));
            let known = sql.sql(&format!(
                "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
                 pg_current_wal_lsn(), xmin FROM moments WHERE n = {number}"
            ));
            let mut known = known.split('|').map(ToOwned::to_owned);
            let mut next = || known.next().expect("a column");
            let (at, lsn, xid) = (next(), next(), next());
            Commit { at, lsn, xid }
        };
        numbers.map(one).collect()
    }
}

/// How many rows there are, and that they are the first ones.
pub(super) fn rows(server: &Restored) -> usize {
    let rows = server.sql("SELECT count(*), coalesce(max(n), 0) FROM moments");
    let (count, last) = rows.split_once('|').expect("two columns");
    assert_eq!(count, last, "not the first rows");
    count.parse().expect("a number")
}

/// Numbers that look random, and are the same in each run.
fn moments() -> impl Iterator<Item = usize> {
    (1..=MOMENTS).map(|number| number * 7_919 % ROWS + 1)
}

#[test]
fn a_cluster_comes_back_as_it_was_at_any_moment() {
    let site = Site::new("wal-moments", "");
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    let mut commits = site.commit(1..=ROWS / 2);
    site.cluster
        .sql("SELECT pg_create_restore_point('half way')");
    site.backup();
    commits.extend(site.commit(ROWS / 2 + 1..=ROWS));
    site.wait_until_recoverable(&commits[ROWS - 1].at);

    for number in moments() {
        let commit = &commits[number - 1];
        let server = site.recovered(&format!("at-{number}"), &["--at", &commit.at]);
        assert_eq!(rows(&server), number, "{}", commit.at);
    }
    let commit = &commits[40];
    let mut server = site.recovered("at-lsn", &["--lsn", &commit.lsn]);
    assert_eq!(rows(&server), 41);
    // It is a primary, whole, and takes writes.
    server.sql("INSERT INTO moments VALUES (42)");
    server.prove();
    let server = site.recovered("at-xid", &["--xid", &commits[13].xid]);
    assert_eq!(rows(&server), 14);
    let server = site.recovered("at-point", &["--restore-point", "half way"]);
    assert_eq!(rows(&server), ROWS / 2);
    let server = site.recovered("latest", &[]);
    assert_eq!(rows(&server), ROWS);
    assert_eq!(server.sql("SELECT pg_is_in_recovery()"), "f");
}

#[test]
fn what_cannot_be_recovered_is_refused_with_what_can() {
    let site = Site::new("wal-outside", "");
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    site.cluster.sql("CREATE TABLE t (n int)");
    site.wait_for_archive();
    let refused = |name: &str, until: &[&str]| {
        let target = site.world.restores.join(name);
        let arguments = [
            &["restore", "--dataset", POLICY, "--agent", AGENT][..],
            &["--target", target.to_str().expect("UTF-8"), "--wait"],
            until,
        ]
        .concat();
        let output = site.world.operator().run(arguments);
        assert_ne!(output.code, 0, "{until:?}");
        // Nothing is written before it is known what to do.
        assert!(!target.exists(), "{until:?}");
        output.stderr
    };
    let early = refused("early", &["--at", "2001-01-01T00:00:00Z"]);
    assert!(early.contains("recoverable"), "{early}");
    let late = refused("late", &["--at", "2101-01-01T00:00:00Z"]);
    assert!(late.contains("recoverable"), "{late}");
    let name = refused("name", &["--restore-point", "half way"]);
    assert!(name.contains("half way"), "{name}");
    let timeline = refused("timeline", &["--timeline", "7"]);
    assert!(timeline.contains("timeline 7"), "{timeline}");

    // What could be recovered, where there is no place for it.
    let message = |name: &str| {
        let (said, _) = site.recover(1, name, &[]);
        text(&only(&said["jobs"])["failure"]["message"])
    };
    let taken = site.world.restores.join("taken");
    fs::create_dir(&taken).expect("a directory");
    fs::write(taken.join("precious"), "").expect("a file");
    let said = message("taken");
    assert!(said.contains("not empty"), "{said}");
    let small = site.world.restores.join("small");
    let disk = SmallDisk::mount(&small, "4m");
    let said = message("small");
    assert!(said.contains("bytes free"), "{said}");
    let written = |place: &Path| fs::read_dir(place).expect("a directory").count();
    assert_eq!((written(&taken), written(&small)), (1, 0));
    drop(disk);
}
