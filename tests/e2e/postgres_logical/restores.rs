//! Parts of a dump, roles, and another server.

use strongroom_tests::{cluster::Cluster, postgres::Server, scratch::Scratch};

use super::{Dumps, connection};
use crate::world::assert_says;

const SHOP: &str = "CREATE SCHEMA app; CREATE SCHEMA other; \
    CREATE TYPE app.state AS ENUM ('open', 'paid'); \
    CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN NEW.note := 'touched'; RETURN NEW; END $$; \
    CREATE TABLE app.customers (id serial PRIMARY KEY, name text); \
    CREATE TABLE app.orders (id serial PRIMARY KEY, customer int REFERENCES app.customers, \
    state app.state DEFAULT 'open', note text) ; \
    CREATE INDEX by_state ON app.orders (state); \
    CREATE TRIGGER touch BEFORE INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch(); \
    COMMENT ON TABLE app.orders IS 'what was bought'; \
    CREATE TABLE other.things (a int); \
    INSERT INTO app.customers (name) SELECT 'c' || n FROM generate_series(1, 5) n; \
    INSERT INTO app.orders (customer) SELECT 1 + n % 5 FROM generate_series(1, 30) n; \
    INSERT INTO other.things VALUES (1)";

fn shop(dumps: &Dumps) -> (String, String) {
    let name = Server::unique("shop");
    dumps
        .server
        .sql("postgres", &format!("CREATE DATABASE {name}"));
    dumps.server.sql(&name, SHOP);
    dumps.policy(&[&name], "");
    let snapshot = dumps.backup();
    (name, snapshot)
}

#[test]
fn a_table_comes_with_all_that_is_its_own() {
    let dumps = Dumps::new("restore-table", "allow_restore = true");
    let (name, snapshot) = shop(&dumps);
    let server = &dumps.server;
    let copy = format!("{name}_copy");
    let more = ["--as", &copy, "--table", "app.orders"];
    let job = dumps.restore(&snapshot, &name, &more);
    assert_says(
        &job["warnings"].to_string(),
        &["foreign-key-left-out", "orders_customer_fkey"],
    );
    let found = "SELECT (SELECT count(*) FROM app.orders), to_regclass('app.by_state'), \
        to_regclass('app.orders_pkey'), to_regclass('app.customers') IS NULL, \
        obj_description('app.orders'::regclass)";
    assert_eq!(
        server.sql(&copy, found),
        "30|app.by_state|app.orders_pkey|t|what was bought"
    );
    // Its sequence goes on, its trigger works.
    let inserted = "INSERT INTO app.orders (state) VALUES ('paid') RETURNING id, note";
    assert_eq!(server.sql(&copy, inserted), "31|touched");

    // Back into the database that it was lost from.
    server.sql(&name, "DROP TABLE app.orders");
    dumps.restore(&snapshot, &name, &["--table", "orders"]);
    assert_eq!(server.sql(&name, "SELECT count(*) FROM app.orders"), "30");
    let message = dumps.refused(&snapshot, &name, &["--table", "orders"]);
    assert_says(&message, &["\"app\".\"orders\"", "already"]);
    assert_eq!(server.sql(&name, "SELECT count(*) FROM app.orders"), "30");

    let message = dumps.refused(&snapshot, &name, &["--as", "x", "--table", "nothing"]);
    assert_says(&message, &["\"nothing\"", &name]);
}

#[test]
fn a_schema_is_all_that_is_in_it() {
    let dumps = Dumps::new("restore-schema", "allow_restore = true");
    let (name, snapshot) = shop(&dumps);
    let server = &dumps.server;
    let copy = format!("{name}_copy");
    dumps.restore(&snapshot, &name, &["--as", &copy, "--schema", "app"]);
    let of_app = server.dump(&name, &["--schema=app"]);
    assert_eq!(server.dump(&copy, &["--schema=app"]), of_app);
    assert_eq!(
        server.sql(&copy, "SELECT to_regclass('other.things') IS NULL"),
        "t"
    );
    let message = dumps.refused(&snapshot, &name, &["--as", "x", "--schema", "none"]);
    assert_says(&message, &["schema \"none\""]);
}

