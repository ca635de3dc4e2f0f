//! A restore does not die for one object, and says what it could not make.

use serde_json::Value;
use strongroom_tests::{operator::text, postgres::Server, scratch::Scratch};

use super::{Dumps, bin_dir, last_job, notes, partial::run};
use crate::world::{assert_says, snapshot_of};

/// A database of `sql`, backed up.
struct Survives {
    dumps: Dumps,
    name: String,
    snapshot: String,
}

impl Survives {
    fn new(test: &str, sql: &str) -> Self {
        Self::with(test, sql, "", "")
    }

    fn with(test: &str, sql: &str, connection: &str, policy: &str) -> Self {
        let dumps = Dumps::new(test, &format!("allow_restore = true\n{connection}"));
        let name = Server::unique("survives");
        dumps
            .server
            .sql("postgres", &format!("CREATE DATABASE {name}"));
        dumps.server.sql(&name, &sql.replace("@N", &name));
        dumps.policy(&[&name], policy);
        let job = dumps.world.operator().start(super::POLICY);
        let job = dumps.world.operator().wait_for_end(&job);
        let snapshot = crate::world::snapshot_of(&job);
        Self {
            dumps,
            name,
            snapshot,
        }
    }

    /// Restores a copy, which must end with this exit code; gives the job.
    fn copy(&self, code: i32, more: &[&str]) -> Value {
        let copy = self.copy_name();
        let more = [&["--as", &copy], more].concat();
        let answer = self.dumps.try_restore(&self.snapshot, &self.name, &more);
        assert_eq!(answer.code, code, "{answer:#?}");
        // Asked for alone it has its warnings.
        let id = text(&last_job(&answer)["id"]);
        self.dumps.world.operator().wait_for_end(&id)
    }

    fn copy_name(&self) -> String {
        format!("{}_copy", self.name)
    }

    fn sql(&self, statement: &str) -> String {
        self.dumps.server.sql(&self.copy_name(), statement)
    }

    fn assert_same(&self, statement: &str) {
        let original = self.dumps.server.sql(&self.name, statement);
        assert_eq!(self.sql(statement), original, "{statement}");
    }
}

/// `code path` of each warning.
fn warnings(job: &Value) -> Vec<String> {
    let warnings = job["warnings"].as_array().expect("warnings");
    let mut all: Vec<_> = warnings
        .iter()
        .map(|it| format!("{} {}", text(&it["code"]), text(&it["path"]["text"])))
        .collect();
    all.sort();
    all
}

#[test]
fn triggers_of_partitioned_tables_come_behind_the_rows_of_any_number_of_jobs() {
    let survives = Survives::new(
        "survives-jobs",
        "CREATE TABLE t (id int, at date, note text) PARTITION BY RANGE (at); \
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-07-01'); \
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2026-07-01') TO ('2027-01-01'); \
         CREATE TABLE big AS SELECT g AS id, repeat('x', 100) AS filler FROM generate_series(1, 20000) g; \
         INSERT INTO t SELECT g, '2026-01-01'::date + g % 360, 'as it was' FROM generate_series(1, 4000) g; \
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.note := 'touched'; RETURN NEW; END $$; \
         CREATE TRIGGER touch BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch()",
    );
    for jobs in ["1", "4"] {
        let job = survives.copy(0, &["--jobs", jobs]);
        assert_says(&notes(&job), &["verified: 3 tables with 24000 rows"]);
        survives.assert_same("SELECT note, count(*) FROM t GROUP BY note");
        let inserted = "INSERT INTO t VALUES (0, '2026-02-02', 'new') RETURNING note";
        assert_eq!(survives.sql(inserted), "touched");
        let drop = format!("DROP DATABASE {}", survives.copy_name());
        survives.dumps.server.sql("postgres", &drop);
    }
}

