//! Databases on a real server: a restored one gets its name and loses its mark
//! in one step, and whether one holds anything is known.

use std::time::Duration;

use strongroom_postgres::{
    connection::{Connection, Session, Tls},
    inventory::{self, Inventory},
    logical::{
        acting::acting,
        create,
        hold::Held,
        lent::{functions, lent},
        manifest::Privilege,
        properties,
        trial::{Trial, TrialError},
    },
};
use strongroom_tests::{cluster::Cluster, scratch::Scratch};

fn connection(cluster: &Cluster) -> Connection {
    Connection {
        address: cluster.url().parse().unwrap(),
        password: None,
        tls: Tls::default(),
    }
}

async fn make(session: &Session, name: &str) {
    let inventory = Inventory::of(session).await.unwrap();
    let locale = &inventory.database("postgres").unwrap().locale;
    let statement = create::statement(name, locale, None, None, session.version().major());
    create::create(session, name, &statement, "job")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_name_and_its_comment_come_together_or_not_at_all() {
    let scratch = Scratch::new("names-last");
    let cluster = Cluster::start(&scratch, "server");
    let connection = connection(&cluster);
    let session = Session::open(&connection, None).await.unwrap();
    make(&session, "restored").await;
    let marked = || async {
        let found = create::unfinished(&session).await.unwrap();
        found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };

    // Whoever comments waits, and so the name does not change either.
    let other = Session::open(&connection, None).await.unwrap();
    let lock = "BEGIN; LOCK TABLE pg_catalog.pg_shdescription IN EXCLUSIVE MODE";
    other.run("lock", lock).await.unwrap();
    session.unhurried(Duration::from_millis(50)).await.unwrap();
    let renamed = create::rename(&session, "restored", "shop", Some("of the shop")).await;
    assert_eq!(renamed.unwrap_err().state(), Some("55P03"));
    session.run("start over", "ROLLBACK").await.unwrap();
    other.run("let go", "ROLLBACK").await.unwrap();
    assert_eq!(marked().await, ["restored"]);

    let renamed = create::rename(&session, "restored", "shop", Some("of the shop")).await;
    assert!(renamed.unwrap().is_none());
    assert_eq!(marked().await, Vec::<String>::new());

    make(&session, "again").await;
    let exchanged = create::exchange(&connection, "shop", "shop_before", "again").await;
    assert!(exchanged.unwrap().is_none());
    assert_eq!(marked().await, Vec::<String>::new());
    for name in ["shop", "shop_before"] {
        let comment = properties::of(&session, name).await.unwrap().comment;
        assert_eq!(comment.as_deref(), Some("of the shop"), "{name}");
    }
}

#[tokio::test]
async fn a_comment_that_cannot_be_written_keeps_no_name_back() {
    let scratch = Scratch::new("names-comment");
    let cluster = Cluster::start(&scratch, "server");
    cluster.sql(
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let session = Session::open(&connection(&cluster), Some("latin"))
        .await
        .unwrap();
    make(&session, "restored").await;
    let refused = create::rename(&session, "restored", "shop", Some("\u{65e5}")).await;
    assert!(refused.unwrap().is_some());
    assert_eq!(create::unfinished(&session).await.unwrap(), []);
    let comment = properties::of(&session, "shop").await.unwrap().comment;
    assert_eq!(comment, None);
}

#[tokio::test]
async fn whatever_an_owner_made_is_something_that_a_database_holds() {
    let scratch = Scratch::new("holds");
    let cluster = Cluster::start(&scratch, "server");
    let connection = connection(&cluster);
    let holds = async || {
        let session = Session::open(&connection, None).await.unwrap();
        inventory::holds_objects(&session).await.unwrap()
    };
    assert!(!holds().await);
    let of_trigger = "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'";
    for (make, undo) in [
        ("CREATE TABLE t ()", "DROP TABLE t"),
        ("CREATE SCHEMA s", "DROP SCHEMA s"),
        (of_trigger, "DROP FUNCTION f()"),
        ("CREATE TYPE e AS ENUM ('a')", "DROP TYPE e"),
        ("CREATE TYPE c AS (a int)", "DROP TYPE c"),
        ("CREATE DOMAIN d AS int", "DROP DOMAIN d"),
        ("SELECT lo_create(4711)", "SELECT lo_unlink(4711)"),
        ("CREATE EXTENSION hstore", "DROP EXTENSION hstore"),
        ("CREATE PUBLICATION p", "DROP PUBLICATION p"),
        (
            "CREATE FOREIGN DATA WRAPPER w",
            "DROP FOREIGN DATA WRAPPER w",
        ),
        ("CREATE COLLATION c FROM \"C\"", "DROP COLLATION c"),
        (
            "CREATE TEXT SEARCH CONFIGURATION k (COPY = simple)",
            "DROP TEXT SEARCH CONFIGURATION k",
        ),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC",
        ),
    ] {
        cluster.sql(make);
        assert!(holds().await, "{make}");
        cluster.sql(undo);
        assert!(!holds().await, "{undo}");
    }
    cluster.sql(of_trigger);
    cluster.sql("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()");
    assert!(holds().await);
}

#[tokio::test]
async fn what_a_server_does_not_understand_is_found_by_having_it_parsed() {
    let scratch = Scratch::new("trial");
    let cluster = Cluster::start(&scratch, "server");
    cluster.sql("CREATE TABLE t AS SELECT 1 AS a");
    let connection = connection(&cluster);
    let held = Held::take(&connection, "postgres").await.unwrap();
    let tried = async |script: &str| {
        let mut trial = Trial::begin(&held).await.unwrap();
        for piece in script.as_bytes().chunks(7) {
            trial.feed(piece).await?;
        }
        trial.end().await
    };
    // A restore passes over the first, and makes or names the others.
    tried(
        "SET of_a_later_version = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n\
         CREATE TABLE public.t (a integer);\n\
         CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS 'nonsense';\n\
         CREATE MATERIALIZED VIEW public.v AS SELECT * FROM public.is_not_there;\n\
         CREATE MATERIALIZED VIEW public.w AS SELECT * FROM public.t;\n",
    )
    .await
    .unwrap();
    // Nothing was made, and nothing stays locked.
    cluster.sql("BEGIN; SET LOCAL lock_timeout = '5s'; LOCK TABLE t; COMMIT");
    let error = tried(
        "--\n-- Name: t; Type: TABLE; Schema: public; Owner: me\n--\n\n\
         CREATE TABLE public.t (a integer) OF_A_LATER_VERSION;\n",
    )
    .await
    .unwrap_err();
    let TrialError::NotUnderstood { about, cause } = error else {
        panic!("{error:?}");
    };
    assert!(about.starts_with("t; Type: TABLE"), "{about}");
    assert!(cause.to_lowercase().contains("syntax"), "{cause}");
    // The transaction goes on.
    held.lockers().await.unwrap();

    // What a database's owner has made does not run: analysing this would.
    let marker = cluster.data().join("marker");
    cluster.sql(&format!(
        "CREATE FUNCTION check_of_d(integer) RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN COPY (SELECT 1) TO '{}'; RETURN true; END $$;
         CREATE DOMAIN d AS integer CHECK (public.check_of_d(VALUE))",
        marker.display()
    ));
    let statement = "CREATE MATERIALIZED VIEW public.m AS SELECT '{1}'::public.d[]";
    cluster.sql("PREPARE p AS SELECT '{1}'::public.d[]");
    assert!(marker.exists(), "analysing runs it");
    std::fs::remove_file(&marker).unwrap();
    tried(&format!("{statement};\nCOMMIT;\nROLLBACK;\n"))
        .await
        .unwrap();
    assert!(!marker.exists());
}

#[tokio::test]
async fn what_is_closed_to_everybody_stays_closed_without_its_owner() {
    let scratch = Scratch::new("closed");
    let cluster = Cluster::start(&scratch, "server");
    let connection = connection(&cluster);
    let session = Session::open(&connection, None).await.unwrap();
    make(&session, "closed").await;
    cluster.sql("CREATE ROLE reader; CREATE ROLE gone");
    cluster.sql(
        "ALTER DATABASE closed OWNER TO gone; REVOKE ALL ON DATABASE closed FROM PUBLIC; \
         GRANT CONNECT ON DATABASE closed TO reader",
    );
    let given = properties::of(&session, "closed").await.unwrap();
    cluster.sql("ALTER DATABASE closed OWNER TO postgres; DROP ROLE gone");
    make(&session, "copy").await;
    let roles = create::roles(&session).await.unwrap();
    let refused = properties::give(&session, "copy", &given, &roles).await;
    let refused = refused.unwrap();
    assert!(!refused.is_empty() && refused.iter().all(|it| it.lacks_role));
    assert!(refused[0].cause.contains("\"gone\""), "{refused:?}");
    let open = properties::of(&session, "copy").await.unwrap().privileges;
    let open = open.unwrap();
    assert!(open.iter().all(|it| it.role.is_some()), "{open:?}");
    let reads = |it: &&_| matches!(it, Privilege { role: Some(role), .. } if role == "reader");
    assert_eq!(open.iter().filter(reads).count(), 1, "{open:?}");
}

#[tokio::test]
async fn what_acts_is_known_one_by_one_and_closed_alone() {
    let scratch = Scratch::new("acting");
    let cluster = Cluster::start(&scratch, "server");
    let connection = connection(&cluster);
    let session = Session::open(&connection, None).await.unwrap();
    let make = "CREATE EXTENSION hstore SCHEMA public; \
        CREATE FUNCTION public.member() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
        CREATE VIEW public.member AS SELECT 1 AS a; GRANT SELECT ON public.member TO PUBLIC; \
        ALTER EXTENSION hstore ADD FUNCTION public.member(); \
        ALTER EXTENSION hstore ADD VIEW public.member; \
        CREATE FUNCTION public.f(a int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
        CREATE FUNCTION public.f(a text) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
        CREATE FUNCTION public.hidden() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
        REVOKE ALL ON FUNCTION public.hidden() FROM PUBLIC; \
        CREATE VIEW public.nobodys AS SELECT 1 AS a; \
        CREATE VIEW public.column AS SELECT 1 AS a; \
        GRANT SELECT (a) ON public.column TO pg_monitor; \
        CREATE VIEW public.invokes WITH (security_barrier) AS SELECT 1 AS a; \
        GRANT SELECT ON public.invokes TO PUBLIC";
    session.run("make", make).await.unwrap();
    let objects = async || {
        let all = acting(&session).await.unwrap();
        all.into_iter().map(|it| it.object).collect::<Vec<_>>()
    };
    assert_eq!(
        objects().await,
        [
            "ROUTINE public.f(integer)",
            "ROUTINE public.f(text)",
            "ROUTINE public.hidden()",
            "TABLE public.\"column\"",
            "TABLE public.invokes",
        ]
    );
    let all = acting(&session).await.unwrap();
    for at in [0, 2, 3] {
        all[at].close(&session).await.unwrap();
    }
    let left = ["ROUTINE public.f(text)", "TABLE public.invokes"];
    assert_eq!(objects().await, left);
    let still = session
        .query_one(
            "SELECT pg_catalog.has_function_privilege('pg_monitor', 'public.f(integer)', 'EXECUTE'), \
             pg_catalog.has_function_privilege('pg_monitor', 'public.f(text)', 'EXECUTE'), \
             pg_catalog.has_column_privilege('pg_monitor', 'public.column', 'a', 'SELECT')",
            &[],
        )
        .await
        .unwrap();
    let still = [0, 1, 2].map(|at| still.get::<_, bool>(at));
    assert_eq!(still, [false, true, false]);
}

#[tokio::test]
async fn what_an_extension_has_is_nobodys_to_withhold() {
    let scratch = Scratch::new("lent");
    let cluster = Cluster::start(&scratch, "server");
    let session = Session::open(&connection(&cluster), None).await.unwrap();
    let make = "CREATE ROLE other; \
        CREATE EXTENSION hstore SCHEMA public; CREATE TABLE public.t (a int); \
        CREATE FUNCTION public.member(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; \
        CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; \
        ALTER FUNCTION public.member(int) OWNER TO other; \
        ALTER FUNCTION public.f(int) OWNER TO other; \
        ALTER EXTENSION hstore ADD FUNCTION public.member(int); \
        CREATE INDEX ON public.t (public.member(a)); CREATE INDEX ON public.t (public.f(a))";
    session.run("make", make).await.unwrap();
    let found = lent(&session).await.unwrap();
    let objects: Vec<_> = found.iter().map(|it| it.object.as_str()).collect();
    assert_eq!(objects, ["ROUTINE public.f(integer)"]);
    let all = functions(&session).await.unwrap();
    assert!(all.contains(&found[0].key) && all.len() > 2, "{all:?}");
}
