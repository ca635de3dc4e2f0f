//! Downloads and uploads: between the command line and the store, sealed.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use strongroom_tests::{
    coordinator::Setup,
    operator::{eventually, text},
    postgres::Server,
    scratch::Scratch,
    tree::Tree,
};

use crate::{
    leaks,
    world::{AGENT, World, assert_identical, assert_says, snapshot_of},
};

/// Objects of transfers that lie in the store.
fn pieces(world: &World) -> usize {
    let directory = world.repository().0.join("transfers");
    fs::read_dir(directory).map_or(0, Iterator::count)
}

fn download(world: &World, snapshot: &str, path: &str, to: &Path) {
    let to = to.to_str().expect("UTF-8");
    let arguments = ["snapshots", "download", snapshot, path, "-o", to];
    let answer = world.operator().run(arguments);
    assert_eq!(answer.code, 0, "{answer:?}");
}

fn untar(archive: &Path, target: &Path) {
    let status = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(archive)
        .arg("-C")
        .arg(target)
        .status()
        .expect("tar runs");
    assert!(status.success());
}

/// Uploads a file and gives the job.
fn upload(world: &World, file: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["snapshots", "upload", file.to_str().expect("UTF-8")];
    arguments.extend(["--agent", AGENT, "--store", "primary"]);
    arguments.extend(more);
    world.operator().json(&arguments)["jobs"][0].clone()
}

#[test]
fn files_and_trees_of_a_snapshot_are_downloaded() {
    let world = World::new("download");
    world.fill(&Tree::small(3));
    let odd = world.source.join(OsStr::from_bytes(&[b'\xff'; 150]));
    fs::create_dir(&odd).expect("a directory");
    fs::write(odd.join("x".repeat(200)), "deep").expect("a file");
    symlink("y/./".repeat(60), odd.join("link")).expect("a link");
    fs::hard_link(odd.join("x".repeat(200)), odd.join("same")).expect("a hard link");
    // Three pieces.
    let large: Vec<u8> = (0..20_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    fs::write(world.source.join("large"), &large).expect("a file");
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o2750)).expect("a mode");
    let snapshot = world.backup();
    let source = world.source.to_str().expect("UTF-8");
    let out = world.scratch.dir("out");

    let file = out.join("large");
    download(&world, &snapshot, &format!("{source}/large"), &file);
    assert!(fs::read(&file).expect("the file") == large);
    assert_eq!(pieces(&world), 0, "what was fetched is deleted");

    let archive = out.join("source.tar");
    download(&world, &snapshot, source, &archive);
    let extracted = world.scratch.dir("extracted");
    untar(&archive, &extracted);
    let name = world.source.file_name().expect("a name");
    assert_identical(&world.source, &extracted.join(name));

    let archive = out.join("all.tar");
    download(&world, &snapshot, "/", &archive);
    let all = world.scratch.dir("all");
    untar(&archive, &all);
    assert_identical(&world.source, &world.below(&all));

    // Nothing is replaced unasked, and no other file stays behind.
    let again = archive.to_str().expect("UTF-8");
    let refused = ["snapshots", "download", &snapshot, "/", "-o", again];
    let jobs = || world.operator().json(&["jobs", "list"])["jobs"].clone();
    let before = jobs();
    assert_says(&world.operator().refused(1, &refused), &["--force"]);
    assert_eq!(jobs(), before, "an agent worked for nothing");
    let missing = format!("{source}/nothing");
    let missing = ["snapshots", "download", &snapshot, &missing];
    assert_says(&world.operator().refused(1, &missing), &["nothing"]);
    assert_eq!(fs::read_dir(&out).expect("a directory").count(), 3);
    assert_eq!(pieces(&world), 0);
    assert!(!world.operator().audit("download.fetch").is_empty());
    world.restic().check();
}