#[test]
fn what_names_an_absent_role_is_left_out_by_name_and_rows_stay_closed() {
    let survives = Survives::new(
        "survives-roles",
        "CREATE ROLE @N_worker; \
         CREATE TABLE t (id int PRIMARY KEY, v text); \
         INSERT INTO t SELECT g, 'x' FROM generate_series(1, 100) g; \
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY p ON t TO @N_worker USING (true); \
         CREATE EXTENSION postgres_fdw; \
         CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw; \
         CREATE USER MAPPING FOR @N_worker SERVER s OPTIONS (user 'u', password 'hush'); \
         CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'v'); \
         ALTER DEFAULT PRIVILEGES FOR ROLE @N_worker GRANT SELECT ON TABLES TO PUBLIC",
    );
    let name = &survives.name;
    let rename = format!("ALTER ROLE {name}_worker RENAME TO {name}_gone");
    survives.dumps.server.sql("postgres", &rename);
    let job = survives.copy(3, &[]);
    let left_out = warnings(&job);
    assert_eq!(left_out.len(), 3, "{left_out:#?}");
    assert_says(&left_out[0], &["role-missing", "POLICY public t p"]);
    assert_says(&left_out[1], &["role-missing", "USER MAPPING", "_worker"]);
    assert_says(&left_out[2], &["role-missing", "role", "_worker"]);
    assert_says(
        &job.to_string(),
        &["row security stays on", "create the role"],
    );
    assert!(!job.to_string().contains("hush"), "{job:#}");
    survives.assert_same("SELECT count(*), sum(id) FROM t");
    survives.assert_same("SELECT relrowsecurity FROM pg_class WHERE relname = 't'");
    let mapped = "SELECT usename FROM pg_user_mappings";
    assert_eq!(survives.sql(mapped), "public");

    // One table, into a database that is there: in one transaction.
    let into = format!("{name}_into");
    let server = &survives.dumps.server;
    server.sql("postgres", &format!("CREATE DATABASE {into}"));
    let more = ["--as", &into, "--table", "t"];
    let answer = survives.dumps.try_restore(&survives.snapshot, name, &more);
    assert_eq!(answer.code, 3, "{answer:#?}");
    let closed = "SELECT relrowsecurity, (SELECT sum(id) FROM t) FROM pg_class WHERE relname = 't'";
    assert_eq!(server.sql(&into, closed), "t|5050");
    assert_eq!(server.sql(&into, "SELECT count(*) FROM pg_policy"), "0");
    let log = survives.dumps.world.agent.program().log();
    assert!(!log.contains("hush"), "a password is in the log");
}

#[test]
fn what_finds_its_tables_along_the_search_path_is_made_with_it() {
    let survives = Survives::new(
        "survives-path",
        "CREATE SCHEMA shop; ALTER DATABASE @N SET search_path = shop, public; \
         ALTER DATABASE @N SET app.tenant = 'it''s one'; SET search_path = shop, public; \
         CREATE EXTENSION unaccent SCHEMA shop; \
         CREATE TABLE prices (id int PRIMARY KEY, p int); \
         INSERT INTO prices SELECT g, g FROM generate_series(1, 100) g; \
         CREATE FUNCTION total() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT sum(p) FROM prices'; \
         CREATE MATERIALIZED VIEW mv AS SELECT total(); \
         CREATE FUNCTION plain(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN unaccent($1); END'; \
         CREATE TABLE names (id int, s text); INSERT INTO names SELECT g, 'n' || g FROM generate_series(1, 100) g; \
         CREATE INDEX names_plain ON names (plain(s)); \
         CREATE FUNCTION tenant(int) RETURNS text LANGUAGE sql IMMUTABLE AS \
         $$ SELECT pg_catalog.current_setting('app.tenant') $$; \
         SET app.tenant = 'x'; CREATE INDEX names_tenant ON names (tenant(id)); \
         CREATE TABLE z_dict (v text PRIMARY KEY); INSERT INTO z_dict SELECT 'w' || g FROM generate_series(1, 100) g; \
         CREATE FUNCTION known(text) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM z_dict WHERE v = $1)'; \
         CREATE TABLE a_data (v text CHECK (known(v))); INSERT INTO a_data SELECT v FROM z_dict; \
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := 'touched'; RETURN NEW; END $$; \
         CREATE TRIGGER touch BEFORE INSERT ON a_data FOR EACH ROW EXECUTE FUNCTION touch()",
    );
    for jobs in ["1", "3"] {
        let job = survives.copy(0, &["--jobs", jobs]);
        assert_says(&notes(&job), &["verified: 4 tables with 400 rows"]);
        for statement in [
            "SELECT * FROM shop.mv",
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'shop' ORDER BY indexname",
            "SELECT v, count(*) FROM shop.a_data GROUP BY v ORDER BY v",
            "SELECT tgname, tgrelid::regclass FROM pg_trigger",
        ] {
            survives.assert_same(statement);
        }
        let drop = format!("DROP DATABASE {}", survives.copy_name());
        survives.dumps.server.sql("postgres", &drop);
    }
}

