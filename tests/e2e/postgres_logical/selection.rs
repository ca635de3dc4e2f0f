//! What was selected is what is dumped and counted, and what is cut off is
//! named.

use std::process::{Command, Stdio};

use serde_json::Value;
use strongroom_tests::{
    cluster::{Cluster, succeed},
    operator::text,
    postgres::Server,
    scratch::Scratch,
};

use super::{
    CONNECTION, Dumps, bin_dir,
    partial::{run, warnings},
};
use crate::world::{assert_says, snapshot_of};

/// A database of a test's own on the shared server.
fn database(server: &Server, name: &str, statements: &str) -> String {
    let name = Server::unique(name);
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(&name, statements);
    name
}

/// Tables with rows in the dump of the first database, and how many.
fn rows(manifest: &Value) -> Vec<(String, u64)> {
    let relations = manifest["databases"][0]["relations"].as_array();
    let relations = relations.expect("relations").iter();
    relations
        .filter_map(|it| Some((text(&it["name"]), it["rows"].as_u64()?)))
        .collect()
}

const EVENTS: &str = "CREATE TABLE events (id int, d date) PARTITION BY RANGE (d); \
    CREATE TABLE events_p1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-07-01'); \
    CREATE SCHEMA old; \
    CREATE TABLE old.events_p2 PARTITION OF events \
    FOR VALUES FROM ('2026-07-01') TO ('2027-01-01'); \
    INSERT INTO events SELECT g, '2026-01-01'::date + g % 360 FROM generate_series(1, 1000) g; \
    CREATE TABLE base (id int); CREATE TABLE derived (extra text) INHERITS (base); \
    INSERT INTO derived SELECT g, 'x' FROM generate_series(1, 100) g; \
    INSERT INTO base SELECT generate_series(1001, 1010)";

#[test]
fn partitions_and_heirs_come_and_stay_away_with_their_table() {
    let dumps = Dumps::new("dumps-events", "allow_restore = true");
    let server = &dumps.server;
    let name = database(server, "events", EVENTS);
    dumps.policy(&[&name], "tables = [\"public.events\"]\nglobals = false");
    let snapshot = dumps.backup();
    let counted = rows(&dumps.manifest(&snapshot));
    assert_eq!(
        counted.iter().map(|it| it.1).sum::<u64>(),
        1000,
        "{counted:?}"
    );
    assert_eq!(counted.len(), 2);
    let copy = format!("{name}_copy");
    let job = dumps.restore(&snapshot, &name, &["--as", &copy]);
    assert_says(&super::notes(&job), &["the schema \"old\"", "it was made"]);
    assert_eq!(server.sql(&copy, "SELECT count(*) FROM events"), "1000");
    let into = format!("{name}_into");
    server.sql("postgres", &format!("CREATE DATABASE {into}"));
    dumps.restore(&snapshot, &name, &["--as", &into, "--table", "events"]);
    assert_eq!(server.sql(&into, "SELECT count(*) FROM events"), "1000");

    dumps.policy(
        &[&name],
        "exclude_tables = [\"public.events\", \"derived\"]\nglobals = false",
    );
    // Its heir's rows are rows of a table that stays.
    let job = run(&dumps);
    assert_says(
        &job.to_string(),
        &["rows-left-out", "\\\"derived\\\"", "\\\"base\\\""],
    );
    let counted = rows(&dumps.manifest(&snapshot_of(&job)));
    assert_eq!(counted, [("base".to_owned(), 10)]);

    dumps.policy(&[&name], "tables = [\"base\"]\nglobals = false");
    let counted = rows(&dumps.manifest(&dumps.backup()));
    let expected = [("base".to_owned(), 10), ("derived".to_owned(), 100)];
    assert_eq!(counted, expected);

    // One partition alone has lost its parent, and that is said.
    dumps.policy(&[&name], "tables = [\"events_p1\"]\nglobals = false");
    let job = run(&dumps);
    assert_says(
        &job.to_string(),
        &[
            "reference-left-out",
            "table public.events_p1",
            "table public.events",
        ],
    );
    // And so is a table whose rows lie in what is left out.
    dumps.policy(&[&name], "exclude_schemas = [\"old\"]\nglobals = false");
    let job = run(&dumps);
    let left_out = ["rows-left-out", "\\\"old\\\".\\\"events_p2\\\""];
    assert_says(&job.to_string(), &left_out);
    // Of rows alone, too, of which the table itself has none.
    dumps.policy(
        &[&name],
        "exclude_schemas = [\"old\"]\ncontent = \"data\"\nglobals = false",
    );
    assert_says(&run(&dumps).to_string(), &left_out);
}

