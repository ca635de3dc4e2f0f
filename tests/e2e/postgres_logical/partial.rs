//! One bad database costs one database, and the snapshot says so.

use serde_json::Value;
use strongroom_tests::{cluster::Cluster, operator::text, postgres::Server, scratch::Scratch};

use super::{CONNECTION, Dumps, POLICY, bin_dir};
use crate::world::{assert_says, snapshot_of};

/// The role that the README recommends.
const ROLE: &str = "strongroom";

/// The warnings of a job: what each is about, and its code.
pub(super) fn warnings(job: &Value) -> Vec<(String, String)> {
    let warnings = job["warnings"].as_array().expect("warnings").iter();
    let mut all: Vec<_> = warnings
        .map(|it| (text(&it["path"]["text"]), text(&it["code"])))
        .collect();
    all.sort();
    all
}

/// Runs the policy, which must end with warnings.
pub(super) fn run(dumps: &Dumps) -> Value {
    let operator = dumps.world.operator();
    let jobs = operator.json_with(3, &["run", POLICY, "--wait"]);
    let job = operator.job(&text(&jobs["jobs"][0]["id"]));
    assert_eq!(job["state"], "succeeded", "{job:#}");
    job
}

fn names(databases: &Value) -> Vec<String> {
    let databases = databases.as_array().expect("databases").iter();
    databases.map(|it| text(&it["name"])).collect()
}

#[test]
fn one_bad_database_costs_one_database() {
    let scratch = Scratch::new("partial");
    let cluster = Cluster::start(&scratch, "cluster");
    let server = Server::on(cluster.port());
    cluster.sql(&format!(
        "CREATE ROLE {ROLE} LOGIN; GRANT pg_read_all_data TO {ROLE}"
    ));
    for name in [
        "broken", "closed", "good1", "good2", "locked", "narrow", "secret",
    ] {
        cluster.sql(&format!("CREATE DATABASE {name}"));
        server.sql(name, "CREATE TABLE t AS SELECT generate_series(1, 10) AS a");
    }
    cluster.sql(&format!("CREATE DATABASE vanishing OWNER {ROLE}"));
    server.sql("template1", "CREATE TABLE kept_here AS SELECT 1 AS a");
    cluster.sql(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'; \
         ALTER DATABASE closed ALLOW_CONNECTIONS false; \
         ALTER DATABASE narrow CONNECTION LIMIT 1; \
         REVOKE CONNECT ON DATABASE secret FROM PUBLIC",
    );
    let script = "case $PGDATABASE in \
         locked) echo 'pg_dump: error: query failed: ERROR:  canceling statement due to lock \
                timeout' >&2; exit 1;; \
         good1) PSQL -Xq -d postgres -c 'DROP DATABASE IF EXISTS vanishing' || exit 9;; \
         esac\nexec REAL \"$@\"";
    let bin = bin_dir(&scratch, &[("pg_dump", script)]);
    let toml = format!(
        "[postgres.{CONNECTION}]\nurl = \"{}\"\nbin_dir = '{}'\nallow_restore = true\n",
        server.url_as(ROLE),
        bin.display()
    );
    let dumps = Dumps::with_connections("dumps-partial", server, scratch, &toml);
    dumps.policy(&[], "globals = false");
    let job = run(&dumps);
    let expected = [
        ("broken", "database-invalid"),
        ("closed", "database-left-out"),
        ("locked", "database-locked"),
        ("narrow", "database-limited"),
        ("secret", "database-forbidden"),
        ("template1", "database-left-out"),
        ("vanishing", "database-vanished"),
    ];
    let expected = expected.map(|(name, code)| (name.to_owned(), code.to_owned()));
    assert_eq!(warnings(&job), expected, "{job:#}");
    // Each says what to do.
    assert_says(
        &job.to_string(),
        &[
            "DROP DATABASE \\\"broken\\\"",
            "ALTER DATABASE \\\"narrow\\\" CONNECTION LIMIT 2",
            "GRANT CONNECT ON DATABASE \\\"secret\\\" TO \\\"strongroom\\\"",
        ],
    );
    assert_eq!(job["result"]["backup"]["partial"], true, "{job:#}");
    let snapshot = snapshot_of(&job);
    let manifest = dumps.manifest(&snapshot);
    assert_eq!(
        names(&manifest["databases"]),
        ["good1", "good2", "postgres"]
    );
    assert_eq!(
        names(&manifest["missing"]),
        ["broken", "narrow", "secret", "locked", "vanishing"]
    );

    // It does not stand for a whole one, and a restore says why.
    let operator = dumps.world.operator();
    let shown = operator.json(&["snapshots", "show", &snapshot]);
    assert_eq!(shown["partial"], true, "{shown:#}");
    let tagged = dumps
        .world
        .restic()
        .run(["snapshots", "--json", "--tag", "partial"]);
    assert!(tagged.contains(&snapshot), "{tagged}");
    let status = operator.json(&["status"]);
    let dataset = &status["datasets"][0];
    assert!(dataset["last_whole_snapshot_at"].is_null(), "{status:#}");
    assert!(!dataset["last_snapshot_at"].is_null(), "{status:#}");
    let message = dumps.refused(&snapshot, "secret", &[]);
    assert_says(
        &message,
        &["secret", "GRANT CONNECT", "another", "snapshot"],
    );

    // What is left out on purpose is not missed.
    let without = "exclude_databases = [\"broken\", \"closed\", \"locked\", \"narrow\", \
                   \"secret\", \"template1\"]\nglobals = false";
    dumps.policy(&[], without);
    let job = dumps.world.operator().backup(POLICY);
    assert_eq!(job["result"]["backup"]["partial"], false, "{job:#}");
    let status = dumps.world.operator().json(&["status"]);
    let whole = &status["datasets"][0]["last_whole_snapshot_at"];
    assert!(!whole.is_null(), "{status:#}");

    // A database that the policy names, and a pattern that nothing matches.
    dumps.policy(&["good1", "gone", "x*"], "globals = false");
    let job = run(&dumps);
    let expected = [("gone", "database-missing"), ("x*", "pattern-unmatched")];
    let expected = expected.map(|(name, code)| (name.to_owned(), code.to_owned()));
    assert_eq!(warnings(&job), expected, "{job:#}");
    assert_eq!(job["result"]["backup"]["partial"], true, "{job:#}");
}

