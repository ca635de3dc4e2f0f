//! What is restored lends nobody the rights of the role that restores: neither while a
//! database is filled nor afterwards.

use std::{fs, path::Path};

use serde_json::Value;
use strongroom_tests::{cluster::succeed, operator::text, postgres::Server, scratch::Scratch};

use super::{Dumps, bin_dir, last_job};
use crate::world::{AGENT, assert_says, snapshot_of};

/// Of a stranger.
const LENDS: &str = "CREATE SCHEMA shop; \
    CREATE FUNCTION shop.lends() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user'; \
    CREATE FUNCTION shop.hidden() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
    AS $$ BEGIN NEW.who := current_user; RETURN NEW; END $$; \
    REVOKE ALL ON FUNCTION shop.hidden() FROM PUBLIC; \
    CREATE TABLE shop.t (id int, who text); INSERT INTO shop.t VALUES (1, 'me'); \
    CREATE TRIGGER hidden BEFORE INSERT ON shop.t FOR EACH ROW EXECUTE FUNCTION shop.hidden(); \
    CREATE VIEW shop.v AS SELECT * FROM shop.t; \
    CREATE TABLE shop.log (tag text); \
    CREATE FUNCTION shop.log_it() RETURNS event_trigger LANGUAGE plpgsql \
    AS $$ BEGIN INSERT INTO shop.log VALUES (tg_tag); END $$; \
    CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION shop.log_it()";
/// What an honest dump could not do: give rights past what a restore leaves out.
const GIVES: &str = "\nDO $$ BEGIN GRANT SELECT ON shop.v TO PUBLIC; END $$;\n";
const LENT: &str = "SELECT pg_catalog.bool_or(prosecdef), \
    has_function_privilege('pg_monitor', 'shop.lends()', 'EXECUTE'), \
    has_table_privilege('pg_monitor', 'shop.v', 'SELECT'), (SELECT count(*) FROM shop.log) \
    FROM pg_proc WHERE pronamespace = 'shop'::regnamespace";

/// `path` of each warning that rights are withheld.
fn withheld(job: &Value) -> Vec<String> {
    let warnings = job["warnings"].as_array().expect("warnings").iter();
    let ours = warnings.filter(|it| it["code"] == "rights-withheld");
    let mut all: Vec<_> = ours.map(|it| text(&it["path"]["text"])).collect();
    all.sort();
    all
}

fn job_of(dumps: &Dumps, snapshot: &str, database: &str, more: &[&str]) -> Value {
    let answer = dumps.try_restore(snapshot, database, more);
    let id = text(&last_job(&answer)["id"]);
    let job = dumps.world.operator().wait_for_end(&id);
    assert_eq!(job["state"], "succeeded", "{answer:#?}");
    job
}

fn upload(dumps: &Dumps, file: &Path, name: &str) -> String {
    let mut arguments = vec!["snapshots", "upload", file.to_str().expect("UTF-8")];
    arguments.extend(["--agent", AGENT, "--store", "primary"]);
    arguments.extend(["--name", name, "--database", "shop"]);
    let jobs = dumps.world.operator().json(&arguments);
    snapshot_of(&jobs["jobs"][0])
}

#[test]
fn an_uploaded_dump_lends_nobody_the_rights_of_who_restores_it() {
    let dumps = Dumps::new("lends-upload", "allow_restore = true");
    let server = &dumps.server;
    let name = Server::unique("lends");
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(&name, LENDS);
    let place = Scratch::new("lends-files");
    let dump = place.join("shop.dump");
    let mut program = server.program("pg_dump", &name);
    succeed(program.arg("--format=custom").arg("--file").arg(&dump));
    let script = place.file("shop.sql", format!("{}{GIVES}", server.dump(&name, &[])));
    for (file, view) in [(&dump, false), (&script, true)] {
        let snapshot = upload(&dumps, file, if view { "script" } else { "custom" });
        let to = Server::unique("lends_to");
        let job = job_of(&dumps, &snapshot, "shop", &["--as", &to]);
        // What the script gives itself runs its event trigger; nothing of ours does.
        let heard = u8::from(view);
        assert_eq!(server.sql(&to, LENT), format!("f|f|f|{heard}"));
        let mut wanted = vec![
            format!("{to}: ROUTINE shop.hidden()"),
            format!("{to}: ROUTINE shop.lends()"),
        ];
        wanted.extend(view.then(|| format!("{to}: TABLE shop.v")));
        assert_eq!(withheld(&job), wanted, "{job:#}");
        // It is there, and does what it did for whoever may use it.
        let events = "SELECT count(*) FROM pg_event_trigger";
        assert_eq!(server.sql(&to, events), "1");
        let inserted = "INSERT INTO shop.t VALUES (2) RETURNING who = current_user";
        assert_eq!(server.sql(&to, inserted), "t");
    }
}

