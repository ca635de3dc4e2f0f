use serde_json::json;
use strongroom_tests::redis::{assert_same, contents, fill};

use super::*;

/// As an operator would without us: `dump.rdb` into the directory of a server.
#[test]
fn a_snapshot_is_an_rdb_that_a_server_starts_with_and_a_manifest() {
    for (name, configuration) in [
        ("redis-diskless", "repl-diskless-sync yes"),
        ("redis-disk", "repl-diskless-sync no"),
    ] {
        let pair = Pair::with(name, configuration, "", "");
        fill(&pair.source);
        let snapshot = pair.backup();
        pair.source.wait_for_no_replicas();

        let target = pair.world.restores.join("files");
        let job = pair.world.operator().restore(&snapshot, AGENT, &target);
        let hint = text(&job["result"]["restore"]["notes"][0]);
        let dump = target.join("dump.rdb");
        assert!(hint.contains(dump.to_str().expect("UTF-8")), "{hint}");
        let manifest = fs::read(target.join("manifest.json")).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(manifest["product"], pair.source.product());
        assert_eq!(manifest["server_version"], pair.source.version());
        assert_eq!(manifest["role"], "primary");
        assert_eq!(
            manifest["replication_id"],
            pair.source.info("master_replid")
        );
        assert_eq!(manifest["rdb"]["checksum"], "verified");
        assert_eq!(manifest["functions"], pair.source.functions());
        let rdb = fs::metadata(target.join("dump.rdb")).expect("an RDB");
        assert_eq!(manifest["rdb"]["bytes"], rdb.len());
        for database in ["0", "3", "15"] {
            let keyspace = pair.source.info(&format!("db{database}"));
            let counts = &manifest["databases"][database];
            let counted = format!("keys={},expires={},", counts["keys"], counts["expiring"]);
            assert!(keyspace.starts_with(&counted), "{keyspace}: {manifest:#}");
        }

        let scratch = Scratch::new("fresh");
        let mut fresh = Server::prepare(&scratch, "fresh", "");
        fs::copy(target.join("dump.rdb"), fresh.directory().join("dump.rdb")).expect("a copy");
        fresh.start_again();
        assert_same(&contents(&pair.source), &contents(&fresh));
        pair.world.restic().check();
        // The second one has little to store.
        let again = pair.world.operator().backup(SOURCE);
        let result = &again["result"]["backup"];
        assert_eq!(result["files"], json!(2), "{again:#}");
        let log = pair.world.agent.program().log();
        assert!(!log.contains("least-secret"), "a password is in the log");
    }
}

#[test]
fn a_replica_serves_in_its_primary_s_stead() {
    let pair = Pair::new("redis-replica");
    let scratch = Scratch::new("primary");
    let primary = Server::start(&scratch, "primary");
    fill(&primary);
    pair.source.follow(&primary);
    let snapshot = pair.backup();
    pair.restore(&snapshot, &[]);
    assert_same(&contents(&primary), &contents(&pair.target));
    assert_eq!(pair.source.info("master_link_status"), "up");
}

#[test]
fn operators_see_what_answers() {
    let pair = Pair::new("redis-inventory");
    // Looked at when the agent started.
    let shown = strongroom_tests::operator::eventually("an inventory", || {
        let shown = pair.world.operator().run(["agents", "show", AGENT]);
        (shown.stdout.contains(SOURCE) && shown.stdout.contains(TARGET)).then_some(shown.stdout)
    });
    let product = match pair.source.product() {
        "valkey" => "Valkey",
        _ => "Redis",
    };
    for wanted in [product, &pair.source.version(), "primary"] {
        assert!(shown.contains(wanted), "{wanted:?} is missing:\n{shown}");
    }
    assert!(!shown.contains("secret"), "{shown}");
}