#[test]
fn rows_that_do_not_come_back_fail_the_restore_with_their_table() {
    let survives = Survives::new(
        "survives-not",
        "CREATE TABLE fine (id int); INSERT INTO fine VALUES (1); \
         CREATE FUNCTION small(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 < 1000'; \
         CREATE TABLE t (id int CHECK (small(id))); INSERT INTO t VALUES (1), (2); \
         CREATE OR REPLACE FUNCTION small(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 > 1000'",
    );
    let copy = survives.copy_name();
    let message = survives
        .dumps
        .refused(&survives.snapshot, &survives.name, &["--as", &copy]);
    assert_says(
        &message,
        &[
            "\"public\".\"t\" has 0 rows and had 2",
            "TABLE DATA public t",
            "t_id_check",
        ],
    );
    let left = survives.dumps.server.databases(&survives.name);
    assert_eq!(left, std::slice::from_ref(&survives.name));
}

#[test]
fn a_schema_that_every_database_has_is_no_obstacle() {
    let survives = Survives::with(
        "survives-public",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)",
        "",
        "schemas = [\"public\"]",
    );
    let job = survives.copy(0, &[]);
    assert_says(&notes(&job), &["verified: 1 tables with 100 rows"]);
}

#[test]
fn a_subscription_is_left_out_by_name() {
    let survives = Survives::new(
        "survives-subscription",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100); \
         CREATE PUBLICATION pub FOR TABLE t; CREATE SUBSCRIPTION news \
         CONNECTION 'host=127.0.0.1 port=1 dbname=x password=hush' PUBLICATION pub \
         WITH (connect = false, slot_name = NONE); COMMENT ON SUBSCRIPTION news IS 'of the shop'",
    );
    let job = survives.copy(3, &[]);
    let left_out = warnings(&job);
    assert_eq!(left_out.len(), 1, "{left_out:#?}");
    assert_says(&left_out[0], &["subscriptions-left-out", "news"]);
    assert!(!job.to_string().contains("hush"), "{job:#}");
    let here = "SELECT count(*) FROM pg_subscription s JOIN pg_database d \
        ON d.oid = s.subdbid WHERE d.datname = current_database()";
    assert_eq!(survives.sql(here), "0");
    survives.assert_same("SELECT pubname FROM pg_publication");
    survives
        .dumps
        .server
        .sql(&survives.name, "DROP SUBSCRIPTION news");
}

#[test]
fn a_setting_that_an_older_server_does_not_know_is_passed_over() {
    let scratch = Scratch::new("bin");
    // As a newer pg_restore begins, and ends because of that.
    let script = "case \"$*\" in *--dbname=*) ;; *) exec REAL \"$@\" ;; esac\n\
        echo 'pg_restore: while INITIALIZING:' >&2\n\
        echo 'pg_restore: error: could not execute query: ERROR:  unrecognized configuration \
        parameter \"transaction_timeout\"' >&2\n\
        echo 'Command was: SET transaction_timeout = 0;' >&2\n\
        REAL \"$@\" || exit 8\n\
        echo 'pg_restore: warning: errors ignored on restore: 1' >&2\nexit 1";
    let bin = bin_dir(&scratch, &[("pg_restore", script)]);
    let survives = Survives::with(
        "survives-setting",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)",
        &format!("bin_dir = '{}'", bin.display()),
        "",
    );
    let job = survives.copy(0, &[]);
    assert_says(
        &notes(&job),
        &[
            "transaction_timeout",
            "passed over",
            "verified: 1 tables with 100 rows",
        ],
    );
}