#[test]
fn an_uploaded_file_is_a_snapshot_like_any_other() {
    let world = World::new("upload");
    let content: Vec<u8> = (0..9_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 5) as u8)
        .collect();
    let file = world.scratch.dir("outside").join("some thing.bin");
    fs::write(&file, &content).expect("a file");
    // The repository is not there yet: the upload makes it.
    let job = upload(&world, &file, &["--name", "thing"]);
    assert_eq!(job["dataset"], "upload-thing@web-1");
    let snapshot = snapshot_of(&job);
    let restored = world.restores.join("back");
    world.operator().restore(&snapshot, AGENT, &restored);
    assert!(fs::read(restored.join("some thing.bin")).expect("it") == content);
    eventually("the pieces to go", || (pieces(&world) == 0).then_some(()));

    // The operator is told what a file is not.
    let wrong = ["--name", "wrong", "--format", "custom"];
    let mut arguments = vec!["snapshots", "upload", file.to_str().expect("UTF-8")];
    arguments.extend(["--agent", AGENT, "--store", "primary"]);
    arguments.extend(wrong);
    let answer = world.operator().json_with(1, &arguments);
    let failure = text(&answer["jobs"][0]["failure"]["message"]);
    assert_says(&failure, &["custom format", "--format"]);
    eventually("the pieces to go", || (pieces(&world) == 0).then_some(()));
    world.restic().check();
}

#[test]
fn a_foreign_dump_is_restored_into_a_database() {
    let (world, server, passwords) = databases("upload-dump");
    let (from, to) = (Server::unique("foreign"), Server::unique("restored"));
    server.sql("postgres", &format!("CREATE DATABASE \"{from}\""));
    server.sql(
        &from,
        "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 9) AS x FROM generate_series(1, 20000) n; \
         SELECT lo_create(4711)",
    );
    let question = "SELECT count(*), md5(string_agg(n || x, ',' ORDER BY n)) FROM t";
    let expected = server.sql(&from, question);
    let file = dump(&server, &from, &passwords, "--format=custom");
    let name = ["--name", "shop", "--database", "shop"];
    let snapshot = snapshot_of(&upload(&world, &file, &name));
    let restore = [
        "restore",
        &snapshot,
        "--agent",
        AGENT,
        "--postgres",
        "db",
        "--database",
        "shop",
        "--as",
        &to,
        "--wait",
    ];
    let job = &world.operator().json(&restore)["jobs"][0];
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(server.sql(&to, question), expected);

    drop_databases(&server, &[&from, &to]);
}

#[test]
fn foreign_sql_is_restored_without_psql() {
    let (world, server, passwords) = databases("upload-sql");
    let (from, to) = (Server::unique("foreign"), Server::unique("restored"));
    server.sql("postgres", &format!("CREATE DATABASE \"{from}\""));
    server.sql(&from, SHOP);
    let expected = server.sql(&from, SHOWN);
    let sql = dump(&server, &from, &passwords, "--format=plain");
    // As from another server: its roles are not there.
    let text = fs::read_to_string(&sql).expect("SQL");
    let stranger = Server::unique("stranger");
    let foreign = format!(
        "\nALTER TABLE public.orders OWNER TO {stranger};\n\
         GRANT ALL ON public.orders TO {stranger};\nCREATE VIEW"
    );
    let text = text.replacen("\nCREATE VIEW", &foreign, 1);
    assert!(text.contains(&stranger));
    fs::write(&sql, &text).expect("SQL");
    let name = ["--name", "shop", "--database", "shop"];
    let plain = upload(&world, &sql, &name);

    // Compressed, it is stored as it is, and shares its chunks.
    let gzip = Command::new("gzip").arg("-k").arg(&sql).status();
    assert!(gzip.expect("gzip runs").success());
    let packed = PathBuf::from(format!("{}.gz", sql.display()));
    let packed = upload(&world, &packed, &name);
    let new = |job: &Value| {
        job["result"]["upload"]["bytes_new"]
            .as_u64()
            .expect("a number")
    };
    assert!(new(&plain) > 500_000 && new(&packed) < 100_000);
    let snapshot = snapshot_of(&packed);
    let files = world.restores.join("sql");
    world.operator().restore(&snapshot, AGENT, &files);
    let kept = fs::read(files.join("databases/shop.sql")).expect("the SQL");
    assert!(kept == text.as_bytes());

    let part = ["--table", "public.orders"];
    let answer = world
        .operator()
        .json_with(1, &into_database(&snapshot, &to, &part));
    assert_says(
        &failure(&answer),
        &["script of SQL", "restore all of it into a new database"],
    );
    let all = into_database(&snapshot, &to, &[]);
    let job = &world.operator().json(&all)["jobs"][0];
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(server.sql(&to, SHOWN), expected);

    // Once more, in its place: what was there gives way.
    server.sql(&to, "DELETE FROM orders");
    let replace = ["--replace", "--confirm", &to];
    let replace = into_database(&snapshot, &to, &replace);
    let job = &world.operator().json(&replace)["jobs"][0];
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(server.sql(&to, SHOWN), expected);
    let aside = format!("SELECT datname FROM pg_database WHERE datname LIKE '{to}_before%'");
    let aside = server.sql("postgres", &aside);
    drop_databases(&server, &[&from, &to, aside.trim()]);
}

