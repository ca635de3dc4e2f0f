//! What a snapshot of dumps holds.

use std::fs;

use strongroom_tests::{
    cluster::Cluster,
    operator::{eventually, text},
    postgres::Server,
    scratch::Scratch,
};

use super::{
    CONNECTION, Dumps, POLICY, bin_dir, everything,
    partial::{run, warnings},
};
use crate::world::{AGENT, snapshot_of};

#[test]
fn every_kind_of_object_comes_back() {
    let dumps = Dumps::new("dumps-everything", "allow_restore = true");
    let server = &dumps.server;
    let name = Server::unique("everything");
    everything(server, &name);
    dumps.policy(&[&name], "");
    let snapshot = dumps.backup();
    dumps.world.restic().run(["check", "--read-data"]);

    let streamed = format!("{name}_1");
    let job = dumps.restore(&snapshot, &name, &["--as", &streamed, "--jobs", "1"]);
    assert!(super::notes(&job).contains("verified: "), "{job:#}");
    let parallel = format!("{name}_2");
    dumps.restore(&snapshot, &name, &["--as", &parallel, "--jobs", "3"]);
    let original = server.dump(&name, &[]);
    assert!(original.contains("orders_2026_0") && original.contains("lo_create"));
    for copy in [&streamed, &parallel] {
        let restored = server.dump(copy, &[]);
        let differs = original
            .lines()
            .zip(restored.lines())
            .find(|(left, right)| left != right);
        assert_eq!(differs, None, "{copy}");
        assert_eq!(original.len(), restored.len(), "{copy}");
    }
    // Nothing of the parallel restore's copy is left on the disk.
    let left = dumps.world.agent.state().join("postgres-restore");
    let left = fs::read_dir(left).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a restore left its copy of the dump");
}

#[test]
fn rows_are_counted_in_the_dump_s_own_snapshot() {
    let scratch = Scratch::new("bin");
    // Between the snapshot's export and the dump, rows come and go and a table
    // is about to be emptied: none of that is in the dump, nor in the counts.
    let bin = bin_dir(
        &scratch,
        &[(
            "pg_dump",
            "PSQL -Xq -c 'INSERT INTO public.kept SELECT generate_series(1, 1000); \
             DELETE FROM public.gone' || exit 9\nexec REAL \"$@\"",
        )],
    );
    let more = format!("bin_dir = '{}'\nallow_restore = true", bin.display());
    let dumps = Dumps::new("dumps-exact", &more);
    let server = &dumps.server;
    let name = Server::unique("exact");
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(
        &name,
        "CREATE TABLE kept AS SELECT generate_series(1, 10) AS a; \
         CREATE TABLE gone AS SELECT generate_series(1, 20) AS a",
    );
    dumps.policy(&[&name], "");
    let snapshot = dumps.backup();
    let counts = "SELECT (SELECT count(*) FROM kept), (SELECT count(*) FROM gone)";
    assert_eq!(server.sql(&name, counts), "1010|0");
    let manifest = dumps.manifest(&snapshot);
    let rows: Vec<_> = manifest["databases"][0]["relations"]
        .as_array()
        .expect("relations")
        .iter()
        .map(|it| (text(&it["name"]), it["rows"].as_u64()))
        .collect();
    let expected = [("gone".to_owned(), Some(20)), ("kept".to_owned(), Some(10))];
    assert_eq!(rows, expected);
    let copy = format!("{name}_copy");
    dumps.restore(&snapshot, &name, &["--as", &copy]);
    assert_eq!(server.sql(&copy, counts), "10|20");
}

#[test]
fn a_whole_server_with_odd_names_and_an_empty_database() {
    let scratch = Scratch::new("server");
    let cluster = Cluster::start(&scratch, "cluster");
    let server = Server::on(cluster.port());
    let dumps = Dumps::with("dumps-all", server, "allow_restore = true");
    let server = &dumps.server;
    let odd = "it's an \"odd\" = name/%\n--x";
    server.sql("postgres", "CREATE DATABASE empty");
    server.sql(
        "postgres",
        "CREATE DATABASE \"it's an \"\"odd\"\" = name/%\n--x\"",
    );
    server.sql(odd, "CREATE TABLE t AS SELECT 1 AS a");
    dumps.policy(&[], "");
    let snapshot = dumps.backup();
    let manifest = dumps.manifest(&snapshot);
    let databases = manifest["databases"].as_array().expect("databases");
    let names: Vec<_> = databases.iter().map(|it| text(&it["name"])).collect();
    assert_eq!(names, ["empty", odd, "postgres"]);
    assert_eq!(manifest["globals"]["passwords"], true);
    let files = dumps.world.restores.join(format!("files-{snapshot}"));
    for database in databases {
        let path = text(&database["path"]);
        let size = fs::metadata(files.join(&path[1..]))
            .expect("the dump")
            .len();
        assert_eq!(database["bytes"], size, "{path}");
    }
    for (name, copy) in [(odd, "odd copy"), ("empty", "copy of nothing")] {
        dumps.restore(&snapshot, name, &["--as", copy]);
    }
    assert_eq!(server.sql("odd copy", "SELECT a FROM t"), "1");
    // The operators see what is there.
    let shown = eventually("the agent's connections", || {
        let agent = dumps.world.operator().json(&["agents", "show", AGENT]);
        let shown = agent.to_string();
        shown.contains("wal_level").then_some(shown)
    });
    assert!(
        shown.contains("primary") && shown.contains(CONNECTION),
        "{shown}"
    );
}