#[test]
fn a_restrictive_policy_that_is_left_out_leaves_rows_closed() {
    let survives = Survives::new(
        "survives-restrictive",
        "CREATE ROLE @N_worker; CREATE ROLE @N_reader; \
         CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100); \
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; GRANT SELECT ON t TO PUBLIC; \
         CREATE POLICY everybody ON t USING (true); \
         CREATE POLICY few ON t AS RESTRICTIVE TO @N_worker, @N_reader USING (id < 10)",
    );
    let name = &survives.name;
    let rename = format!("ALTER ROLE {name}_worker RENAME TO {name}_gone");
    survives.dumps.server.sql("postgres", &rename);
    let job = survives.copy(3, &[]);
    assert_says(&job.to_string(), &["it restricts", "POLICY public t few"]);
    let read = format!(
        "GRANT SELECT ON t TO {name}_reader; SET ROLE {name}_reader; SELECT count(*) FROM t"
    );
    assert_eq!(survives.sql(&read), "0");
}

#[test]
fn rows_alone_come_back_as_they_were_past_the_triggers_of_their_tables() {
    let survives = Survives::with(
        "survives-data-only",
        "CREATE TABLE audit (what text); \
         CREATE TABLE groups (id int PRIMARY KEY); INSERT INTO groups VALUES (1), (2); \
         CREATE TABLE stamped (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text, \
         at timestamptz, g int REFERENCES groups DEFERRABLE INITIALLY DEFERRED); \
         INSERT INTO stamped (v, at, g) SELECT 'v' || n, '2020-01-01', 1 FROM generate_series(1, 100) n; \
         INSERT INTO audit (what) SELECT 'v' || n FROM generate_series(1, 100) n; \
         SET CONSTRAINTS ALL IMMEDIATE; \
         CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$; \
         CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO public.audit (what) VALUES (NEW.v); RETURN NULL; END $$; \
         CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
         CREATE TABLE swallowed (id int PRIMARY KEY); INSERT INTO swallowed SELECT generate_series(1, 100); \
         CREATE TRIGGER stamp BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION stamp(); \
         ALTER TABLE stamped ENABLE ALWAYS TRIGGER stamp; \
         CREATE TRIGGER log_it AFTER INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION log_it(); \
         CREATE TRIGGER off BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION swallow(); \
         ALTER TABLE stamped DISABLE TRIGGER off; \
         CREATE TRIGGER swallow BEFORE INSERT ON swallowed FOR EACH ROW EXECUTE FUNCTION swallow()",
        "",
        "content = \"data\"",
    );
    let Survives {
        dumps,
        name,
        snapshot,
    } = &survives;
    let server = &dumps.server;
    let states = "SELECT string_agg(tgname::text || tgenabled::text, ' ' ORDER BY tgname) FROM pg_trigger \
        WHERE NOT tgisinternal";
    let content = "SELECT md5(string_agg(t::text, ';' ORDER BY t::text)) FROM \
        (SELECT s::text FROM stamped s UNION ALL SELECT a::text FROM audit a \
        UNION ALL SELECT w::text FROM swallowed w UNION ALL SELECT g::text FROM groups g) t";
    let before = (server.sql(name, states), server.sql(name, content));
    server.sql(name, "TRUNCATE stamped, audit, swallowed, groups");
    let job = dumps.restore(snapshot, name, &[]);
    let said = [
        "switched off",
        "\"swallow\" of",
        "verified: 4 tables with 302 rows",
    ];
    assert_says(&notes(&job), &said);
    assert_eq!(
        (server.sql(name, states), server.sql(name, content)),
        before
    );

    // Rows that are there stay, and keys still hold: all or nothing.
    server.sql(name, "TRUNCATE stamped, swallowed");
    server.sql(name, "INSERT INTO groups VALUES (3)");
    let message = dumps.refused(snapshot, name, &[]);
    assert_says(&message, &["groups_pkey"]);
    assert_eq!(server.sql(name, "SELECT count(*) FROM stamped"), "0");
    assert_eq!(server.sql(name, states), before.0);
}

