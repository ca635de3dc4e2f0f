//! The same place in a log with other content, and the log of another cluster.

use std::{fs, io::Write as _, path::Path, process::Command};

use serde_json::Value;
use strongroom_tests::{
    cluster::{Cluster, succeed},
    operator::{eventually, only, text},
    scratch::Scratch,
};

use super::{
    push::{program, push_settings},
    recovery::rows,
};
use crate::postgres_physical::site::Site;

impl Site {
    /// What is said of the newest of the dataset's clusters and lines.
    fn newest(&self) -> Value {
        let status = self.world.operator().json(&["status"]);
        let all = status["recovery"].as_array().cloned().unwrap_or_default();
        all.last().cloned().unwrap_or_default()
    }

    /// Waits until nothing more is archived, for this reason; what is said then.
    fn refused(&self, code: &str) -> String {
        eventually(&format!("no more log: {code}"), || {
            let archiving = &self.newest()["archiving"];
            (archiving["failure_code"] == code).then(|| text(&archiving["problem"]))
        })
    }

    /// Waits until the newest cluster or line can be recovered to that moment, on
    /// any of its timelines.
    pub(super) fn wait_for_newest(&self, at: &str) {
        eventually(&format!("recovery to {at}"), || {
            let newest = self.newest();
            let mut windows = newest["windows"].as_array()?.iter();
            let reaches = |it: &Value| it["open"] == true && *text(&it["to"]) >= *at;
            windows.any(reaches).then_some(())
        });
    }
}

