//! What is in the way of an archive is named, and what it misses is shown.

use std::process::{Child, Stdio};

use strongroom_tests::{
    cluster::{Cluster, as_postgres, programs},
    operator::{eventually, text},
    pooler::pooler,
    scratch::Scratch,
};

use super::recovery::rows;
use crate::{
    postgres_physical::site::Site,
    world::{AGENT, POLICY, assert_says},
};

impl Site {
    /// Waits until a job that archives has failed for a reason that says so.
    fn archiving_fails(&self, says: &[&str]) {
        eventually(&format!("a failure that says {says:?}"), || {
            let operator = self.world.operator();
            let jobs = operator.json(&["jobs", "list", "--kind", "wal", "--policy", POLICY]);
            let newest = operator.job(jobs["jobs"][0]["id"].as_str()?);
            let attempts = newest["attempts"].as_array()?;
            let mut failures = attempts
                .iter()
                .map(|attempt| attempt["failure"].to_string());
            let found = failures.any(|failure| says.iter().all(|it| failure.contains(it)));
            found.then_some(())
        });
    }

    /// Archives with another connection of the same cluster.
    fn archive_by(&self, connection: &str) {
        self.world.operator().apply(&format!(
            "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             store = \"primary\"\nlimits = {{ attempts = 1 }}\nwal = {{}}\n\
             [policy.source.postgres]\nconnection = \"{connection}\"\nmethod = \"physical\"\n"
        ));
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    let scratch = Scratch::new("wal-refusals");
    let cluster = Cluster::with(
        &scratch,
        "server",
        "wal_level = minimal\nmax_wal_senders = 0",
    );
    cluster.sql("CREATE ROLE weak LOGIN");
    let weak = cluster.url().replace("postgres@", "weak@");
    let connections = format!(
        "[postgres.weak]\nurl = '{weak}'\n[postgres.down]\nurl = 'postgres://postgres@127.0.0.1:1/postgres'"
    );
    let mut site = Site::of("wal-refusals-site", scratch, cluster, |agent| {
        agent.extra(&connections)
    });
    site.archive("");
    site.archiving_fails(&["wal_level", "minimal", "replica"]);

    site.cluster.sql("ALTER SYSTEM SET wal_level = replica");
    site.cluster.sql("ALTER SYSTEM SET max_wal_senders = 10");
    site.cluster.stop();
    site.cluster.start_again();
    site.archive("method = 'push'");
    site.archiving_fails(&["archive_mode", "archive_command"]);
    site.archive_by("weak");
    site.archiving_fails(&["weak", "REPLICATION"]);
    site.archive("");
    site.archiving_job();
    site.wait_for_archive();
    site.archive_by("down");
    site.archiving_fails(&["down", "refused"]);
}

#[test]
fn a_pooler_is_refused_for_a_cluster_and_for_its_log() {
    let scratch = Scratch::new("wal-pooler");
    let cluster = Cluster::with(&scratch, "server", "log_statement = all");
    let port = pooler(cluster.port());
    let connection =
        format!("[postgres.pooled]\nurl = 'postgres://postgres@127.0.0.1:{port}/postgres'");
    let site = Site::of("wal-pooler-site", scratch, cluster, |agent| {
        agent.extra(&connection)
    });
    site.archive_by("pooled");
    let words = ["pooler", "PgBouncer", "agent.toml", "address of the server"];
    site.archiving_fails(&words);
    let failure = site.failure();
    assert_eq!(failure["code"], "source", "{failure:#}");
    assert_says(&text(&failure["message"]), &words);
    // Nothing is left in a session that is lent to others.
    let log = std::fs::read_to_string(site.cluster.log()).expect("the server's log");
    let asked = log
        .lines()
        .filter(|line| line.contains("strongroom.session"));
    assert!(asked.count() > 1, "nobody asked: {log}");
    assert!(
        !log.contains("pg_backup_start") && !log.contains("REPLICATION_SLOT"),
        "{log}"
    );
}

/// Who holds a slot that is not his.
struct Thief(Child);

impl Drop for Thief {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_slot_that_is_taken_is_named_and_one_that_is_gone_leaves_a_gap_that_is_shown() {
    let scratch = Scratch::new("wal-thief");
    let mut site = Site::new("wal-slots", "min_wal_size = '32MB'\nmax_wal_size = '32MB'");
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive("flush = '1s'");
    site.archiving_job();
    site.backup();
    let first = site.commit(1..=3);
    site.wait_until_recoverable(&first[2].at);
    site.world.agent.stop();