#[test]
fn rows_that_changed_on_their_way_are_found_though_there_are_as_many() {
    let scratch = Scratch::new("bin");
    let script = "REAL \"$@\" || exit 8\ncase \"$*\" in *--dbname=dbname=*) ;; *) exit 0 ;; esac\n\
                  PSQL -Xq -c \"UPDATE public.t SET v = 'y' WHERE id = 7\" || true";
    let bin = bin_dir(&scratch, &[("pg_restore", script)]);
    let survives = Survives::with(
        "survives-changed",
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'x' FROM generate_series(1, 100) g; \
         CREATE TABLE fine (a timestamptz, b float8, c bytea, d interval, e int[], \
         \"f \"\"g\"\", h\" jsonb, twice int GENERATED ALWAYS AS (2) STORED, gone int); \
         INSERT INTO fine SELECT now() - g * interval '1.5 day', g / 7.0, decode(md5(g::text), 'hex'), \
         g * interval '1 month', ARRAY[g, NULL], '{\"a\": \"\\n\\t\\\\\"}' FROM generate_series(1, 100) g; \
         ALTER TABLE fine DROP COLUMN gone; ALTER TABLE fine ADD reg regclass; UPDATE fine SET reg = 'fine'; CREATE TABLE cash (m money); INSERT INTO cash VALUES (5); \
         CREATE TYPE cash_range AS RANGE (SUBTYPE = money, MULTIRANGE_TYPE_NAME = cash_ranges); \
         CREATE TABLE ranges (r cash_ranges); INSERT INTO ranges VALUES ('{[1,2)}'); \
         ALTER DATABASE @N SET timezone = 'Asia/Tokyo'; ALTER DATABASE @N SET bytea_output = 'escape'; \
         ALTER DATABASE @N SET datestyle = 'German'; ALTER DATABASE @N SET extra_float_digits = 0",
        &format!("bin_dir = '{}'", bin.display()),
        "",
    );
    let Survives {
        dumps,
        name,
        snapshot,
    } = &survives;
    let copy = survives.copy_name();
    let changed = "\"public\".\"t\" has as many rows as it had, 100, but not the same";
    let message = dumps.refused(snapshot, name, &["--as", &copy, "--keep-incomplete"]);
    assert_says(&message, &[changed, "it was kept as"]);
    assert!(
        !message.contains("fine") && !message.contains("cash"),
        "{message}"
    );
    let kept = dumps.server.databases(&copy);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_says(&message, &[&kept[0]]);
    assert_eq!(dumps.server.sql(&kept[0], "SELECT count(*) FROM t"), "100");
    let job = survives.copy(0, &["--verify", "counts"]);
    let counted = [
        "verified: 4 tables with 202 rows",
        "counts only, as was asked for",
    ];
    assert_says(&notes(&job), &counted);
    // What is read back is what was written, whatever the settings.
    let fine = format!("{copy}_fine");
    let job = dumps.restore(
        snapshot,
        name,
        &[
            "--as", &fine, "--table", "fine", "--table", "cash", "--table", "ranges",
        ],
    );
    let said = [
        "verified: 3 tables with 102 rows",
        "but for 2 of which only rows were counted",
    ];
    assert_says(&notes(&job), &said);
}

#[test]
fn one_command_restores_all_databases_and_each_has_its_outcome() {
    let dumps = Dumps::new("survives-all", "allow_restore = true");
    let base = Server::unique("all");
    let server = &dumps.server;
    let names = ["a", "b", "c"].map(|it| format!("{base}_{it}"));
    for (name, rows) in names.iter().zip([1, 2, 3]) {
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        server.sql(
            name,
            &format!("CREATE TABLE t AS SELECT generate_series(1, {rows}) AS id"),
        );
    }
    dumps.policy(&names.each_ref().map(String::as_str), "");
    let snapshot = dumps.backup();
    let all = |more: &[&str]| {
        let restore = [
            "restore",
            &snapshot,
            "--agent",
            crate::world::AGENT,
            "--postgres",
            super::CONNECTION,
            "--all-databases",
            "--wait",
            "--output",
            "json",
        ];
        dumps.world.operator().run([&restore, more].concat())
    };
    let answer = all(&["--as", "*_copy"]);
    assert_eq!(answer.code, 0, "{answer:#?}");
    let said = notes(&last_job(&answer));
    for (name, rows) in names.iter().zip(["1", "2", "3"]) {
        assert_says(
            &said,
            &[&format!("{name:?}: verified: 1 tables with {rows} rows")],
        );
        let copy = format!("{name}_copy");
        assert_eq!(server.sql(&copy, "SELECT count(*) FROM t"), rows);
    }
    server.sql("postgres", &format!("DROP DATABASE {}_copy", names[0]));
    server.sql("postgres", &format!("DROP DATABASE {}_copy", names[2]));
    let answer = all(&["--as", "*_copy"]);
    assert_eq!(answer.code, 1, "{answer:#?}");
    let failed = text(&last_job(&answer)["failure"]["message"]);
    let said = [
        "1 of 3 databases",
        &format!("{:?}: there is a database", names[1]),
    ];
    assert_says(&failed, &said);
    for (name, rows) in [(&names[0], "1"), (&names[2], "3")] {
        let copy = format!("{name}_copy");
        assert_eq!(server.sql(&copy, "SELECT count(*) FROM t"), rows);
    }
}

#[test]
fn memberships_of_roles_that_are_there_are_not_changed_and_named() {
    let survives = Survives::with(
        "survives-members",
        "CREATE ROLE @N_group; CREATE ROLE @N_clerk IN ROLE @N_group; CREATE ROLE @N_head; \
         GRANT @N_group TO @N_head WITH ADMIN OPTION; CREATE TABLE t AS SELECT 1 AS a",
        "",
        "globals = true",
    );
    let name = &survives.name;
    let revoke = format!(
        "REVOKE {name}_group FROM {name}_clerk; REVOKE ADMIN OPTION FOR {name}_group FROM {name}_head"
    );
    survives.dumps.server.sql("postgres", &revoke);
    let job = survives.copy(3, &["--roles"]);
    let left_out = warnings(&job);
    let ours: Vec<_> = left_out.iter().filter(|it| it.contains(name)).collect();
    assert_eq!(ours.len(), 2, "{left_out:#?}");
    assert_says(ours[0], &["membership-left-out", "_clerk"]);
    assert_says(ours[1], &["membership-left-out", "_head"]);
    let said = [
        "it is no member of",
        "other options here, and had ADMIN true",
    ];
    assert_says(&job["warnings"].to_string(), &said);
}

#[test]
fn a_policy_that_is_there_already_stands_in_no_ones_way() {
    let survives = Survives::new(
        "survives-stand-in",
        "CREATE ROLE @N_worker; \
         CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100); \
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY few ON t AS RESTRICTIVE TO @N_worker USING (id < 10)",
    );
    let name = &survives.name;
    let server = &survives.dumps.server;
    server.sql(
        "postgres",
        &format!("ALTER ROLE {name}_worker RENAME TO {name}_gone"),
    );
    let into = format!("{name}_into");
    server.sql("postgres", &format!("CREATE DATABASE {into}"));
    // A database that makes a policy of that name by itself.
    server.sql(
        &into,
        "CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS \
         $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 't') THEN \
         CREATE POLICY few ON public.t AS RESTRICTIVE USING (false); END IF; END $$; \
         CREATE EVENT TRIGGER guard ON ddl_command_end WHEN TAG IN ('CREATE TABLE') \
         EXECUTE FUNCTION public.guard()",
    );
    let more = ["--as", &into, "--table", "t"];
    let answer = survives.dumps.try_restore(&survives.snapshot, name, &more);
    assert_eq!(answer.code, 3, "{answer:#?}");
    assert_eq!(server.sql(&into, "SELECT sum(id) FROM t"), "5050");
    assert_eq!(server.sql(&into, "SELECT count(*) FROM pg_policy"), "1");
}

#[test]
fn where_policies_hide_rows_none_are_added_uncounted() {
    let server = Server::shared();
    let (name, owner) = (Server::unique("hidden"), Server::unique("owner"));
    let create = format!("CREATE ROLE {owner} LOGIN PASSWORD 'hush'");
    server.sql("postgres", &create);
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(
        &name,
        &format!(
            "CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 10); \
             ALTER TABLE t OWNER TO {owner}; ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
             ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY few ON t USING (id > 5)"
        ),
    );
    let passwords = Scratch::new("password");
    let source = super::connection("source", &server, &passwords, server.password(), "");
    let target = super::connection(
        super::CONNECTION,
        &server,
        &passwords,
        "hush",
        "allow_restore = true",
    );
    let target = target.replace(&server.url(), &server.url_as(&owner));
    let toml = [source, target].concat();
    let dumps = Dumps::with_connections("survives-hidden", server, passwords, &toml);
    dumps.policy_of(
        super::POLICY,
        "source",
        &[&name],
        "content = \"data\"\nglobals = false",
    );
    let snapshot = dumps.backup();
    let message = dumps.refused(&snapshot, &name, &[]);
    assert_says(&message, &["count the rows of", "row-level security"]);
    assert_eq!(dumps.server.sql(&name, "SELECT count(*) FROM t"), "10");
    let open = "ALTER TABLE t NO FORCE ROW LEVEL SECURITY";
    dumps.server.sql(&name, open);
    let job = dumps.restore(&snapshot, &name, &[]);
    assert_says(&notes(&job), &["verified: 1 tables with 10 rows"]);
    assert_eq!(dumps.server.sql(&name, "SELECT count(*) FROM t"), "20");
}

/// Two tables whose keys lead to each other, in rows alone.
const CIRCLE: &str = "CREATE TABLE a (id int PRIMARY KEY, b int); \
    CREATE TABLE b (id int PRIMARY KEY, a int CONSTRAINT b_a REFERENCES a WAITS); \
    INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); \
    ALTER TABLE a ADD CONSTRAINT a_b FOREIGN KEY (b) REFERENCES b WAITS";
const WAITING: &str = "SELECT string_agg(conname || condeferrable || convalidated, ' ' ORDER BY \
    conname) FROM pg_constraint WHERE contype = 'f'";

#[test]
fn rows_alone_that_refer_to_each_other_wait_for_each_other() {
    for (name, waits) in [
        ("survives-circle", "DEFERRABLE"),
        ("survives-stiff-circle", ""),
    ] {
        let dumps = Dumps::new(name, "allow_restore = true");
        let name = &Server::unique("circle");
        let server = &dumps.server;
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        server.sql(name, &CIRCLE.replace("WAITS", waits));
        dumps.policy(&[name.as_str()], "content = \"data\"");
        // pg_dump warns of the circle.
        let snapshot = snapshot_of(&run(&dumps));
        let before = server.sql(name, WAITING);
        server.sql(name, "TRUNCATE a, b");
        let job = dumps.restore(&snapshot, name, &[]);
        assert_says(&notes(&job), &["verified: 2 tables with 2 rows"]);
        let waited = notes(&job).contains("\"a_b\" of \"public\".\"a\"");
        assert_eq!(waited, waits.is_empty(), "{job:#}");
        assert_eq!(server.sql(name, WAITING), before);
        // They hold still.
        let (sql, nowhere) = ("UPDATE a SET b = 2", "SET CONSTRAINTS ALL IMMEDIATE");
        let held = format!(
            "DO $$ BEGIN {nowhere}; {sql}; RAISE 'it was taken'; EXCEPTION \
             WHEN foreign_key_violation THEN NULL; END $$"
        );
        server.sql(name, &held);
    }
}

#[test]
fn a_circle_that_its_role_cannot_have_wait_is_refused_by_name() {
    let server = Server::shared();
    let (name, writer) = (Server::unique("stiff"), Server::unique("writer"));
    let create = format!("CREATE ROLE {writer} LOGIN PASSWORD 'hush'");
    server.sql("postgres", &create);
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql(&name, &CIRCLE.replace("WAITS", ""));
    let grant = format!("GRANT SELECT, INSERT ON a, b TO {writer}");
    server.sql(&name, &grant);
    let passwords = Scratch::new("password");
    let source = super::connection("source", &server, &passwords, server.password(), "");
    let target = super::connection(
        super::CONNECTION,
        &server,
        &passwords,
        "hush",
        "allow_restore = true",
    );
    let target = target.replace(&server.url(), &server.url_as(&writer));
    let toml = [source, target].concat();
    let dumps = Dumps::with_connections("survives-writer", server, passwords, &toml);
    dumps.policy_of(
        super::POLICY,
        "source",
        &[&name],
        "content = \"data\"\nglobals = false",
    );
    let snapshot = snapshot_of(&run(&dumps));
    let server = &dumps.server;
    server.sql(&name, "TRUNCATE a, b");
    let message = dumps.refused(&snapshot, &name, &[]);
    let said = [
        "\"a_b\" of \"public\".\"a\", \"b_a\" of \"public\".\"b\"",
        "circle",
        "DEFERRABLE",
    ];
    assert_says(&message, &said);
    assert!(!message.contains("TABLE DATA"), "{message}");
    assert_eq!(server.sql(&name, WAITING), "a_bfalsetrue b_afalsetrue");
    let rows = "SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)";
    assert_eq!(server.sql(&name, rows), "0");
    // Rows that come in order nevertheless need not wait.
    server.sql(
        &name,
        "INSERT INTO a VALUES (1, NULL); INSERT INTO b VALUES (1, 1)",
    );
    let snapshot = snapshot_of(&run(&dumps));
    server.sql(&name, "TRUNCATE a, b");
    dumps.restore(&snapshot, &name, &[]);
    assert_eq!(server.sql(&name, rows), "2");
}

#[test]
fn a_table_whose_check_asks_another_comes_into_a_database_that_is_there() {
    let survives = Survives::new(
        "survives-check",
        "CREATE TABLE z_dict (v text PRIMARY KEY); \
         INSERT INTO z_dict SELECT 'w' || g FROM generate_series(1, 100) g; \
         CREATE FUNCTION in_dict(text) RETURNS bool LANGUAGE sql AS \
         'SELECT EXISTS (SELECT 1 FROM public.z_dict WHERE v = $1)'; \
         CREATE TABLE a_data (v text CHECK (in_dict(v))); \
         INSERT INTO a_data SELECT 'w' || g FROM generate_series(1, 100) g",
    );
    let name = &survives.name;
    let server = &survives.dumps.server;
    let into = format!("{name}_into");
    server.sql("postgres", &format!("CREATE DATABASE {into}"));
    server.sql(
        &into,
        "SET check_function_bodies = false; CREATE FUNCTION in_dict(text) RETURNS bool \
         LANGUAGE sql AS 'SELECT EXISTS (SELECT 1 FROM public.z_dict WHERE v = $1)'",
    );
    let both = ["--as", &into, "--table", "a_data", "--table", "z_dict"];
    let job = survives.dumps.restore(&survives.snapshot, name, &both);
    assert_says(&notes(&job), &["verified: 2 tables with 200 rows"]);
    // Alone, where the other is there with its rows.
    server.sql(&into, "DROP TABLE a_data");
    let one = ["--as", &into, "--table", "a_data"];
    let job = survives.dumps.restore(&survives.snapshot, name, &one);
    assert_says(&notes(&job), &["verified: 1 tables with 100 rows"]);
    server.sql(
        &into,
        "DROP TABLE a_data; DELETE FROM z_dict WHERE v = 'w7'",
    );
    let message = survives.dumps.refused(&survives.snapshot, name, &one);
    assert_says(&message, &["a_data", "check constraint"]);
    assert_eq!(
        server.sql(&into, "SELECT to_regclass('a_data') IS NULL"),
        "t"
    );
}
