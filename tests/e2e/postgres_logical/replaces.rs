//! A restored database takes the place of another, or does not.

use std::process::{Child, Stdio};

use strongroom_tests::{operator::eventually, postgres::Server, scratch::Scratch};

use super::{Dumps, bin_dir};
use crate::world::assert_says;

/// A database with one row, backed up; then it has two.
struct Replaced {
    dumps: Dumps,
    name: String,
    snapshot: String,
}

impl Replaced {
    fn new(test: &str, more: &str) -> Self {
        let dumps = Dumps::new(test, &format!("allow_restore = true\n{more}"));
        let name = Server::unique("replaced");
        let server = &dumps.server;
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        server.sql(&name, "CREATE TABLE t AS SELECT 1 AS a");
        dumps.policy(&[&name], "");
        let snapshot = dumps.backup();
        server.sql(&name, "INSERT INTO t VALUES (2)");
        Self {
            dumps,
            name,
            snapshot,
        }
    }

    /// A client that stays.
    fn client(&self) -> Client {
        let mut command = self.dumps.server.program("psql", &self.name);
        command
            .args(["-Xq", "-c", "SELECT pg_sleep(86400)"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("psql runs");
        let here = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query ~ 'pg_sleep'",
            self.name
        );
        eventually("a client", || {
            (self.dumps.server.sql("postgres", &here) == "1").then_some(())
        });
        Client(child)
    }

    /// The original stands as it was, and nothing is beside it.
    fn assert_untouched(&self) {
        let server = &self.dumps.server;
        assert_eq!(server.sql(&self.name, "SELECT count(*) FROM t"), "2");
        assert_eq!(
            server.databases(&self.name).as_slice(),
            std::slice::from_ref(&self.name)
        );
    }
}

struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn names_change_under_open_connections_and_settings_stay() {
    let replaced = Replaced::new("replace", "");
    let (server, name) = (&replaced.dumps.server, &replaced.name);
    let role = format!("{name}_role");
    server.sql("postgres", &format!("CREATE ROLE {role}"));
    for statement in [
        "ALTER DATABASE @D OWNER TO @R",
        "ALTER DATABASE @D SET search_path = 'a b', public",
        "ALTER DATABASE @D SET app.tenant = 'it''s \"one\"'",
        "ALTER ROLE @R IN DATABASE @D SET work_mem = '7MB'",
        "ALTER DATABASE @D CONNECTION LIMIT 77",
        "COMMENT ON DATABASE @D IS 'the shop''s'",
        "REVOKE CONNECT ON DATABASE @D FROM PUBLIC",
        "GRANT CONNECT, CREATE ON DATABASE @D TO @R WITH GRANT OPTION",
    ] {
        let statement = statement.replace("@D", name).replace("@R", &role);
        server.sql("postgres", &statement);
    }
    let properties = format!(
        "SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(d.oid, 'pg_database'), \
         (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) a), \
         (SELECT string_agg(setrole::regrole || ' ' || array_to_string(setconfig, ' '), '; ' \
          ORDER BY setrole) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) \
         FROM pg_database d WHERE datname = '{name}'"
    );
    let before = server.sql("postgres", &properties);
    let mut client = replaced.client();
    let confirm = ["--replace", "--confirm", name];
    let answer = replaced
        .dumps
        .try_restore(&replaced.snapshot, name, &confirm);
    let job = super::last_job(&answer);
    assert_eq!(job["state"], "succeeded", "{answer:#?}");
    // The safety backup ran before, as a job of its own.
    assert_eq!(answer.json()["jobs"].as_array().map(Vec::len), Some(2));
    let status = client.0.wait().expect("psql ends");
    assert!(!status.success(), "an open connection was not cut off");
    assert_eq!(server.sql(name, "SELECT count(*) FROM public.t"), "1");
    assert_eq!(server.sql("postgres", &properties), before);
    let databases = server.databases(name);
    let [_, aside] = databases.as_slice() else {
        panic!("{databases:?}");
    };
    assert!(aside.starts_with(&format!("{name}_before_")), "{aside}");
    assert_eq!(server.sql(aside, "SELECT count(*) FROM public.t"), "2");
    assert_says(&super::notes(&job), &[aside, "drop it"]);
}

#[test]
fn a_pg_restore_that_fails_half_way_leaves_the_original() {
    let scratch = Scratch::new("bin");
    let script =
        "REAL \"$@\" || exit 8\necho 'pg_restore: error: unexpected end of file' >&2\nexit 7";
    let bin = bin_dir(&scratch, &[("pg_restore", script)]);
    let bin = format!("bin_dir = '{}'", bin.display());
    let replaced = Replaced::new("replace-fails", &bin);
    let name = &replaced.name;
    let confirm = ["--replace", "--confirm", name];
    let message = replaced.dumps.refused(&replaced.snapshot, name, &confirm);
    assert_says(&message, &["pg_restore", "7", "unexpected end of file"]);
    replaced.assert_untouched();
}

#[test]
fn a_restored_database_that_lacks_rows_does_not_take_the_name() {
    let scratch = Scratch::new("bin");
    let script = "REAL \"$@\" || exit 8\ncase \"$*\" in *--dbname=dbname=*) ;; *) exit 0 ;; esac\n\
                  exec PSQL -Xq -c 'DELETE FROM public.t'";
    // The programs' environment names the database that is filled.
    let bin = bin_dir(&scratch, &[("pg_restore", script)]);
    let bin = format!("bin_dir = '{}'", bin.display());
    let replaced = Replaced::new("replace-differs", &bin);
    let name = &replaced.name;
    let confirm = ["--replace", "--confirm", name];
    let message = replaced.dumps.refused(&replaced.snapshot, name, &confirm);
    assert_says(
        &message,
        &["differs", "\"public\".\"t\" has 0 rows and had 1"],
    );
    replaced.assert_untouched();
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let replaced = Replaced::new("replace-dry", "");
    let name = &replaced.name;
    let _client = replaced.client();
    let more = ["--replace", "--dry-run"];
    let job = replaced.dumps.restore(&replaced.snapshot, name, &more);
    let plan = job["result"]["restore"]["plan"].to_string();
    assert_says(
        &plan,
        &[
            &format!("{name}_before_"),
            "_strongroom_",
            "verify",
            "rename",
        ],
    );
    assert_says(&super::notes(&job), &["1 connections"]);
    replaced.assert_untouched();
}

#[test]
fn a_database_that_is_there_is_not_replaced_unasked() {
    let replaced = Replaced::new("replace-unasked", "");
    let message = replaced
        .dumps
        .refused(&replaced.snapshot, &replaced.name, &[]);
    assert_says(&message, &["already", "--replace", "--as"]);
    replaced.assert_untouched();
}