#[test]
fn sql_that_cannot_be_restored_is_refused_when_it_is_uploaded() {
    let (world, server, passwords) = databases("upload-bad-sql");
    let place = passwords.dir("scripts");
    let marker = world.scratch.dir("marker").join("made by psql");
    let shell = format!("SELECT 1;\n\\! touch '{}'\n", marker.display());
    for (name, script, says) in [
        ("shell", shell.as_str(), "line 2"),
        ("create", "CREATE DATABASE x;\n\\connect x\n", "--create"),
        ("cut", "COPY t FROM stdin;\n1\n", "cut off"),
    ] {
        let file = place.join(format!("{name}.sql"));
        fs::write(&file, script).expect("a script");
        let mut arguments = vec!["snapshots", "upload", file.to_str().expect("UTF-8")];
        arguments.extend(["--agent", AGENT, "--store", "primary", "--name", name]);
        arguments.extend(["--database", "shop"]);
        let answer = world.operator().json_with(1, &arguments);
        assert_says(&failure(&answer), &[says, "--format file"]);
    }
    assert!(!marker.exists());

    // A statement that the server refuses leaves nothing behind.
    let file = place.join("wrong.sql");
    let script = "CREATE TABLE t (n int);\nINSERT INTO t VALUES ('nine');\n";
    fs::write(&file, script).expect("a script");
    let name = ["--name", "wrong", "--database", "shop"];
    let snapshot = snapshot_of(&upload(&world, &file, &name));
    let to = Server::unique("never");
    let answer = world
        .operator()
        .json_with(1, &into_database(&snapshot, &to, &[]));
    assert_says(&failure(&answer), &["line 2 of the script", "integer"]);
    let left = format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{to}%'");
    assert_eq!(server.sql("postgres", &left).trim(), "0");
}

/// A `CHECK` by a function that looks into a table which is loaded later, and a
/// trigger that would change rows.
const LATER_ROWS: &str = "CREATE TABLE z_dict (v text PRIMARY KEY); \
    INSERT INTO z_dict SELECT 'w' || g FROM generate_series(1, 100) g; \
    CREATE FUNCTION in_dict(text) RETURNS bool LANGUAGE sql AS \
    'SELECT EXISTS (SELECT 1 FROM public.z_dict WHERE v = $1)'; \
    CREATE TABLE a_data (v text CHECK (in_dict(v)), note text); \
    INSERT INTO a_data SELECT 'w' || g, 'as it was' FROM generate_series(1, 100) g; \
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN NEW.note := 'touched'; RETURN NEW; END $$; \
    CREATE TRIGGER touch BEFORE INSERT ON a_data FOR EACH ROW EXECUTE FUNCTION touch()";