/// A function whose name is other text in the encoding that we speak, and namesakes of
/// which one only lost its owner.
#[test]
fn what_is_closed_is_what_lost_its_owner_whatever_its_name() {
    let dumps = Dumps::new("lends-names", "allow_restore = true");
    let server = &dumps.server;
    let name = Server::unique("lends_latin");
    let latin = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    server.sql("postgres", &format!("CREATE DATABASE {name} {latin}"));
    let place = Scratch::new("lends-latin");
    let script = place.join("script.sql");
    // In LATIN1 the letters are two and one.
    let statements = [
        format!(
            "CREATE ROLE {name}_owner; CREATE ROLE {name}_here; SET client_encoding = 'LATIN1';\n"
        )
        .into_bytes(),
        b"CREATE FUNCTION \"\xc3\xa9\"() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
          CREATE FUNCTION \"caf\xe9\"() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
          CREATE TYPE \"t \xe9\" AS ENUM ('a'); \
          CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
          CREATE FUNCTION f(\"\xc3\xa9\" text, \"IN\" \"t \xe9\"[], VARIADIC c int[]) RETURNS int \
          LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
          CREATE PROCEDURE p(a int, INOUT b int) LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
          CREATE VIEW \"\xc3\xa9v\" AS SELECT 1 AS a; GRANT SELECT ON \"\xc3\xa9v\" TO PUBLIC; \
          CREATE VIEW ours AS SELECT 1 AS a; GRANT SELECT ON ours TO PUBLIC;\n"
            .to_vec(),
        [&format!("ALTER FUNCTION f(int) OWNER TO {name}_owner; ALTER FUNCTION \"")[..]]
            .concat()
            .into_bytes(),
        b"\xc3\xa9".to_vec(),
        format!("\"() OWNER TO {name}_owner; ALTER VIEW \"").into_bytes(),
        b"\xc3\xa9v\" OWNER TO ".to_vec(),
        format!("{name}_owner; ALTER FUNCTION \"caf").into_bytes(),
        b"\xe9\"() OWNER TO ".to_vec(),
        format!("{name}_here;\n").into_bytes(),
    ];
    fs::write(&script, statements.concat()).expect("a script");
    server.script(&name, &script);
    dumps.policy(&[&name], "globals = false");
    let snapshot = dumps.backup();
    let gone = format!("ALTER ROLE {name}_owner RENAME TO {name}_gone");
    server.sql("postgres", &gone);
    let copy = format!("{name}_copy");
    let job = job_of(&dumps, &snapshot, &name, &["--as", &copy]);
    let state = "SET client_encoding = 'UTF8'; SELECT string_agg(proname || ' ' || pronargs || ' ' || prosecdef || ' ' || \
        has_function_privilege('pg_monitor', oid, 'EXECUTE') || ' ' || \
        (pg_get_userbyid(proowner) = current_user), ', ' ORDER BY proname, pronargs) \
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    assert_eq!(
        server.sql(&copy, state),
        "caf\u{e9} 0 true true false, f 1 false false true, f 3 true true true, \
         p 2 true true true, \u{c3}\u{a9} 0 false false true"
    );
    let views = "SET client_encoding = 'UTF8'; SELECT string_agg(relname || ' ' || has_table_privilege('pg_monitor', oid, \
        'SELECT'), ', ' ORDER BY relname) FROM pg_class WHERE relkind = 'v' \
        AND relnamespace = 'public'::regnamespace";
    assert_eq!(server.sql(&copy, views), "ours true, \u{c3}\u{a9}v false");
    assert_eq!(withheld(&job).len(), 3, "{job:#}");
    assert_says(
        &job["warnings"].to_string(),
        &["role-missing", "f(integer)"],
    );
}

#[test]
fn nobody_connects_to_a_database_while_it_is_filled() {
    let place = Scratch::new("closed");
    let seen = place.join("seen");
    let asks = format!(
        "case \"$*\" in *--dbname=dbname=*) PSQL -XAtqc \"SELECT \
         has_database_privilege('pg_monitor', current_database(), 'CONNECT'), \
         pg_has_role('OWNER', pg_get_userbyid(datdba), 'MEMBER'), \
         has_database_privilege('OWNER', current_database(), 'CONNECT') \
         FROM pg_database WHERE datname = current_database()\" >>'{}' || exit 9 ;; esac\n\
         exec REAL \"$@\"",
        seen.display()
    );
    let owner = Server::unique("closed_owner");
    let bin = bin_dir(&place, &[("pg_restore", &asks.replace("OWNER", &owner))]);
    let more = format!("allow_restore = true\nbin_dir = '{}'", bin.display());
    let dumps = Dumps::new("lends-closed", &more);
    let server = &dumps.server;
    server.sql("postgres", &format!("CREATE ROLE {owner}"));
    let (open, shut) = (Server::unique("open"), Server::unique("shut"));
    for name in [&open, &shut] {
        let create = format!("CREATE DATABASE {name} OWNER {owner}");
        server.sql("postgres", &create);
        server.sql(name, "CREATE TABLE t AS SELECT 1 AS a");
    }
    server.sql(
        "postgres",
        &format!(
            "REVOKE ALL ON DATABASE {shut} FROM PUBLIC; \
             GRANT CONNECT ON DATABASE {shut} TO pg_monitor WITH GRANT OPTION"
        ),
    );
    dumps.policy(&[&open, &shut], "globals = false");
    let snapshot = dumps.backup();
    let rights = |name: &str| {
        let question = format!(
            "SELECT pg_get_userbyid(datdba), (SELECT string_agg(it::text, ' ' ORDER BY it::text) \
             FROM unnest(coalesce(datacl, acldefault('d', datdba))) it) \
             FROM pg_database WHERE datname = '{name}'"
        );
        server.sql("postgres", &question)
    };
    for name in [&open, &shut] {
        let copy = format!("{name}_copy");
        dumps.restore(&snapshot, name, &["--as", &copy]);
        assert_eq!(rights(&copy), rights(name));
        let asked = fs::read_to_string(&seen).expect("what was seen");
        assert!(asked.lines().count() > 0, "nobody asked");
        for line in asked.lines() {
            assert_eq!(line, "f|f|f");
        }
        // In its place: what that one allows.
        let into = ["--replace", "--confirm", &copy, "--as", &copy];
        let before = rights(&copy);
        dumps.restore(&snapshot, name, &into);
        assert_eq!(rights(&copy), before);
    }
}

