//! Names are whatever a server lets them be, on the way back too.

use std::process::Stdio;

use strongroom_tests::{
    cluster::{Cluster, succeed},
    postgres::Server,
    scratch::Scratch,
};

use super::{Dumps, bin_dir, notes, partial::run};
use crate::world::{assert_says, snapshot_of};

/// Runs SQL of any bytes, which a command line would not take.
fn script(server: &Server, database: &str, encoding: &str, script: &[u8]) {
    let scratch = Scratch::new("script");
    let file = scratch.join("script.sql");
    std::fs::write(&file, script).expect("a file can be written");
    let mut psql = server.program("psql", database);
    psql.env("PGCLIENTENCODING", encoding)
        .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(&file)
        .stdin(Stdio::null());
    succeed(&mut psql);
}

fn schemas(server: &Server, database: &str) -> String {
    let query = "SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace \
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')";
    server.sql(database, query)
}

#[test]
fn schemas_and_tables_that_a_listing_cannot_tell_apart_come_back_alone() {
    let dumps = Dumps::new("names-alike", "allow_restore = true");
    let server = &dumps.server;
    let name = Server::unique("alike");
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(
        &name,
        "CREATE SCHEMA a; CREATE TABLE a.t AS SELECT generate_series(1, 5) AS id; \
         CREATE TABLE a.\"b u\" AS SELECT generate_series(1, 6) AS id; \
         CREATE SCHEMA \"a b\"; CREATE TABLE \"a b\".u AS SELECT generate_series(1, 7) AS id; \
         CREATE SCHEMA \"new\nline\"; \
         CREATE TABLE \"new\nline\".\"100% it's \"\"q\"\"\n\u{fc}\" AS \
         SELECT generate_series(1, 9) AS id; \
         CREATE FUNCTION \"new\nline\".f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    dumps.policy(&[&name], "globals = false");
    let snapshot = dumps.backup();
    let copy = |test: &str, arguments: &[&str], rows: u64| {
        let copy = format!("{name}_{test}");
        let job = dumps.restore(&snapshot, &name, &[&["--as", &copy], arguments].concat());
        let verified = format!("verified: 1 tables with {rows} rows");
        assert_says(&notes(&job), &[&verified]);
        copy
    };
    let copied = copy("space", &["--schema", "a b"], 7);
    assert_eq!(schemas(server, &copied), "a b");
    let copied = copy("line", &["--schema", "new\nline"], 9);
    assert_eq!(schemas(server, &copied), "new\nline");
    assert_eq!(server.sql(&copied, "SELECT \"new\nline\".f()"), "1");
    let copied = copy("table", &["--table", "\"a b\".\"u\""], 7);
    assert_eq!(schemas(server, &copied), "a b");
    copy("odd", &["--table", "100% it's \"q\"\n\u{fc}"], 9);
    let both = format!("{name}_a");
    let job = dumps.restore(&snapshot, &name, &["--as", &both, "--schema", "a"]);
    assert_says(&notes(&job), &["verified: 2 tables with 11 rows"]);
    assert_eq!(schemas(server, &both), "a");
    // Into a database that has one of the two.
    dumps.restore(&snapshot, &name, &["--as", &both, "--schema", "a b"]);
    assert_eq!(schemas(server, &both), "a,a b");
    assert_eq!(server.sql(&both, "SELECT count(*) FROM \"a b\".u"), "7");
}

#[test]
fn names_of_any_bytes_come_back() {
    let scratch = Scratch::new("names");
    let cluster = Cluster::start(&scratch, "cluster");
    let server = Server::on(cluster.port());
    let odd = "it's \"q\"\n100% \u{fc}";
    let ascii = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    let quoted = odd.replace('"', "\"\"");
    cluster.sql(&format!("CREATE DATABASE \"{quoted}\""));
    cluster.sql(&format!("CREATE DATABASE ascii {ascii}"));
    server.sql(odd, "CREATE TABLE t AS SELECT generate_series(1, 3) AS id");
    let bytes = b"CREATE SCHEMA \"s\xff\"; \
        CREATE TABLE \"s\xff\".\"caf\xe9\" (\"\xe4\" int, v text); \
        INSERT INTO \"s\xff\".\"caf\xe9\" SELECT g, '\xff\xe9' FROM generate_series(1, 100) g; \
        CREATE TABLE other AS SELECT 1 AS a; SET search_path = \"s\xff\", public; \
        CREATE FUNCTION total() RETURNS bigint LANGUAGE sql IMMUTABLE \
        AS 'SELECT count(*) FROM \"caf\xe9\"'; \
        CREATE TABLE public.checked (a int CHECK (a <= \"s\xff\".total())); \
        INSERT INTO public.checked VALUES (1)";
    script(&server, "ascii", "SQL_ASCII", bytes);
    let mut rename = b"CREATE DATABASE \"d\xe9j\xe0\" TEMPLATE ascii".to_vec();
    rename.extend_from_slice(
        b"; COMMENT ON DATABASE \"d\xe9j\xe0\" IS 'vu\xff'; \
        ALTER DATABASE ascii SET search_path = \"s\xff\", public; \
        ALTER DATABASE \"d\xe9j\xe0\" SET search_path = \"s\xff\", public;",
    );
    script(&server, "ascii", "SQL_ASCII", &rename);

    let toml = format!(
        "[postgres.{}]\nurl = \"{}\"\nallow_restore = true\n",
        super::CONNECTION,
        server.url()
    );
    let dumps = Dumps::with_connections("names-bytes", server, scratch, &toml);
    dumps.policy(&[], "");
    let snapshot = dumps.backup();
    let server = &dumps.server;
    let copy = format!("{odd}_copy");
    dumps.restore(&snapshot, odd, &["--as", &copy]);
    assert_eq!(server.sql(&copy, "SELECT count(*) FROM t"), "3");

    for (name, to) in [("ascii", "ascii_copy"), ("d\\xE9j\\xE0", "deja")] {
        let job = dumps.restore(&snapshot, name, &["--as", to]);
        let verified = "verified: 3 tables with 102 rows are as the manifest says, their content \
                        included";
        assert_says(&notes(&job), &[verified]);
        let rows = server.sql(to, "SELECT sum(n_live_tup) > 0 FROM pg_stat_user_tables");
        assert!(!rows.is_empty());
    }
    for (table, to) in [("s\\xFF.caf\\xE9", "one"), ("caf\\xE9", "again")] {
        let job = dumps.restore(&snapshot, "ascii", &["--as", to, "--table", table]);
        assert_says(&notes(&job), &["verified: 1 tables with 100 rows"]);
    }
    let job = dumps.restore(&snapshot, "ascii", &["--as", "s", "--schema", "s\\xFF"]);
    assert_says(&notes(&job), &["verified: 1 tables with 100 rows"]);
    let message = dumps.refused(&snapshot, "ascii", &["--as", "x", "--table", "caf\\xEA"]);
    assert_says(&message, &["caf"]);
    for tables in ["*.caf?", "caf?"] {
        let selection = format!("tables = [\"{tables}\"]\nglobals = false");
        dumps.policy(&["d\\xE9j\\xE0"], &selection);
        dumps.backup();
    }
}

#[test]
fn tables_of_databases_in_other_encodings_come_back_by_their_names() {
    let dumps = Dumps::new("names-latin", "allow_restore = true");
    let server = &dumps.server;
    let name = Server::unique("latin");
    let latin = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    server.sql("postgres", &format!("CREATE DATABASE {name} {latin}"));
    script(
        server,
        &name,
        "UTF8",
        "CREATE SCHEMA \"\u{fc}\"; \
         CREATE TABLE \"\u{fc}\".\"caf\u{e9}\" (\"\u{e4}\" int, v text); \
         INSERT INTO \"\u{fc}\".\"caf\u{e9}\" SELECT g, '\u{f6}' FROM generate_series(1, 9) g; \
         CREATE TABLE other AS SELECT 1 AS a"
            .as_bytes(),
    );
    dumps.policy(&[&name], "globals = false");
    let snapshot = dumps.backup();
    let verified = "verified: 1 tables with 9 rows are as the manifest says, their content \
                    included";
    let copy = format!("{name}_copy");
    let more = ["--as", &copy, "--table", "\u{fc}.caf\u{e9}"];
    assert_says(&notes(&dumps.restore(&snapshot, &name, &more)), &[verified]);
    assert_eq!(
        server.sql(&copy, "SELECT to_regclass('other') IS NULL"),
        "t"
    );

    // Into a database that is there nothing can be compared before it is
    // committed, and that is said.
    let into = format!("{name}_into");
    server.sql("postgres", &format!("CREATE DATABASE {into} {latin}"));
    let more = ["--as", &into, "--schema", "\u{fc}"];
    let job = dumps.restore(&snapshot, &name, &more);
    let said = [
        verified,
        "LATIN1",
        "committed before its rows were compared",
    ];
    assert_says(&notes(&job), &said);
}

#[test]
fn a_policy_that_names_nothing_that_is_there_is_told_so() {
    let dumps = Dumps::new("names-vain", "");
    let name = Server::unique("vain");
    dumps
        .server
        .sql("postgres", &format!("CREATE DATABASE {name}"));
    dumps
        .server
        .sql(&name, "CREATE TABLE \"a\nb\" AS SELECT 1 AS id");
    dumps.policy(
        &[&name],
        "tables = [\"\\\"a\\nb\\\"\", \"\\\"a b\\\"\"]\nglobals = false",
    );
    let job = run(&dumps);
    assert_says(&job.to_string(), &["pattern-unmatched", "a b"]);
    let manifest = dumps.manifest(&snapshot_of(&job));
    let relations = &manifest["databases"][0]["relations"];
    assert_eq!(relations[0]["rows"], 1, "{relations:#}");
}

/// Names in the dump's own encoding, and of what it lacks, are known before it.
#[test]
fn a_session_that_ends_behind_the_dump_costs_nothing() {
    let scratch = Scratch::new("bin");
    let dumping = "REAL \"$@\"; code=$?; PSQL -Xqc 'SELECT pg_catalog.pg_terminate_backend(pid) \
        FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() \
        AND pid <> pg_catalog.pg_backend_pid()' >/dev/null || exit 9; exit $code";
    let bin = bin_dir(&scratch, &[("pg_dump", dumping)]);
    let dumps = Dumps::new("names-ended", &format!("bin_dir = '{}'", bin.display()));
    let name = Server::unique("ended");
    let latin = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    let create = format!("CREATE DATABASE {name} {latin}");
    dumps.server.sql("postgres", &create);
    script(
        &dumps.server,
        &name,
        "UTF8",
        "CREATE TABLE parent (id int PRIMARY KEY); \
         CREATE TABLE child (\"\u{e4}\" int REFERENCES parent)"
            .as_bytes(),
    );
    dumps.policy(&[&name], "exclude_tables = [\"parent\"]\nglobals = false");
    let job = run(&dumps);
    let said = ["reference-left-out", "constraint", "table public.parent"];
    assert_says(&job.to_string(), &said);
    let manifest = dumps.manifest(&snapshot_of(&job));
    let child = &manifest["databases"][0]["relations"][0];
    assert_eq!(child["checksum"]["columns"][0], "\u{e4}", "{manifest:#}");
}