#[test]
fn rows_of_sql_that_need_later_ones_come_when_those_are_there() {
    let (world, server, passwords) = databases("upload-later-rows");
    let from = Server::unique("later");
    server.sql("postgres", &format!("CREATE DATABASE {from}"));
    server.sql(&from, LATER_ROWS);
    let script = server.dump(&from, &[]);
    let place = passwords.dir("scripts");
    let restore = |name: &str, script: &str, code| {
        let file = place.join(format!("{name}.sql"));
        fs::write(&file, script).expect("a script");
        let snapshot = snapshot_of(&upload(
            &world,
            &file,
            &["--name", name, "--database", "shop"],
        ));
        let to = Server::unique(name);
        let restore = into_database(&snapshot, &to, &[]);
        (world.operator().json_with(code, &restore), to)
    };
    let (_, to) = restore("later", &script, 0);
    assert_eq!(server.dump(&to, &[]), script);
    let touched = "INSERT INTO a_data VALUES ('w1') RETURNING note";
    assert_eq!(server.sql(&to, touched).trim(), "touched");

    // The same by INSERTs.
    let by_inserts = server.dump(&from, &["--inserts"]);
    let (_, inserted) = restore("inserts", &by_inserts, 0);
    assert_eq!(server.dump(&inserted, &[]), script);
    let by_hand = "CREATE TABLE parent (id int PRIMARY KEY);\n\
        CREATE TABLE child (id int REFERENCES parent, note text DEFAULT 'as it was');\n\
        CREATE FUNCTION asks() RETURNS trigger LANGUAGE plpgsql AS\n\
        $$ BEGIN PERFORM FROM rules; NEW.note := NEW.note || '!'; RETURN NEW; END $$;\n\
        CREATE TRIGGER asks BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION asks();\n\
        INSERT INTO child VALUES (1), (2);\nINSERT INTO child (id) VALUES (3);\n\
        INSERT INTO later VALUES (1);\n\
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS\n\
        $$ BEGIN NEW.note := 'touched'; RETURN NEW; END $$;\n\
        CREATE TRIGGER touch BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION touch();\n\
        CREATE TABLE rules ();\nCREATE TABLE later (id int);\n\
        INSERT INTO parent VALUES (1), (2), (3);\n";
    let (answer, by_hand_to) = restore("hand", by_hand, 0);
    let notes = answer["jobs"][0]["result"]["restore"]["notes"].to_string();
    assert_says(&notes, &["3 INSERTs failed at first and were run again"]);
    let rows = "SELECT string_agg(id || note, ' ' ORDER BY id), (SELECT count(*) FROM later) \
        FROM child";
    let wanted = "1as it was! 2as it was! 3as it was!|1";
    assert_eq!(server.sql(&by_hand_to, rows), wanted);
    let touched = "INSERT INTO child VALUES (1) RETURNING note";
    assert_eq!(server.sql(&by_hand_to, touched), "touched");
    let no_parent = by_hand.replace("VALUES (1), (2), (3);", "VALUES (1), (2);");
    let (answer, never) = restore("orphan", &no_parent, 1);
    assert_says(&failure(&answer), &["TABLE DATA line 7", "foreign key"]);
    assert_eq!(server.databases(&never), Vec::<String>::new());
    // What builds on rows does not find them missing.
    let builds = "CREATE TABLE kept (id int CHECK (id < 2));\nINSERT INTO kept VALUES (2);\n\
        CREATE TABLE sums AS SELECT sum(id) FROM kept;\n";
    let (answer, _) = restore("builds", builds, 1);
    assert_says(&failure(&answer), &["line 2", "check constraint"]);

    // In a transaction of its own, and with nothing but rows at its end.
    let own = "BEGIN;\nCREATE TABLE d (v int);\nCREATE FUNCTION in_d(int) RETURNS bool LANGUAGE sql \
        AS 'SELECT EXISTS (SELECT FROM public.d WHERE v = $1)';\n\
        CREATE TABLE a (v int CHECK (in_d(v)));\nCOPY public.a FROM stdin;\n1\n2\n\\.\n\
        COPY d FROM stdin;\n1\n2\n\\.\nCOMMIT;\n";
    // Where an unqualified name would lead at another time, nobody knows.
    let (answer, _) = restore("bare", &own.replace("public.a FROM", "a FROM"), 1);
    assert_says(&failure(&answer), &["check constraint"]);
    let (_, own) = restore("own", own, 0);
    assert_eq!(server.sql(&own, "SELECT sum(v) FROM a").trim(), "3");

    // Rows that cannot come are named, and nothing is left.
    let (answer, never) = restore("never", &script.replace("\nw100\n", "\nx\n"), 1);
    assert_says(
        &failure(&answer),
        &["TABLE DATA", "a_data", "check constraint"],
    );
    assert_eq!(server.databases(&never), Vec::<String>::new());
    drop_databases(&server, &[&from, &to, &own, &inserted, &by_hand_to]);
}

