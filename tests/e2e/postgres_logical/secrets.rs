//! Rows and passwords stay on the servers: whatever fails, and however a
//! server quotes them, no failure, audit, catalog, log or trace has them.

use strongroom_tests::{
    cluster::{Cluster, sql},
    coordinator::Setup,
    operator::text,
    postgres::Server,
    scratch::Scratch,
    traces::Collector,
};

use super::{CONNECTION, Dumps};
use crate::{
    leaks,
    world::{World, assert_says},
};

/// In rows, and in passwords.
const SECRETS: [&str; 3] = ["4111-row-1111", "4222-raised-2222", "hush-password-hush"];

/// How a password begins that a server has stored.
const VERIFIER: &str = "SCRAM-SHA-256$";

/// Each makes what can be dumped, and not be restored to a database of another
/// name; and what the restore must say of it.
const TRAPS: [(&str, &str, &[&str]); 4] = [
    (
        // DETAIL has the row, CONTEXT the line.
        "checked",
        "CREATE FUNCTION ok(text) RETURNS bool LANGUAGE sql
             AS 'SELECT pg_catalog.current_database() = ''checked''';
         CREATE TABLE cards (card text CHECK (ok(card)));
         INSERT INTO cards VALUES ('4111-row-1111')",
        &[
            "\"cards\"",
            "violates check constraint \"cards_card_check\"",
        ],
    ),
    (
        // The message itself has the row.
        "raised",
        "CREATE FUNCTION ok(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
             IF pg_catalog.current_database() <> 'raised' THEN
                 RAISE NOTICE 'here comes 4222-raised-2222';
                 RAISE EXCEPTION 'card % is blocked', $1
                     USING ERRCODE = 'unique_violation', DETAIL = '4222-raised-2222';
             END IF;
             RETURN true; END $$;
         CREATE TABLE cards (card text CHECK (ok(card)));
         INSERT INTO cards VALUES ('4111-row-1111')",
        &["TABLE DATA public cards", "server's log"],
    ),
    (
        // A value that has become no value of its type.
        "typed",
        "CREATE FUNCTION ok(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
             IF pg_catalog.current_database() <> 'typed' THEN
                 RETURN $1::pg_catalog.int4 > 0;
             END IF;
             RETURN true; END $$;
         CREATE TABLE cards (card text CHECK (ok(card)));
         INSERT INTO cards VALUES ('4111-row-1111')",
        &["cards", "invalid input syntax for type integer: …"],
    ),
    (
        // The command has the password.
        "mapped",
        "CREATE EXTENSION postgres_fdw;
         CREATE ROLE worker;
         CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw;
         CREATE USER MAPPING FOR worker SERVER other
             OPTIONS (user 'u', password 'hush-password-hush')",
        &["role \"worker\" does not exist"],
    ),
];

#[test]
fn no_row_and_no_password_leaves_a_server_with_its_errors() {
    let scratch = Scratch::new("secrets-server");
    let cluster = Cluster::start(&scratch, "server");
    let traces = Collector::start();
    // At that level drivers would log what they send.
    let toml = format!(
        "[postgres.{CONNECTION}]\nurl = '{}'\nallow_restore = true\n\
         [telemetry]\nlog_level = 'debug'\notlp_endpoint = '{}'\n",
        cluster.url(),
        traces.endpoint()
    );
    let world = World::with_agent("secrets", Setup::default(), |agent| agent.extra(&toml));
    let dumps = Dumps {
        world,
        server: Server::on(cluster.port()),
        _passwords: Scratch::new("secrets-none"),
    };
    for (name, statements, wanted) in TRAPS {
        cluster.sql(&format!("CREATE DATABASE {name}"));
        sql(cluster.port(), name, statements);
        dumps.policy(&[name], "");
        let snapshot = dumps.backup();
        if name == "mapped" {
            cluster.sql("ALTER ROLE worker RENAME TO other_worker");
        }
        if name == "mapped" {
            // Nothing with rows: a warning.
            let job = dumps.restore(&snapshot, name, &["--as", "copy"]);
            let job = dumps.world.operator().job(&text(&job["id"]));
            assert_says(
                &job["warnings"][0]["cause"].to_string().replace('\\', ""),
                wanted,
            );
            continue;
        }
        let message = dumps.refused(&snapshot, name, &["--as", "copy"]);
        assert_says(&message, wanted);
    }

    // A role comes back with its password's verifier.
    cluster.sql("CREATE ROLE clerk PASSWORD 'hush-password-hush'");
    let verifier = cluster.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'clerk'");
    cluster.sql("CREATE DATABASE desk OWNER clerk");
    dumps.policy(&["desk"], "globals = true");
    let snapshot = dumps.backup();
    cluster.sql("DROP DATABASE desk");
    cluster.sql("DROP ROLE clerk");
    dumps.restore(&snapshot, "desk", &["--roles"]);
    let restored = cluster.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'clerk'");
    assert_eq!(restored, verifier);

    let secrets = [&SECRETS[..], &[VERIFIER]].concat();
    let spans = traces.wait_for("restore", |spans| !spans.is_empty());
    leaks::assert_none_in("the traces", &format!("{spans:?}"), &secrets);
    leaks::assert_none_leaked(&dumps.world, &secrets);
}