    let slot = site
        .cluster
        .sql("SELECT slot_name FROM pg_replication_slots");
    let mut thief = as_postgres(programs().join("pg_receivewal"));
    thief.args(["-h", "127.0.0.1", "-U", "postgres", "-p"]);
    thief
        .arg(site.cluster.port().to_string())
        .args(["-S", &slot, "-D"]);
    strongroom_tests::cluster::directory_for_postgres(&scratch.join("stolen"));
    thief.arg(scratch.join("stolen")).stderr(Stdio::null());
    let thief = Thief(thief.spawn().expect("pg_receivewal runs"));
    let active = "SELECT active FROM pg_replication_slots";
    eventually("a slot that is taken", || {
        (site.cluster.sql(active) == "t").then_some(())
    });
    site.world.agent.start();
    eventually("a word of the slot", || {
        let status = site.world.operator().json(&["status"]).to_string();
        (status.contains(&slot) && status.contains("in use")).then_some(())
    });
    site.world.agent.stop();
    drop(thief);

    // The slot goes, and the log that it held.
    eventually("a slot that is free", || {
        (site.cluster.sql(active) == "f").then_some(())
    });
    site.cluster
        .sql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    let lost = site.commit(4..=4);
    for _ in 0..6 {
        site.fill_segment();
        site.cluster.sql("CHECKPOINT");
    }
    site.world.agent.start();
    site.archiving_job();
    site.backup();
    let last = site.commit(5..=5);
    let gap = &site.recovery_behind_a_gap(&last[0].at)["gaps"][0];
    assert!(text(&gap["from"]) <= lost[0].at && lost[0].at <= text(&gap["to"]));

    // What is around it comes back, what is in it is refused.
    let server = site.recovered("before", &["--at", &first[1].at]);
    assert_eq!(rows(&server), 2);
    let target = site.world.restores.join("in");
    let refused = site.world.operator().run([
        "restore",
        "--dataset",
        POLICY,
        "--agent",
        AGENT,
        "--target",
        target.to_str().expect("UTF-8"),
        "--at",
        &lost[0].at,
    ]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("gap"), "{refused:?}");
    let server = site.recovered("behind", &[]);
    assert_eq!(rows(&server), 5);
}

#[test]
fn a_log_that_the_host_no_longer_allows_is_no_longer_archived() {
    let scratch = Scratch::new("wal-withdrawn");
    let cluster = Cluster::start(&scratch, "server");
    let mut site = Site::of("wal-withdrawn-site", scratch, cluster, |agent| agent);
    site.archive("");
    site.archiving_job();
    site.wait_for_archive();
    let path = site.world.agent.config();
    let allowed = std::fs::read_to_string(&path).expect("the configuration");
    let narrowed = allowed.replace("\"postgres\"", "\"command\"");
    assert_ne!(allowed, narrowed);
    std::fs::write(&path, narrowed).expect("a file");
    site.world
        .agent
        .program()
        .signal(rustix::process::Signal::HUP);
    site.archiving_fails(&["not-allowed", "agent.toml was read again", "allow.sources"]);
    // It has ended, and nothing is tried until the host allows it.
    let ended = site.archiving();
    assert_eq!(ended["failure_code"], "not-allowed", "{ended:#}");
    assert_eq!(ended["job_state"], "failed", "{ended:#}");
    let jobs = ["jobs", "list", "--kind", "wal", "--policy", POLICY];
    let count = |site: &Site| {
        let jobs = site.world.operator().json(&jobs);
        jobs["jobs"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(count(&site), 1);
    std::fs::write(&path, allowed).expect("a file");
    site.world
        .agent
        .program()
        .signal(rustix::process::Signal::HUP);
    site.archiving_job();
    assert_eq!(count(&site), 2);
    site.wait_for_archive();
    site.world.agent.stop();
}