#[test]
fn sql_is_restored_without_what_the_server_does_not_know() {
    let (world, server, passwords) = databases("upload-newer-sql");
    let file = passwords.dir("scripts").join("newer.sql");
    // As pg_dump 17 begins, of a schema that every database has.
    let script = "SET statement_timeout = 0;\nSET transaction_timeout = 0;\n\
        SET check_function_bodies = false;\n\
        SELECT pg_catalog.set_config('search_path', '', false);\n\
        CREATE SCHEMA public;\nCREATE TABLE public.t (n int);\n\
        CREATE FUNCTION public.bare(int) RETURNS bigint LANGUAGE sql IMMUTABLE\n\
        AS 'SELECT count(*) FROM t';\n\
        COPY public.t (n) FROM stdin;\n1\n2\n\\.\n\n\
        CREATE INDEX by_bare ON public.t (public.bare(n));\n\
        CREATE POLICY p ON public.t TO nobody_of_that_name USING (true);\n\
        ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;\n";
    fs::write(&file, script).expect("a script");
    let name = ["--name", "newer", "--database", "shop"];
    let snapshot = snapshot_of(&upload(&world, &file, &name));
    let to = Server::unique("newer");
    let jobs = world
        .operator()
        .json_with(3, &into_database(&snapshot, &to, &[]));
    let job = world.operator().job(&text(&jobs["jobs"][0]["id"]));
    let notes = job["result"]["restore"]["notes"].to_string();
    assert_says(&notes, &["transaction_timeout", "passed over"]);
    let warnings = job["warnings"].as_array().expect("warnings");
    assert_eq!(warnings.len(), 1, "{job:#}");
    assert_eq!(warnings[0]["code"], "role-missing");
    assert_says(
        &warnings[0].to_string(),
        &["line 15", "nobody_of_that_name"],
    );
    let found = "SELECT (SELECT sum(n) FROM t), relrowsecurity, to_regclass('public.by_bare') \
        FROM pg_class WHERE relname = 't'";
    assert_eq!(server.sql(&to, found), "3|t|by_bare");
    drop_databases(&server, &[&to]);
}

/// A statement that fails takes with it what its transaction has done before, and
/// no server calls the COMMIT behind it an error.
#[test]
fn a_script_whose_transaction_fails_is_not_restored() {
    let (world, server, passwords) = databases("upload-lost-sql");
    let file = passwords.dir("scripts").join("lost.sql");
    let script = "BEGIN;\nCREATE TABLE public.kept (a text);\n\
        INSERT INTO public.kept VALUES ('x');\n\
        CREATE INDEX i ON public.kept (nosuch(a));\nCOMMIT;\n";
    fs::write(&file, script).expect("a script");
    let name = ["--name", "lost", "--database", "shop"];
    let snapshot = snapshot_of(&upload(&world, &file, &name));
    let to = Server::unique("lost");
    let jobs = world
        .operator()
        .json_with(1, &into_database(&snapshot, &to, &[]));
    let failure = jobs["jobs"][0]["failure"]["message"].to_string();
    assert_says(&failure, &["line 4", "nosuch"]);
    assert!(!server.databases(&to).contains(&to), "nothing is left");
}