/// Indexes are computed with the rights of their table's owner, whoever vacuums.
#[test]
fn what_a_table_of_an_absent_owner_runs_is_nobody_elses_to_change() {
    let dumps = Dumps::new("lends-index", "allow_restore = true");
    let server = &dumps.server;
    let name = Server::unique("lends_index");
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(
        &name,
        &format!(
            "CREATE ROLE {name}_owner; CREATE ROLE {name}_here; \
             CREATE FUNCTION plain(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
             CREATE FUNCTION ours(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
             CREATE FUNCTION other(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
             CREATE FUNCTION stat(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
             CREATE FUNCTION mat(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
             CREATE TABLE theirs AS SELECT 1 AS a; CREATE INDEX by_plain ON theirs (plain(a)); \
             CREATE STATISTICS by_stat ON (stat(a)), (a + 1) FROM theirs; \
             CREATE TABLE mine AS SELECT 1 AS a; CREATE INDEX by_ours ON mine (ours(a)); \
             CREATE MATERIALIZED VIEW sums AS SELECT mat(1); \
             ALTER TABLE theirs OWNER TO {name}_owner; \
             ALTER MATERIALIZED VIEW sums OWNER TO {name}_owner; \
             ALTER FUNCTION plain(int) OWNER TO {name}_here; \
             ALTER FUNCTION ours(int) OWNER TO {name}_here; \
             ALTER FUNCTION stat(int) OWNER TO {name}_here; \
             ALTER FUNCTION mat(int) OWNER TO {name}_here; \
             ALTER FUNCTION other(int) OWNER TO {name}_here; \
             REVOKE ALL ON FUNCTION plain(int) FROM PUBLIC"
        ),
    );
    dumps.policy(&[&name], "globals = false");
    let snapshot = dumps.backup();
    let gone = format!("ALTER ROLE {name}_owner RENAME TO {name}_gone");
    server.sql("postgres", &gone);
    let copy = format!("{name}_copy");
    let job = job_of(&dumps, &snapshot, &name, &["--as", &copy]);
    let state = format!(
        "SELECT string_agg(proname || ' ' || (pg_get_userbyid(proowner) = '{name}_here') || ' ' || \
         has_function_privilege('{name}_here', oid, 'EXECUTE'), ', ' ORDER BY proname) \
         FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    );
    assert_eq!(
        server.sql(&copy, &state),
        "mat false true, other true true, ours true true, plain false true, stat false true"
    );
    let wanted = ["mat", "plain", "stat"].map(|it| format!("{copy}: ROUTINE public.{it}(integer)"));
    assert_eq!(withheld(&job), wanted, "{job:#}");
    assert_says(&job["warnings"].to_string(), &["by_plain", "by_stat"]);
    // What a database had before is others': it is named, and stays as it is.
    let into = format!("{name}_into");
    server.sql("postgres", &format!("CREATE DATABASE {into}"));
    let make = format!(
        "CREATE FUNCTION plain(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
         CREATE FUNCTION stat(int) RETURNS int LANGUAGE sql IMMUTABLE SECURITY DEFINER \
         AS 'SELECT $1'; \
         ALTER FUNCTION plain(int) OWNER TO {name}_here; \
         ALTER FUNCTION stat(int) OWNER TO {name}_here"
    );
    server.sql(&into, &make);
    let job = job_of(
        &dumps,
        &snapshot,
        &name,
        &["--as", &into, "--table", "theirs"],
    );
    assert_eq!(
        server.sql(&into, &state),
        "plain true true, stat true true",
        "{job:#}"
    );
    let wanted = ["plain", "stat"].map(|it| format!("{into}: ROUTINE public.{it}(integer)"));
    assert_eq!(withheld(&job), wanted, "{job:#}");
    assert_says(&job["warnings"].to_string(), &["before", "by_plain"]);
}
