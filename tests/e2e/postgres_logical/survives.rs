//! A restore does not die for one object, and says what it could not make.

use serde_json::Value;
use strongroom_tests::{operator::text, postgres::Server, scratch::Scratch};

use super::{Dumps, bin_dir, last_job, notes};
use crate::world::assert_says;

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
    assert_eq!(left_out.len(), 2, "{left_out:#?}");
    assert_says(&left_out[0], &["role-missing POLICY public t p"]);
    assert_says(&left_out[1], &["role-missing USER MAPPING", "_worker"]);
    assert_says(
        &job.to_string(),
        &["row security stays on", "create the role"],
    );
    assert!(!job.to_string().contains("hush"), "{job:#}");
    survives.assert_same("SELECT count(*), sum(id) FROM t");
    survives.assert_same("SELECT relrowsecurity FROM pg_class WHERE relname = 't'");
    let mapped = "SELECT usename FROM pg_user_mappings";
    assert_eq!(survives.sql(mapped), "public");
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