#[test]
fn what_is_left_out_is_left_out() {
    let dumps = Dumps::new("dumps-partly", "allow_restore = true");
    let server = &dumps.server;
    let name = Server::unique("partly");
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(
        &name,
        "CREATE SCHEMA app; CREATE SCHEMA \"Log\"; \
         CREATE TABLE app.orders AS SELECT generate_series(1, 7) AS a; \
         CREATE TABLE app.cache AS SELECT 1 AS a; CREATE TABLE \"Log\".lines AS SELECT 1 AS a",
    );
    let more = "exclude_schemas = ['\"Log\"']\nexclude_tables = [\"*.CACH?\"]\nglobals = false";
    dumps.policy(&[&name], more);
    let snapshot = dumps.backup();
    let manifest = dumps.manifest(&snapshot);
    assert!(manifest["globals"].is_null());
    let relations = manifest["databases"][0]["relations"].as_array();
    let dumped = relations.expect("relations").iter();
    let dumped: Vec<_> = dumped
        .filter(|it| it["left_out"] != true)
        .map(|it| (text(&it["name"]), it["rows"].as_u64()))
        .collect();
    assert_eq!(dumped, [("orders".to_owned(), Some(7))]);
    let copy = format!("{name}_copy");
    let job = dumps.restore(&snapshot, &name, &["--as", &copy]);
    assert!(super::notes(&job).contains("leave out"), "{job:#}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname !~ '^(pg_|information)'";
    assert_eq!(server.sql(&copy, tables), "1");

    // Definitions only.
    dumps.policy(&[&name], "content = \"schema\"");
    let snapshot = dumps.backup();
    let copy = format!("{name}_bare");
    dumps.restore(&snapshot, &name, &["--as", &copy]);
    let counts = "SELECT (SELECT count(*) FROM app.orders), (SELECT count(*) FROM \"Log\".lines)";
    assert_eq!(server.sql(&copy, counts), "0|0");
}

#[test]
fn a_cancelled_backup_leaves_nothing_behind_on_the_server() {
    let scratch = Scratch::new("bin");
    let pid = scratch.join("pid");
    let script = format!(
        "echo $$ >'{0}.new' && mv '{0}.new' '{0}'\nexec sleep 86400",
        pid.display()
    );
    let bin = bin_dir(&scratch, &[("pg_dump", &script)]);
    let dumps = Dumps::new("dumps-cancelled", &format!("bin_dir = '{}'", bin.display()));
    let server = &dumps.server;
    let name = Server::unique("cancelled");
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(&name, "CREATE TABLE t AS SELECT 1 AS a");
    dumps.policy(&[&name], "");
    let job = dumps.world.operator().start(POLICY);
    let pid = eventually("a running pg_dump", || fs::read_to_string(&pid).ok());
    let pid = pid.trim();
    dumps.world.operator().json(&["jobs", "cancel", &job]);
    let job = dumps.world.operator().wait_for_end(&job);
    assert_eq!(job["state"], "cancelled", "{job:#}");
    eventually("end of pg_dump", || {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.is_empty().then_some(())
    });
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    eventually("end of the agent's sessions", || {
        (server.sql("postgres", &sessions) == "0").then_some(())
    });
}

#[test]
fn a_standby_is_dumped_without_its_primary() {
    let scratch = Scratch::new("standby");
    let primary = Cluster::start(&scratch, "primary");
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 50) AS a");
    primary.sql("CREATE UNLOGGED TABLE u AS SELECT 1 AS a");
    let standby = primary.standby(&scratch, "standby");
    let dumps = Dumps::with("dumps-standby", Server::on(standby.port()), "");
    dumps.policy(&["postgres"], "");
    let job = run(&dumps);
    let expected = (
        "postgres: \"public\".\"u\"".to_owned(),
        "unlogged-left-out".to_owned(),
    );
    assert_eq!(warnings(&job), [expected]);
    let manifest = dumps.manifest(&snapshot_of(&job));
    assert_eq!(manifest["standby"], true);
    let relations = &manifest["databases"][0]["relations"];
    assert_eq!(
        (&relations[0]["name"], &relations[0]["rows"]),
        (&"t".into(), &50.into())
    );
    assert!(relations[1]["rows"].is_null(), "{relations:#}");
}