#[test]
fn what_a_selection_cuts_off_is_named() {
    let dumps = Dumps::new("dumps-cut", "");
    let server = &dumps.server;
    let name = database(
        server,
        "cut",
        "CREATE TABLE parent (id int PRIMARY KEY); \
         CREATE TABLE child (id int, parent_id int REFERENCES parent); \
         CREATE VIEW parent_view AS SELECT * FROM parent; \
         CREATE SCHEMA scratch; CREATE SEQUENCE scratch.numbers; \
         CREATE TABLE numbered (id int DEFAULT nextval('scratch.numbers')); \
         CREATE TYPE scratch.mood AS ENUM ('calm'); \
         CREATE FUNCTION scratch.double(int) RETURNS int LANGUAGE sql IMMUTABLE \
         AS 'SELECT $1 * 2'; \
         CREATE TABLE typed (m scratch.mood[], id int CHECK (scratch.double(id) > 0))",
    );
    dumps.policy(&[&name], "exclude_tables = [\"parent\"]\nglobals = false");
    let job = run(&dumps);
    let cut = |job: &Value| {
        let mut cut = warnings(job);
        for (path, code) in &mut cut {
            assert_eq!(code, "reference-left-out", "{job:#}");
            *path = path.split_once(": ").expect("a database").1.to_owned();
        }
        cut.into_iter().map(|it| it.0).collect::<Vec<_>>()
    };
    assert_eq!(
        cut(&job),
        [
            "constraint child_parent_id_fkey on table public.child",
            "view public.parent_view"
        ]
    );
    assert_says(&job.to_string(), &["needs the table public.parent"]);
    for selection in ["exclude_schemas = [\"scratch\"]", "schemas = [\"public\"]"] {
        dumps.policy(&[&name], &format!("{selection}\nglobals = false"));
        let job = run(&dumps);
        assert_eq!(
            cut(&job),
            [
                "table public.numbered",
                "table public.typed",
                "table public.typed"
            ],
            "{selection}"
        );
        assert_says(
            &job.to_string(),
            &[
                "needs the sequence scratch.numbers",
                "needs the type scratch.mood",
                "needs the function scratch.double",
            ],
        );
    }
    // What is whole is whole.
    dumps.policy(&[&name], "globals = false");
    dumps.backup();
}

#[test]
fn an_empty_choice_is_an_error_and_a_vain_pattern_is_named() {
    let dumps = Dumps::new("dumps-vain", "");
    let server = &dumps.server;
    let name = database(server, "vain", "CREATE TABLE t AS SELECT 1 AS a");
    for (selection, wanted) in [
        ("tables = [\"none\"]", "no table in it matches"),
        ("schemas = [\"none\"]", "no table in it matches"),
        ("tables = [\"t\"]\nexclude_tables = [\"t\"]", "is excluded"),
        ("exclude_schemas = [\"*\"]", "is excluded"),
    ] {
        dumps.policy(&[&name], &format!("{selection}\nglobals = false"));
        let (code, message) = dumps.fails(super::POLICY);
        assert_eq!(code, "source");
        assert_says(&message, &[&name, wanted]);
    }
    dumps.policy(&[&name], "tables = [\"t\", \"none\"]\nglobals = false");
    let job = run(&dumps);
    let expected = [("none".to_owned(), "pattern-unmatched".to_owned())];
    assert_eq!(warnings(&job), expected);
}

#[test]
fn rows_of_tables_that_belong_to_extensions_are_named() {
    let dumps = Dumps::new("dumps-members", "");
    let server = &dumps.server;
    // plpgsql is an extension that every server has.
    let name = database(
        server,
        "members",
        "CREATE TABLE queue AS SELECT generate_series(1, 100) AS id; \
         CREATE TABLE nothing (id int); CREATE TABLE plain AS SELECT 1 AS id; \
         ALTER EXTENSION plpgsql ADD TABLE queue; ALTER EXTENSION plpgsql ADD TABLE nothing",
    );
    dumps.policy(&[&name], "globals = false");
    let job = run(&dumps);
    let expected = (
        format!("{name}: \"public\".\"queue\""),
        "rows-left-out".to_owned(),
    );
    assert_eq!(warnings(&job), [expected]);
    assert_says(&job.to_string(), &["extension", "plpgsql", "DROP TABLE"]);
    // Whoever knows it excludes it.
    dumps.policy(&[&name], "exclude_tables = [\"queue\"]\nglobals = false");
    dumps.backup();
}