fn copy(from: &Path, to: &Path) {
    succeed(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// Stops the server and puts its data directory back.
fn put_back(site: &mut Site, copied: &Path) {
    site.cluster.stop();
    fs::remove_dir_all(site.cluster.data()).expect("the data directory");
    copy(copied, &site.cluster.data());
    site.cluster.start_again();
}

/// Rows 1 to 3, a copy of the server, and then three more that it does not know.
fn two_stories(site: &mut Site, scratch: &Scratch) -> String {
    let copied = scratch.join("copied");
    site.commit(1..=3);
    site.cluster.stop();
    copy(&site.cluster.data(), &copied);
    site.cluster.start_again();
    let future = site.commit(4..=6);
    site.cluster
        .sql("CREATE TABLE future AS SELECT * FROM generate_series(1, 100000)");
    site.cluster.sql("SELECT pg_switch_wal()");
    // So that the moment of the last row lies within the log.
    site.cluster.sql("CREATE TABLE later ()");
    site.cluster.sql("SELECT pg_switch_wal()");
    let until = &future[2].at;
    site.wait_until_recoverable(until);
    put_back(site, &copied);
    until.clone()
}

/// Whoever reads the first story and the second gets each as it was.
fn both_can_be_had(site: &Site, first: &str) {
    let last = site.commit(4..=5);
    site.cluster
        .sql("CREATE TABLE after (); SELECT pg_switch_wal()");
    site.cluster.sql("DROP TABLE after; SELECT pg_switch_wal()");
    site.wait_for_newest(&last[1].at);
    let server = site.recovered("second", &[]);
    assert_eq!(rows(&server), 5);
    assert_eq!(server.sql("SELECT to_regclass('future') IS NULL"), "t");
    let server = site.recovered("first", &["--at", first]);
    assert_eq!(rows(&server), 6);
}

#[test]
fn a_server_that_was_put_back_is_no_longer_followed_until_there_is_a_base_backup() {
    let scratch = Scratch::new("wal-put-back-copy");
    let mut site = Site::new("wal-put-back", "");
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    let first = two_stories(&mut site, &scratch);

    let said = site.refused("log-conflict");
    assert!(
        said.contains("put back") && said.contains("base backup"),
        "{said}"
    );
    let audited = site.world.operator().audit("wal.conflict");
    assert_eq!(audited.len(), 1, "{audited:#?}");
    let shown = site.world.operator().run(["status"]).stdout;
    assert!(shown.contains("PROBLEM"), "{shown}");
    assert!(shown.contains("this log ended at"), "{shown}");
    // Who restores its latest moment now is told that it is not the database's.
    let said = site.recover(3, "ended", &["--dry-run"]).0;
    let warning = &only(&said["jobs"])["warnings"][0];
    assert_eq!(warning["code"], "log-ended", "{said:#}");
    assert!(text(&warning["cause"]).contains("put back"), "{said:#}");

    site.backup();
    both_can_be_had(&site, &first);
}

#[test]
fn a_segment_with_other_content_is_never_taken_for_the_one_that_is_archived() {
    let scratch = Scratch::new("wal-put-back-push-copy");
    let program = program(&scratch);
    let settings = "archive_mode = on\nwal_keep_size = '512MB'\n";
    let cluster = Cluster::with(&scratch, "server", settings);
    let site_scratch = Scratch::new("wal-put-back-push");
    let mut site = Site::of("wal-put-back-push-site", site_scratch, cluster, |agent| {
        agent
    });
    site.cluster.sql(&format!(
        "ALTER SYSTEM SET archive_command = '{} wal push %p --socket {}'",
        program.display(),
        site.world.agent.wal_socket().display()
    ));
    site.cluster.sql("SELECT pg_reload_conf()");
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("method = 'push'");
    site.archiving_job();
    site.backup();
    let first = two_stories(&mut site, &scratch);
    let refused = site
        .cluster
        .sql("CREATE TABLE now_other (); SELECT pg_walfile_name(pg_switch_wal())");

    let said = site.refused("log-conflict");
    // It names both.
    assert_eq!(said.matches("wal/").count(), 2, "{said}");
    // The server keeps what was refused.
    let archived = site
        .cluster
        .sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver");
    assert!(archived < refused, "{archived} {refused}");

    site.backup();
    both_can_be_had(&site, &first);
}

/// Has another cluster, with these settings, listen where the server did.
fn replace(site: &mut Site, scratch: &Scratch, settings: &str) {
    let mut other = Cluster::start(scratch, "other");
    other.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    other.stop();
    site.cluster.stop();
    fs::remove_dir_all(site.cluster.data()).expect("the data directory");
    copy(&other.data(), &site.cluster.data());
    let config = site.cluster.data().join("postgresql.conf");
    let config = fs::OpenOptions::new().append(true).open(config);
    writeln!(
        config.expect("a configuration"),
        "port = {}\n{settings}",
        site.cluster.port()
    )
    .expect("lines");
    site.cluster.start_again();
}

/// The old cluster's log ends, aloud, until there is a base backup of the new
/// one; whoever reads gets each.
fn another_takes_the_place(site: &mut Site, settings: &str) {
    let scratch = Scratch::new("wal-other-cluster");
    site.archiving_job();
    site.backup();
    let old = site.commit(1..=3);
    end_segments(site);
    site.wait_until_recoverable(&old[2].at);

    replace(site, &scratch, settings);
    site.cluster.sql("SELECT pg_switch_wal()");
    let said = site.refused("other-cluster");
    assert!(said.contains("base backup"), "{said}");
    let shown = site.world.operator().run(["status"]).stdout;
    assert!(shown.contains("PROBLEM"), "{shown}");

    site.backup();
    let new = site.commit(1..=2);
    end_segments(site);
    site.wait_for_newest(&new[1].at);
    let server = site.recovered("new", &[]);
    assert_eq!(rows(&server), 2);
    let server = site.recovered("old", &["--at", &old[2].at]);
    assert_eq!(rows(&server), 3);
}

/// So that the moment of the last row lies within the log.
pub(super) fn end_segments(site: &Site) {
    for _ in 0..2 {
        site.cluster
            .sql("CREATE TABLE later (); SELECT pg_switch_wal()");
        site.cluster.sql("DROP TABLE later");
    }
}

#[test]
fn another_cluster_at_the_address_ends_the_archiving_until_there_is_a_base_backup() {
    let mut site = Site::new("wal-other", "");
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("flush = '1s'");
    another_takes_the_place(&mut site, "");
}

#[test]
fn another_cluster_that_pushes_its_log_is_not_archived_until_there_is_a_base_backup() {
    let scratch = Scratch::new("wal-other-push");
    let program = program(&scratch);
    let cluster = Cluster::with(&scratch, "server", "archive_mode = on");
    let site_scratch = Scratch::new("wal-other-push-site");
    let mut site = Site::of("wal-other-push-site", site_scratch, cluster, |agent| agent);
    let settings = push_settings(&program, &site.world.agent.wal_socket());
    push_from(&site, &settings);
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("method = 'push'");
    another_takes_the_place(&mut site, &settings);
}

/// Gives a server that archives already these settings.
pub(super) fn push_from(site: &Site, settings: &str) {
    let command = settings
        .lines()
        .find(|it| it.starts_with("archive_command"));
    let command = command.expect("a command");
    site.cluster.sql(&format!("ALTER SYSTEM SET {command}"));
    site.cluster.sql("SELECT pg_reload_conf()");
}
