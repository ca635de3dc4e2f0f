//! A dump takes no more locks than `pg_dump` itself.

use strongroom_tests::{cluster::Cluster, postgres::Server, scratch::Scratch};

use super::Dumps;

/// What the server has room for is `pg_dump`'s locks on so many tables, and not
/// as many again, nor those on their indexes.
const TABLES: u32 = 1_000;

#[test]
fn a_thousand_tables_fit_into_a_small_table_of_locks() {
    let scratch = Scratch::new("locks");
    // Whatever else may have a session makes room for locks, too.
    let settings = "max_connections = 20\nmax_worker_processes = 0\nmax_wal_senders = 0\n\
         autovacuum_max_workers = 1\nmax_prepared_transactions = 0";
    let cluster = Cluster::with(&scratch, "cluster", settings);
    let server = Server::on(cluster.port());
    assert_eq!(cluster.sql("SHOW max_locks_per_transaction"), "64");
    cluster.sql("CREATE DATABASE many");
    for first in (1..=TABLES).step_by(100) {
        let last = first + 99;
        server.sql(
            "many",
            &format!(
                "DO $$ BEGIN FOR n IN {first}..{last} LOOP \
                 EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, v int)', n); \
                 EXECUTE format('CREATE INDEX ON t%s (v)', n); \
                 EXECUTE format('INSERT INTO t%s VALUES (1, %s)', n, n); \
                 END LOOP; END $$"
            ),
        );
    }
    // Whoever counts in one transaction has no room, even alone.
    let count = format!(
        "DO $$ BEGIN FOR n IN 1..{TABLES} LOOP \
         EXECUTE format('SELECT count(*) FROM t%s', n); END LOOP; END $$"
    );
    let output = server
        .program("psql", "many")
        .args(["-Xqc", &count])
        .output();
    let said = String::from_utf8_lossy(&output.expect("psql runs").stderr).into_owned();
    assert!(said.contains("out of shared memory"), "{said}");

    let dumps = Dumps::with("dumps-locks", server, "allow_restore = true");
    dumps.policy(&["many"], "globals = false");
    let snapshot = dumps.backup();
    let job = dumps.restore(&snapshot, "many", &["--as", "copy"]);
    assert_eq!(job["warning_count"], 0, "{job:#}");
    let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t[0-9]+$'";
    let indexes = "SELECT count(*) FROM pg_index WHERE indrelid::regclass::text ~ '^t[0-9]+$'";
    let figures = [tables, indexes, "SELECT v FROM t1000"];
    let figures = figures.map(|sql| dumps.server.sql("copy", sql));
    assert_eq!(figures, ["1000", "2000", "1000"]);
}