#[test]
fn names_are_no_patterns_whatever_is_in_them() {
    let dumps = Dumps::new("dumps-names", "allow_restore = true");
    let server = &dumps.server;
    let odd = "a.b*c?\"d\"|(e)$[f]\\ g\nh=i";
    let quoted = odd.replace('"', "\"\"");
    let name = database(
        server,
        "names",
        &format!(
            "CREATE SCHEMA \"{quoted}\"; \
             CREATE TABLE \"{quoted}\".\"{quoted}\" AS SELECT generate_series(1, 7) AS n; \
             CREATE TABLE \"{quoted}\".\"--file=x\" AS SELECT generate_series(1, 8) AS n; \
             CREATE SCHEMA abc; CREATE TABLE abc.t AS SELECT 1 AS n"
        ),
    );
    // Excluded by a pattern, taken by its very name.
    dumps.policy(
        &[&name],
        "exclude_schemas = [\"abc\"]\nexclude_tables = ['*.\"--file=x\"']\nglobals = false",
    );
    let manifest = dumps.manifest(&dumps.backup());
    assert_eq!(rows(&manifest), [(odd.to_owned(), 7)]);
    dumps.policy(&[&name], "tables = [\"a?b*.*\"]\nglobals = false");
    let manifest = dumps.manifest(&dumps.backup());
    let expected = [("--file=x".to_owned(), 8), (odd.to_owned(), 7)];
    assert_eq!(rows(&manifest), expected);
}

#[test]
fn a_table_with_a_name_of_any_bytes_is_counted_and_chosen() {
    let dumps = Dumps::new("dumps-bytes", "");
    let server = &dumps.server;
    let name = Server::unique("bytes");
    server.sql(
        "postgres",
        &format!(
            "CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 \
             LC_COLLATE 'C' LC_CTYPE 'C'"
        ),
    );
    // A command line is UTF-8 here; a file is what it is.
    let script = b"CREATE SCHEMA \"s\xff\"; CREATE TABLE \"s\xff\".\"caf\xe9\" (id int); \
        INSERT INTO \"s\xff\".\"caf\xe9\" SELECT generate_series(1, 100); \
        CREATE TABLE other (v text); INSERT INTO other VALUES ('\xe9\xff');";
    let scratch = Scratch::new("bytes");
    let file = scratch.join("script.sql");
    std::fs::write(&file, script).expect("a file can be written");
    let mut psql = server.program("psql", &name);
    psql.env("PGCLIENTENCODING", "SQL_ASCII")
        .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(&file)
        .stdin(Stdio::null());
    succeed(&mut psql);
    for (selection, tables) in [
        ("", 2),
        ("exclude_tables = [\"other\"]", 1),
        ("tables = [\"*.caf?\"]", 1),
    ] {
        dumps.policy(&[&name], &format!("{selection}\nglobals = false"));
        let counted = rows(&dumps.manifest(&dumps.backup()));
        assert_eq!(counted.len(), tables, "{selection}: {counted:?}");
        assert!(
            counted
                .iter()
                .any(|(name, rows)| name.starts_with("caf") && *rows == 100),
            "{selection}: {counted:?}"
        );
    }
    let latin = Server::unique("latin");
    server.sql(
        "postgres",
        &format!(
            "CREATE DATABASE {latin} ENCODING 'LATIN1' TEMPLATE template0 \
             LC_COLLATE 'C' LC_CTYPE 'C'"
        ),
    );
    let statements = "CREATE TABLE \"caf\u{e9}\" AS SELECT generate_series(1, 9) AS n; \
        CREATE TABLE other AS SELECT 1 AS n";
    let mut psql = server.program("psql", &latin);
    psql.env("PGCLIENTENCODING", "UTF8")
        .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-c", statements]);
    succeed(&mut psql);
    dumps.policy(&[&latin], "tables = [\"caf*\"]\nglobals = false");
    let counted = rows(&dumps.manifest(&dumps.backup()));
    assert_eq!(counted, [("caf\u{e9}".to_owned(), 9)]);
}

/// With a role that may read everything, and nothing else.
#[test]
fn a_table_that_is_emptied_before_it_is_locked_is_dumped_anew() {
    let scratch = Scratch::new("bin");
    let cluster = Cluster::start(&scratch, "cluster");
    cluster.sql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader");
    let server = Server::on(cluster.port());
    let marker = scratch.join("emptied");
    // Between the snapshot and the dump's locks a table is emptied and filled,
    // which heeds no snapshot; and another is dropped.
    let script = format!(
        "if [ ! -e '{0}' ]; then : >'{0}'; PGUSER=postgres PSQL -Xq -c 'TRUNCATE public.t' \
         -c 'INSERT INTO public.t SELECT generate_series(1, 5)' -c 'DROP TABLE public.gone' \
         || exit 9; fi\nexec REAL \"$@\"",
        marker.display()
    );
    let bin = bin_dir(&scratch, &[("pg_dump", &script)]);
    let toml = format!(
        "[postgres.{CONNECTION}]\nurl = \"{}\"\nbin_dir = '{}'\n",
        server.url_as("reader"),
        bin.display()
    );
    let dumps = Dumps::with_connections("dumps-emptied", server, scratch, &toml);
    let name = database(
        &dumps.server,
        "emptied",
        "CREATE TABLE t AS SELECT generate_series(1, 20) AS a; CREATE TABLE gone (a int)",
    );
    dumps.policy(&[&name], "globals = false");
    let snapshot = snapshot_of(&dumps.world.operator().backup(super::POLICY));
    assert!(marker.exists());
    assert_eq!(rows(&dumps.manifest(&snapshot)), [("t".to_owned(), 5)]);
}

