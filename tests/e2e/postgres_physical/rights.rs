//! A role that is no superuser, and a checkpoint that takes its time.

use serde_json::Value;
use strongroom_tests::{
    agent::Agent,
    cluster::Cluster,
    operator::{eventually, text},
    scratch::Scratch,
};

use super::site::Site;
use crate::world::{AGENT, POLICY, assert_says, snapshot_of};

/// A policy over the connection `guest`, or over `main`.
fn apply(site: &Site, connection: &str, more: &str) {
    site.world.operator().apply(&format!(
        "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         store = \"primary\"\nlimits = {{ attempts = 1 }}\n{more}\n[policy.source.postgres]\n\
         connection = \"{connection}\"\nmethod = \"physical\"\n"
    ));
}

/// The statements that an error asks for.
fn statements(message: &str) -> Vec<String> {
    let (_, statements) = message
        .split_once("superuser in the database postgres: ")
        .unwrap_or_else(|| panic!("no statements: {message}"));
    statements.split("; ").map(ToOwned::to_owned).collect()
}

#[test]
fn all_missing_rights_are_told_at_once_with_what_grants_them() {
    let scratch = Scratch::new("physical-rights");
    let cluster = Cluster::start(&scratch, "server");
    // A name that has to be quoted.
    cluster.sql(
        "CREATE ROLE \"back-up\" LOGIN; CREATE TABLE t AS SELECT 7 AS n;\
         REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    );
    let connection = format!(
        "[postgres.guest]\nurl = 'postgres://back-up@127.0.0.1:{}/postgres'",
        cluster.port()
    );
    let change = |agent: Agent| agent.extra(&connection);
    let site = Site::of("physical-rights", scratch, cluster, change);
    apply(&site, "guest", "wal = { flush = '1s' }");
    let operator = site.world.operator();

    // Following the log, which begins by itself.
    let missing = eventually("a log that is not archived", || {
        let jobs = operator.json(&["jobs", "list", "--kind", "wal", "--policy", POLICY]);
        let message = jobs["jobs"][0]["failure"]["message"].as_str()?.to_owned();
        message.contains("lacks rights").then_some(message)
    });
    assert_says(&missing, &["streaming the log", "guest"]);
    assert_eq!(statements(&missing).len(), 2, "{missing}");
    assert_says(&missing, &["REPLICATION", "pg_control_system()"]);

    let jobs = operator.json_with(1, &["run", POLICY, "--wait"]);
    let failure = &jobs["jobs"][0]["failure"];
    assert_eq!(failure["code"], "source", "{failure:#}");
    let message = text(&failure["message"]);
    assert_says(
        &message,
        &[
            "a physical backup",
            "\"back-up\"",
            "REPLICATION",
            "pg_read_all_settings",
        ],
    );
    let missing = statements(&message);
    assert_eq!(missing.len(), 5, "{message}");
    for statement in missing {
        site.cluster.sql(&statement);
    }
    let snapshot = snapshot_of(&operator.backup(POLICY));
    site.archiving_job();
    let mut restored = site.start_restored(&snapshot, "data", &[]);
    assert_eq!(restored.sql("SELECT n FROM t"), "7");
    restored.prove();
}

#[test]
fn a_checkpoint_that_takes_long_is_said() {
    let site = Site::new(
        "physical-checkpoint",
        "checkpoint_timeout = '1h'\ncheckpoint_completion_target = 0.9",
    );
    // A tenth of a second for each page.
    site.cluster
        .sql("CREATE TABLE t AS SELECT repeat('x', 1900) AS pad FROM generate_series(1, 4000)");
    apply(&site, "main", "");
    let job = site.world.operator().start(POLICY);
    let stage = eventually("a word about the checkpoint", || {
        let job: Value = site.world.operator().job(&job);
        let stage = job["progress"]["stage"].as_str()?.to_owned();
        stage.contains("fast_checkpoint").then_some(stage)
    });
    assert_says(&stage, &["checkpoint", "minutes"]);
    site.cluster.sql("CHECKPOINT");
    let ended = site.world.operator().wait_for_end(&job);
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
}
