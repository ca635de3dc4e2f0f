//! What goes wrong is said plainly.

use strongroom_tests::{port::Port, postgres::Server, scratch::Scratch};

use super::{Dumps, bin_dir, connection, private, write_script};
use crate::world::assert_says;

#[test]
fn servers_that_cannot_be_used_are_explained() {
    let scratch = Scratch::new("errors");
    let server = Server::shared();
    let password = server.password().to_owned();
    let old = scratch.dir("old");
    write_script(
        &old.join("pg_dump"),
        "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n",
    );
    let none = scratch.dir("none");
    let nobody = Port::lease();
    let role = Server::unique("powerless");
    server.sql(
        "postgres",
        &format!("CREATE ROLE {role} LOGIN PASSWORD 'hush'"),
    );
    let file = scratch.file("powerless", "hush");
    private(&file);
    let toml = [
        connection("wrong", &server, &scratch, "not the password", ""),
        format!(
            "[postgres.silent]\nurl = \"postgres://postgres@{}/postgres\"\n",
            nobody.address()
        ),
        connection("tls", &server, &scratch, &password, "sslmode = \"require\""),
        format!("[postgres.bare]\nurl = \"{}\"\n", server.url()),
        connection(
            "old",
            &server,
            &scratch,
            &password,
            &format!("bin_dir = '{}'", old.display()),
        ),
        connection(
            "none",
            &server,
            &scratch,
            &password,
            &format!("bin_dir = '{}'", none.display()),
        ),
        connection("good", &server, &scratch, &password, ""),
        format!(
            "[postgres.powerless]\nurl = \"{}\"\npassword_file = '{}'\n",
            server.url_as(&role),
            file.display()
        ),
    ]
    .concat();
    let dumps = Dumps::with_connections("dumps-errors", server, scratch, &toml);
    let server = &dumps.server;
    let name = Server::unique("errors");
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(&name, "CREATE TABLE t AS SELECT 1 AS a");
    let (mistyped, listed) = (format!("{name}s"), format!("it has {name:?}"));
    for (connection, database, wanted) in [
        ("wrong", name.as_str(), &["password", "password_file"][..]),
        (
            "silent",
            &name,
            &["cannot reach", "running", &nobody.number().to_string()],
        ),
        ("tls", &name, &["TLS", "sslmode"]),
        ("bare", &name, &["password", "password_env"]),
        ("old", &name, &["pg_dump", "9.6.24", "postgresql-client-"]),
        ("none", &name, &["pg_dump", "postgresql-client-", "bin_dir"]),
        ("good", &mistyped, &["no database", &mistyped, &listed]),
        (
            "powerless",
            &name,
            &["GRANT pg_read_all_data TO", "\"public\".\"t\"", &name],
        ),
        ("nowhere", &name, &["nowhere", "agent.toml"]),
    ] {
        dumps.policy_of(connection, connection, &[database], "");
        let (code, message) = dumps.fails(connection);
        let expected = if connection == "nowhere" {
            "not-allowed"
        } else {
            "source"
        };
        assert_eq!(code, expected, "{connection}: {message}");
        assert_says(&message, wanted);
        assert!(
            !message.contains("hush") && !message.contains(&password),
            "{message}"
        );
    }
    let log = dumps.world.agent.program().log();
    assert!(!log.contains(&password), "a password is in the log");
    server.sql("postgres", &format!("DROP ROLE {role}"));
}

#[test]
fn roles_come_without_passwords_where_those_may_not_be_read() {
    let scratch = Scratch::new("reader");
    let server = Server::shared();
    let role = Server::unique("reader");
    server.sql(
        "postgres",
        &format!("CREATE ROLE {role} LOGIN PASSWORD 'hush'"),
    );
    let file = scratch.file("reader", "hush");
    private(&file);
    let toml = format!(
        "[postgres.db]\nurl = \"{}\"\npassword_file = '{}'\n",
        server.url_as(&role),
        file.display()
    );
    let dumps = Dumps::with_connections("dumps-reader", server, scratch, &toml);
    let name = Server::unique("read");
    dumps
        .server
        .sql("postgres", &format!("CREATE DATABASE {name}"));
    let readable = format!("CREATE TABLE t AS SELECT 1 AS a; GRANT SELECT ON t TO {role}");
    dumps.server.sql(&name, &readable);
    dumps.policy(&[&name], "");
    // Warnings make it another exit code.
    let job = dumps.world.operator().start(super::POLICY);
    let job = dumps.world.operator().wait_for_end(&job);
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_says(&job.to_string(), &["without their passwords"]);
    let snapshot = crate::world::snapshot_of(&job);
    assert_eq!(dumps.manifest(&snapshot)["globals"]["passwords"], false);
}

#[test]
fn a_pg_dump_that_fails_names_its_database() {
    let scratch = Scratch::new("bin");
    let script = "echo 'pg_dump: error: could not write to output file: No space left' >&2\nexit 3";
    let bin = bin_dir(&scratch, &[("pg_dump", script)]);
    let dumps = Dumps::new("dumps-fail", &format!("bin_dir = '{}'", bin.display()));
    let name = Server::unique("fails");
    dumps
        .server
        .sql("postgres", &format!("CREATE DATABASE {name}"));
    dumps.policy(&[&name], "");
    let (code, message) = dumps.fails(super::POLICY);
    assert_eq!(code, "source");
    assert_says(&message, &[&name, "db", "pg_dump", "3", "No space left"]);
    let snapshots = dumps.world.operator().json(&["snapshots", "list"]);
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(0));
}