#[test]
fn rows_that_pg_dump_leaves_out_by_itself_are_named() {
    let scratch = Scratch::new("bin");
    let script = "exec REAL --exclude-table-data=public.t \"$@\"";
    let bin = bin_dir(&scratch, &[("pg_dump", script)]);
    let dumps = Dumps::new("dumps-rowless", &format!("bin_dir = '{}'", bin.display()));
    let name = database(
        &dumps.server,
        "rowless",
        "CREATE TABLE t AS SELECT 1 AS a; CREATE TABLE fine AS SELECT 1 AS a",
    );
    dumps.policy(&[&name], "globals = false");
    let job = run(&dumps);
    let expected = (
        format!("{name}: \"public\".\"t\""),
        "rows-left-out".to_owned(),
    );
    assert_eq!(warnings(&job), [expected]);
}

#[test]
fn a_dump_in_a_format_that_is_not_known_is_neither_counted_nor_verified() {
    let scratch = Scratch::new("bin");
    // The rows compressed: nobody reads them as they go by.
    let script = "for it; do shift; case $it in --compress=*) ;; *) set -- \"$@\" \"$it\" ;; esac; \
                  done\nexec REAL --compress=6 \"$@\"";
    let bin = bin_dir(&scratch, &[("pg_dump", script)]);
    let dumps = Dumps::new(
        "dumps-compressed",
        &format!("allow_restore = true\nbin_dir = '{}'", bin.display()),
    );
    let name = database(
        &dumps.server,
        "compressed",
        "CREATE TABLE t AS SELECT 1 AS a; SELECT lo_from_bytea(0, 'x')",
    );
    dumps.policy(&[&name], "globals = false");
    let job = run(&dumps);
    let expected = [(name.clone(), "rows-not-counted".to_owned())];
    assert_eq!(warnings(&job), expected);
    let copy = format!("{name}_copy");
    let job = dumps.restore(&snapshot_of(&job), &name, &["--as", &copy]);
    let said = super::notes(&job);
    assert_says(&said, &["nothing to compare"]);
    assert!(!said.contains("verified"), "{said}");
    assert_eq!(dumps.server.sql(&copy, "SELECT count(*) FROM t"), "1");
}

/// The agent's programs get command lines of 128 KiB.
#[test]
fn more_names_than_a_command_line_takes_cost_one_database_at_most() {
    let dumps = Dumps::new("dumps-names", "");
    let pid = dumps.world.agent.program().pid();
    let limit = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), "--stack=524288"])
        .status();
    assert!(limit.expect("prlimit runs").success());
    let name = database(
        &dumps.server,
        "names",
        "CREATE SCHEMA many; CREATE TABLE few AS SELECT 1 AS a; \
         DO $$ BEGIN FOR n IN 1..2300 LOOP EXECUTE pg_catalog.format( \
         'CREATE TABLE many.%I ()', pg_catalog.rpad('t' || n || '_', 60, 'x')); \
         END LOOP; END $$",
    );
    let counted = |job: &Value| rows(&dumps.manifest(&snapshot_of(job))).len();
    // All of a schema is one pattern.
    dumps.policy(&[&name], "tables = [\"many.*\", \"few\"]\nglobals = false");
    let job = dumps.world.operator().backup(super::POLICY);
    assert_eq!(counted(&job), 2301);
    // All but one are too many for one database, which costs no other.
    let other = database(
        &dumps.server,
        "names",
        "CREATE SCHEMA many; CREATE TABLE many.t2 (); CREATE TABLE few AS SELECT 1 AS a",
    );
    let most = "tables = [\"many.*\", \"few\"]\nexclude_tables = [\"many.t1_*\"]\nglobals = false";
    dumps.policy(&[&name, &other], most);
    let job = run(&dumps);
    assert_eq!(warnings(&job), [(name, "database-failed".to_owned())]);
    assert_says(
        &job.to_string(),
        &["2300 of its tables", "version 17", "whole schemas"],
    );
    assert_eq!(counted(&job), 2);
}
