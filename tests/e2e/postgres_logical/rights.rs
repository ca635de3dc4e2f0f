//! A role that lacks rights is told all of them at once, with the statements
//! that grant them; and a pooler is known for one.

use strongroom_tests::{cluster::Cluster, pooler::pooler, postgres::Server, scratch::Scratch};

use super::{
    CONNECTION, Dumps,
    partial::{run, warnings},
};
use crate::world::assert_says;

const ROLE: &str = "strongroom";

fn dumps(name: &str, server: Server, scratch: Scratch) -> Dumps {
    let toml = format!(
        "[postgres.{CONNECTION}]\nurl = \"{}\"\n",
        server.url_as(ROLE)
    );
    let dumps = Dumps::with_connections(name, server, scratch, &toml);
    dumps.policy(&["app"], "globals = false");
    dumps
}

#[test]
fn missing_rights_are_named_together_and_their_statements_grant_them() {
    let scratch = Scratch::new("rights");
    let cluster = Cluster::start(&scratch, "cluster");
    let server = Server::on(cluster.port());
    cluster.sql(&format!("CREATE ROLE {ROLE} LOGIN; CREATE ROLE app"));
    cluster.sql("CREATE DATABASE app OWNER app");
    server.sql(
        "app",
        "SET ROLE app; CREATE SCHEMA private; \
         CREATE TABLE private.t AS SELECT generate_series(1, 100) AS id; \
         CREATE SEQUENCE private.s; \
         CREATE TABLE r AS SELECT generate_series(1, 100) AS id; \
         ALTER TABLE r ENABLE ROW LEVEL SECURITY; ALTER TABLE r FORCE ROW LEVEL SECURITY; \
         CREATE POLICY p ON r USING (id > 50); SELECT lo_from_bytea(4711, 'x')",
    );
    let dumps = dumps("dumps-rights", server, scratch);
    let (code, message) = dumps.fails(super::POLICY);
    assert_eq!(code, "source");
    assert_says(
        &message,
        &[
            "\"private\".\"t\"",
            "\"private\".\"s\"",
            "row security would hide rows of \"public\".\"r\"",
        ],
    );
    // What it says to run is what makes it work.
    let lines = message.lines().filter_map(|line| line.split_once("; -- "));
    let statements: Vec<_> = lines.map(|(statement, _)| statement.trim()).collect();
    assert_eq!(
        statements,
        [
            "GRANT pg_read_all_data TO \"strongroom\"",
            "ALTER ROLE \"strongroom\" BYPASSRLS",
            "GRANT SELECT ON LARGE OBJECT 4711 TO \"strongroom\"",
        ]
    );
    for statement in statements {
        dumps.server.sql("app", statement);
    }
    let manifest = dumps.manifest(&dumps.backup());
    let rows: Vec<_> = manifest["databases"][0]["relations"]
        .as_array()
        .expect("relations")
        .iter()
        .filter_map(|it| it["rows"].as_u64())
        .collect();
    assert_eq!(rows, [100, 100]);
    assert_eq!(manifest["databases"][0]["large_objects"], 1);
}

#[test]
fn what_a_role_may_not_read_and_a_dump_leaves_out_is_named() {
    let scratch = Scratch::new("unread");
    let cluster = Cluster::with(&scratch, "cluster", "wal_level = logical");
    let server = Server::on(cluster.port());
    cluster.sql(&format!(
        "CREATE ROLE {ROLE} LOGIN; GRANT pg_read_all_data TO {ROLE}; CREATE ROLE app"
    ));
    cluster.sql("CREATE DATABASE app");
    server.sql(
        "app",
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; \
         CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'u', password 'hush-hush'); \
         CREATE TABLE t AS SELECT 1 AS id",
    );
    server.sql(
        "app",
        "CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION pub \
         WITH (connect = false)",
    );
    let dumps = dumps("dumps-unread", server, scratch);
    let job = run(&dumps);
    let expected = [
        ("app: app on s", "mapping-options-left-out"),
        ("app: sub", "subscriptions-left-out"),
    ];
    let expected = expected.map(|(path, code)| (path.to_owned(), code.to_owned()));
    assert_eq!(warnings(&job), expected, "{job:#}");
    // A superuser reads both.
    dumps
        .server
        .sql("app", &format!("ALTER ROLE {ROLE} SUPERUSER"));
    dumps.backup();
}

#[test]
fn a_pooler_in_between_is_refused_before_anything_is_set() {
    let scratch = Scratch::new("pooler");
    let cluster = Cluster::with(&scratch, "cluster", "log_statement = all");
    cluster.sql("CREATE TABLE t AS SELECT 1 AS a");
    let pooler = Server::on(pooler(cluster.port()));
    let toml = format!("[postgres.{CONNECTION}]\nurl = \"{}\"\n", pooler.url());
    let dumps = Dumps::with_connections("dumps-pooler", pooler, scratch, &toml);
    dumps.policy(&["postgres"], "globals = false");
    let (code, message) = dumps.fails(super::POLICY);
    assert_eq!(code, "source");
    assert_says(
        &message,
        &["pooler", "PgBouncer", "agent.toml", "address of the server"],
    );
    let log = std::fs::read_to_string(cluster.log()).expect("the server's log");
    assert!(log.contains("strongroom.session"), "nobody asked: {log}");
    for set in ["set_config", "SET ", "BEGIN"] {
        assert!(!log.contains(set), "{set} in {log}");
    }
}