#[test]
fn a_database_with_a_mark_is_taken_when_it_is_asked_for() {
    let scratch = Scratch::new("marked");
    let cluster = Cluster::start(&scratch, "cluster");
    let server = Server::on(cluster.port());
    for name in ["model", "shut"] {
        cluster.sql(&format!("CREATE DATABASE {name}"));
        server.sql(name, "CREATE TABLE t AS SELECT generate_series(1, 10) AS a");
    }
    cluster
        .sql("ALTER DATABASE model IS_TEMPLATE true; ALTER DATABASE shut ALLOW_CONNECTIONS false");
    let dumps = Dumps::with("dumps-marked", server, "allow_restore = true");
    dumps.policy(&["model", "shut"], "globals = false");
    let job = run(&dumps);
    let expected = [("shut".to_owned(), "database-forbidden".to_owned())];
    assert_eq!(warnings(&job), expected, "{job:#}");
    let statement = "ALTER DATABASE \"shut\" ALLOW_CONNECTIONS true";
    let cause = text(&job["warnings"][0]["cause"]);
    assert_says(&cause, &[statement]);
    let manifest = dumps.manifest(&snapshot_of(&job));
    assert_eq!(names(&manifest["databases"]), ["model"]);
    dumps.policy(&["shut"], "globals = false");
    let (_, message) = dumps.fails(POLICY);
    assert_says(&message, &[statement]);

    // What it says is what is to be done.
    cluster.sql(statement);
    dumps.policy(&["model", "shut"], "globals = false");
    let snapshot = dumps.backup();
    for name in ["model", "shut"] {
        let copy = format!("{name}_copy");
        dumps.restore(&snapshot, name, &["--as", &copy]);
        assert_eq!(dumps.server.sql(&copy, "SELECT sum(a) FROM t"), "55");
    }
}

