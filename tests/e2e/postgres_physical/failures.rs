//! Backups that cannot be made, or that end early.

use strongroom_tests::{
    agent::Agent,
    cluster::Cluster,
    coordinator::Setup,
    operator::{eventually, text},
    scratch::Scratch,
};

use super::site::{Site, wide_table};
use crate::world::{POLICY, assert_says, snapshot_of};

#[test]
fn a_server_that_logs_too_little_is_refused() {
    let site = Site::new(
        "physical-minimal",
        "wal_level = minimal\nmax_wal_senders = 0",
    );
    let failure = site.failure();
    assert_eq!(failure["code"], "source", "{failure:#}");
    assert_says(
        &text(&failure["message"]),
        &["wal_level", "minimal", "replica", "restart"],
    );
}

#[test]
fn without_a_free_slot_the_log_is_taken_if_it_is_still_there() {
    let site = Site::new("physical-no-slots", "max_replication_slots = 0");
    site.cluster.sql("CREATE TABLE t AS SELECT 7 AS n");
    let (snapshot, _) = site.backup();
    let mut restored = site.start_restored(&snapshot, "data", &[]);
    assert_eq!(restored.sql("SELECT n FROM t"), "7");
    restored.prove();
}

#[test]
fn an_agent_that_may_not_read_the_files_says_what_to_do() {
    if !rustix::process::geteuid().is_root() {
        // The cluster is the test's own, and so is the agent.
        return;
    }
    let scratch = Scratch::new("physical-closed");
    let cluster = Cluster::start(&scratch, "server");
    let site = Site::of("physical-closed", scratch, cluster, Agent::powerless);
    let failure = site.failure();
    assert_eq!(failure["code"], "source", "{failure:#}");
    assert_says(
        &text(&failure["message"]),
        &["may not read", "root", "postgres"],
    );
    assert_eq!(site.slots(), "0");
}

/// Whatever ends a backup early, the server is left as it was.
#[test]
fn whatever_ends_a_backup_leaves_no_slot() {
    let mut site = Site::new("physical-killed", "");
    wide_table(&site.cluster, "wide", 8_000);
    // So slow that it is never over before its end.
    site.apply("limits = { attempts = 1, read = \"64KiB/s\" }");
    let job = site.world.operator().start(POLICY);
    eventually("a slot", || (site.slots() == "1").then_some(()));
    site.world.operator().json(&["jobs", "cancel", &job]);
    let ended = site.world.operator().wait_for_end(&job);
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    eventually("the slot's end", || (site.slots() == "0").then_some(()));

    let job = site.world.operator().start(POLICY);
    eventually("a slot", || (site.slots() == "1").then_some(()));
    site.world.agent.kill();
    eventually("the slot's end", || (site.slots() == "0").then_some(()));
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom'";
    eventually("the session's end", || {
        (site.cluster.sql(sessions) == "0").then_some(())
    });
    site.world.agent.start();
    let ended = site.world.operator().wait_for_end(&job);
    assert_eq!(ended["state"], "failed", "{ended:#}");

    let job = site.world.operator().start(POLICY);
    eventually("a slot", || (site.slots() == "1").then_some(()));
    site.cluster.kill();
    let ended = site.world.operator().wait_for_end(&job);
    assert_eq!(ended["failure"]["code"], "source", "{ended:#}");
    assert_says(&text(&ended["failure"]["message"]), &["connection", "lost"]);
    site.cluster.start_again();
    assert_eq!(site.slots(), "0");

    site.apply("limits = { attempts = 1 }");
    let (snapshot, _) = site.backup();
    let mut restored = site.start_restored(&snapshot, "data", &[]);
    assert_eq!(restored.sql("SELECT count(*) FROM wide"), "8000");
    restored.prove();
}

#[test]
fn a_coordinator_that_is_killed_leaves_the_running_backup_alone() {
    let setup = Setup {
        lease_seconds: 60,
        ..Setup::default()
    };
    let mut site = Site::behind_proxy("physical-coordinator-killed", setup);
    wide_table(&site.cluster, "wide", 8_000);
    let gate = site.world.proxy().hold(1, |seen| seen.puts("data"));
    let job = site.world.operator().start(POLICY);
    gate.wait_until_reached();
    site.world.coordinator.kill();
    gate.open();
    site.world.coordinator.start_again();
    let ended = site.world.operator().wait_for_end(&job);
    assert_eq!(
        ended["attempts"].as_array().map(Vec::len),
        Some(1),
        "{ended:#}"
    );
    let snapshot = snapshot_of(&ended);
    let mut restored = site.start_restored(&snapshot, "data", &[]);
    assert_eq!(restored.sql("SELECT count(*) FROM wide"), "8000");
    restored.prove();
    eventually("the slot's end", || (site.slots() == "0").then_some(()));
}