/// Tables, and whatever is difficult to cut.
const SHOP: &str = r#"
    CREATE TABLE orders (n int PRIMARY KEY, "a;b" text, made timestamptz DEFAULT now());
    INSERT INTO orders SELECT n, md5(n::text) || E'\\.\n\t;''' FROM generate_series(1, 20000) n;
    INSERT INTO orders VALUES (0, NULL), (-1, '\.'), (-2, ''), (-3, 'ä€');
    CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE
        BEGIN ATOMIC SELECT 1; SELECT CASE WHEN n > 0 THEN n * 2 END; END;
    CREATE FUNCTION quoted() RETURNS text LANGUAGE plpgsql
        AS $f$ BEGIN RETURN ';''$$'; END $f$;
    CREATE RULE quiet AS ON DELETE TO orders WHERE old.n < -100
        DO INSTEAD (SELECT 1; SELECT 2);
    CREATE VIEW few AS SELECT * FROM orders WHERE n < 10;
    CREATE SEQUENCE numbers; SELECT setval('numbers', 4711);
    COMMENT ON TABLE orders IS 'semi;colon -- and /* more';
    SELECT lo_from_bytea(4711, 'blob');
"#;

/// All of it.
const SHOWN: &str = "\
    SELECT count(*), md5(string_agg(n || coalesce(\"a;b\", '-') || made, ',' ORDER BY n)), \
        twice(21), quoted(), (SELECT count(*) FROM few), (SELECT last_value FROM numbers), \
        obj_description('orders'::regclass), lo_get(4711) FROM orders";

/// An operator's script is as private as his server: what fails of it is told
/// without its values.
#[test]
fn a_script_that_fails_shows_nothing_of_itself() {
    let (world, server, passwords) = databases("upload-secrets");
    let scripts = [
        "CREATE TABLE cards (n int);\nCOPY cards (n) FROM stdin;\n4111-row-1111\n\\.\n",
        "CREATE TABLE cards (n int);\nINSERT INTO cards VALUES ('4111-row-1111');\n",
        "DO $$ BEGIN RAISE EXCEPTION 'card 4222-raised-2222 is blocked' USING DETAIL = \
         '4222-raised-2222', HINT = '4222-raised-2222'; END $$;\n",
        "ALTER ROLE nobody_at_all PASSWORD 'hush-password-hush';\n",
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let file = passwords.file(&format!("script-{number}.sql"), script);
        let shop = format!("shop-{number}");
        let job = upload(&world, &file, &["--name", &shop, "--database", "shop"]);
        let snapshot = snapshot_of(&job);
        let to = Server::unique("secret");
        let answer = world.operator().run(into_database(&snapshot, &to, &[]));
        assert_ne!(answer.code, 0, "{script}: {answer:?}");
        let shown = format!("{}{}", answer.stdout, answer.stderr);
        leaks::assert_none_in("what an operator sees", &shown, &SECRETS);
        drop_databases(&server, &[&to]);
    }
    leaks::assert_none_leaked(&world, &SECRETS);
}

/// In scripts.
const SECRETS: [&str; 3] = ["4111-row-1111", "4222-raised-2222", "hush-password-hush"];

fn failure(answer: &Value) -> String {
    text(&answer["jobs"][0]["failure"]["message"])
}

/// The command that restores the database `shop`.
fn into_database<'a>(snapshot: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["restore", snapshot, "--agent", AGENT, "--postgres", "db"];
    all.extend(["--database", "shop", "--as", to, "--wait"]);
    all.extend(more);
    all
}

/// An agent that may restore into a server.
fn databases(name: &str) -> (World, Server, Scratch) {
    let server = Server::shared();
    let passwords = Scratch::new(&format!("{name}-password"));
    let password = passwords.file("password", server.password());
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("a mode");
    let toml = format!(
        "[postgres.db]\nurl = \"{}\"\npassword_file = \"{}\"\nallow_restore = true\n",
        server.url(),
        password.display()
    );
    let world = World::with_agent(name, Setup::default(), |agent| agent.extra(&toml));
    (world, server, passwords)
}

fn drop_databases(server: &Server, names: &[&str]) {
    for name in names {
        server.sql("postgres", &format!("DROP DATABASE IF EXISTS \"{name}\""));
    }
}

fn dump(server: &Server, database: &str, place: &Scratch, format: &str) -> PathBuf {
    let suffix = if format.ends_with("plain") {
        "sql"
    } else {
        "dump"
    };
    let file = place.dir("dumps").join(format!("it.{suffix}"));
    let output = server
        .program("pg_dump", database)
        .args([format, "--file"])
        .arg(&file)
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{output:?}");
    file
}