#[test]
fn a_standby_s_conflict_is_tried_again_and_costs_one_database() {
    let scratch = Scratch::new("conflict");
    let cluster = Cluster::start(&scratch, "cluster");
    let server = Server::on(cluster.port());
    for name in ["busy", "quiet", "settled"] {
        cluster.sql(&format!("CREATE DATABASE {name}"));
        server.sql(name, "CREATE TABLE t AS SELECT generate_series(1, 10) AS a");
    }
    // Once where it passes, and every time where it does not.
    let (met, tried) = (scratch.join("met"), scratch.join("tried"));
    let script = format!(
        "conflict() {{ echo 'pg_dump: error: Dumping the contents of table \"t\" failed: \
         PQgetResult() failed.' >&2; echo 'pg_dump: detail: Error message from server: ERROR:  \
         canceling statement due to conflict with recovery' >&2; exit 1; }}\n\
         case $PGDATABASE in busy) echo x >> '{}'; conflict;; \
         settled) [ -e '{met}' ] || {{ : > '{met}'; conflict; }};; esac\nexec REAL \"$@\"",
        tried.display(),
        met = met.display(),
    );
    let bin = bin_dir(&scratch, &[("pg_dump", &script)]);
    let toml = format!("allow_restore = true\nbin_dir = '{}'", bin.display());
    let dumps = Dumps::with("dumps-conflict", server, &toml);
    dumps.policy(&["busy", "quiet", "settled"], "globals = false");
    let job = run(&dumps);
    let expected = [("busy".to_owned(), "database-conflict".to_owned())];
    assert_eq!(warnings(&job), expected, "{job:#}");
    assert_says(
        &text(&job["warnings"][0]["cause"]),
        &["hot_standby_feedback", "max_standby_streaming_delay"],
    );
    assert!(met.exists(), "the conflict that passes was never met");
    let tries = std::fs::read_to_string(tried).expect("tries");
    assert!(tries.lines().count() >= 2, "{tries}");
    assert_eq!(job["result"]["backup"]["partial"], true, "{job:#}");
    let snapshot = snapshot_of(&job);
    let manifest = dumps.manifest(&snapshot);
    assert_eq!(names(&manifest["databases"]), ["quiet", "settled"]);
    assert_eq!(names(&manifest["missing"]), ["busy"]);
    for name in ["quiet", "settled"] {
        dumps.restore(&snapshot, name, &["--as", &format!("{name}_copy")]);
        let sum = dumps
            .server
            .sql(&format!("{name}_copy"), "SELECT sum(a) FROM t");
        assert_eq!(sum, "55", "{name}");
    }
}

#[test]
fn globals_that_fail_cost_no_database() {
    let scratch = Scratch::new("globals");
    let cluster = Cluster::start(&scratch, "cluster");
    let server = Server::on(cluster.port());
    cluster.sql("CREATE DATABASE shop");
    server.sql(
        "shop",
        "CREATE TABLE t AS SELECT generate_series(1, 10) AS a",
    );
    let script = "echo 'pg_dumpall: error: could not be done' >&2; exit 1";
    let bin = bin_dir(&scratch, &[("pg_dumpall", script)]);
    let more = format!("allow_restore = true\nbin_dir = '{}'", bin.display());
    let dumps = Dumps::with("dumps-globals", server, &more);
    dumps.policy(&["shop"], "globals = true");
    let expected = [("/globals.sql".to_owned(), "globals-failed".to_owned())];
    let job = run(&dumps);
    assert_eq!(warnings(&job), expected, "{job:#}");
    assert_says(
        &job.to_string(),
        &["pg_dumpall", "ended with", "globals = false"],
    );
    assert_eq!(job["result"]["backup"]["partial"], true, "{job:#}");
    let snapshot = snapshot_of(&job);
    assert_eq!(names(&dumps.manifest(&snapshot)["databases"]), ["shop"]);
    let job = dumps.restore(&snapshot, "shop", &["--as", "copy", "--roles"]);
    assert_says(
        &job["warnings"].to_string(),
        &["globals-failed", "no roles"],
    );
    assert_eq!(dumps.server.sql("copy", "SELECT sum(a) FROM t"), "55");

    // Nor does a program that is not there.
    std::fs::remove_file(bin.join("pg_dumpall")).expect("it was there");
    let job = run(&dumps);
    assert_eq!(warnings(&job), expected, "{job:#}");
}