#[test]
fn another_server_gets_the_roles_that_it_lacks() {
    let scratch = Scratch::new("another");
    let cluster = Cluster::start(&scratch, "cluster");
    let another = Server::on(cluster.port());
    let source = Server::shared();
    let passwords = Scratch::new("password");
    let password = source.password().to_owned();
    let toml = [
        connection("source", &source, &passwords, &password, ""),
        connection(
            super::CONNECTION,
            &another,
            &passwords,
            "",
            "allow_restore = true",
        ),
    ]
    .concat();
    let dumps = Dumps::with_connections("restore-another", another, passwords, &toml);
    let name = Server::unique("moved");
    let (owner, group) = (format!("{name}_owner"), format!("{name} group"));
    source.sql(
        "postgres",
        &format!(
            "CREATE ROLE \"{group}\"; CREATE ROLE {owner} LOGIN PASSWORD 'hush;''' IN ROLE \"{group}\""
        ),
    );
    source.sql("postgres", &format!("CREATE DATABASE {name} OWNER {owner}"));
    source.sql(
        &name,
        &format!(
            "CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t OWNER TO {owner}; \
             GRANT SELECT ON t TO \"{group}\"; GRANT SELECT ON t TO pg_monitor; \
             CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             REVOKE EXECUTE ON FUNCTION f() FROM PUBLIC; \
             GRANT EXECUTE ON FUNCTION f() TO pg_signal_backend; \
             CREATE FUNCTION lends(a int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
             CREATE FUNCTION ours() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
             ALTER FUNCTION lends(int) OWNER TO {owner}; CREATE VIEW v AS SELECT 1 AS a; \
             ALTER VIEW v OWNER TO {owner}; GRANT SELECT ON v TO PUBLIC; \
             CREATE VIEW safe WITH (security_invoker) AS SELECT 1 AS a; \
             ALTER VIEW safe OWNER TO {owner}; GRANT SELECT ON safe TO PUBLIC; \
             CREATE TABLE ddl_log (tag text); \
             CREATE FUNCTION log_ddl() RETURNS event_trigger LANGUAGE plpgsql \
             AS $$ BEGIN INSERT INTO public.ddl_log VALUES (tg_tag); END $$; \
             CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION log_ddl()"
        ),
    );
    dumps.policy_of(super::POLICY, "source", &[&name], "");
    let snapshot = dumps.backup();
    let server = &dumps.server;

    // Without a role what is its own belongs to whoever restores, and what is
    // granted to it is left out. All else holds.
    let job = dumps.restore(&snapshot, &name, &["--as", "bare"]);
    let said = [
        owner.as_str(),
        &group,
        "--roles",
        "owner of TABLE public.t",
        "privileges of TABLE public.\\\"t\\\"",
        "role-missing",
        "rights-withheld",
        "ROUTINE public.lends(integer)",
    ];
    let warned = job["warnings"].to_string();
    assert_says(&warned, &said);
    assert!(!warned.contains("ROUTINE public.ours"), "{warned}");
    // What would lend the rights of whoever restores lends them to nobody.
    let lent = "SELECT has_function_privilege('pg_monitor', 'lends(int)', 'EXECUTE'), \
                has_function_privilege('pg_monitor', 'ours()', 'EXECUTE'), \
                has_table_privilege('pg_monitor', 'v', 'SELECT'), \
                has_table_privilege('pg_monitor', 'safe', 'SELECT')";
    assert_eq!(server.sql("bare", lent), "f|t|f|t");
    let owner_of = "SELECT tableowner FROM pg_tables WHERE tablename = 't'";
    assert_eq!(server.sql("bare", owner_of), "postgres");
    // What was given did not run the database's own event triggers.
    let events = "SELECT (SELECT count(*) FROM ddl_log), (SELECT count(*) FROM pg_event_trigger)";
    assert_eq!(server.sql("bare", events), "0|1");
    let kept = "SELECT has_table_privilege('pg_monitor', 't', 'SELECT'), \
                has_function_privilege('pg_monitor', 'f()', 'EXECUTE'), \
                has_function_privilege('pg_signal_backend', 'f()', 'EXECUTE')";
    assert_eq!(server.sql("bare", kept), "t|f|t");
    // The same in one transaction, into a database that is there.
    server.sql("postgres", "CREATE DATABASE there");
    dumps.restore(&snapshot, &name, &["--as", "there", "--table", "t"]);
    let read = "SELECT has_table_privilege('pg_monitor', 't', 'SELECT')";
    assert_eq!(server.sql("there", read), "t");

    // What is there keeps what it has.
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = ";
    let job = dumps.restore(&snapshot, &name, &["--roles"]);
    assert_eq!(server.sql(&name, owner_of), owner);
    assert_eq!(server.dump(&name, &[]), source.dump(&name, &[]));
    let database_owner =
        format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(server.sql("postgres", &database_owner), owner);
    let verifier = format!("{verifier}'{owner}'");
    let original = source.sql("postgres", &verifier);
    assert!(original.starts_with("SCRAM"), "{original}");
    assert_eq!(server.sql("postgres", &verifier), original);
    let member = format!("SELECT pg_has_role('{owner}', '{group}', 'MEMBER')");
    assert_eq!(server.sql("postgres", &member), "t");
    assert!(
        !job.to_string().contains("SCRAM"),
        "a password is in the job"
    );

    server.sql(
        "postgres",
        &format!("ALTER ROLE {owner} PASSWORD 'another'"),
    );
    let changed = server.sql("postgres", &verifier);
    dumps.restore(&snapshot, &name, &["--as", "again", "--roles"]);
    assert_eq!(server.sql("postgres", &verifier), changed);
}

#[test]
fn a_connection_that_allows_no_restores_gets_none() {
    let dumps = Dumps::new("restore-forbidden", "");
    let (name, snapshot) = shop(&dumps);
    let message = dumps.refused(&snapshot, &name, &["--as", "x"]);
    assert_says(&message, &["allow_restore", "agent.toml"]);
    let message = dumps.refused(&snapshot, "no such", &["--as", "x"]);
    assert_says(&message, &["allow_restore"]);
}
