//! A database's owner gains nothing from our looking at it: whatever stands
//! before `pg_catalog` in his search path, none of it is ever called.

use strongroom_postgres::{
    connection::{Connection, Session, Tls, default_search_path},
    inventory::{Inventory, Role},
    logical::{
        count::Asked,
        create,
        hold::Held,
        list::has_bare_patterns,
        manifest::{Checksum, Content, Selection},
        properties, verify,
    },
    physical::backup::{RunningBackup, StartOptions, inspect},
    replication::{ReplicationSession, server_facts, slot},
};
use strongroom_tests::{cluster::Cluster, planted, scratch::Scratch};

/// All that an agent asks, in a database of his.
#[tokio::test]
async fn none_of_our_questions_calls_what_an_owner_planted() {
    let scratch = Scratch::new("hostile-owner");
    let cluster = Cluster::with(&scratch, "server", "max_prepared_transactions = 2");
    planted::plant(&cluster, "shop");
    let connection = Connection {
        address: format!("postgres://postgres@127.0.0.1:{}/shop", cluster.port())
            .parse()
            .unwrap(),
        password: None,
        tls: Tls::default(),
    };

    let session = Session::open(&connection, None).await.unwrap();
    let inventory = Inventory::of(&session).await.unwrap();
    assert_eq!(inventory.database("shop").unwrap().owner, planted::OWNER);
    planted::assert_unharmed(&cluster, "the inventory");

    let shop = inventory.database("shop").unwrap();
    let path = default_search_path(&connection, "shop").await.unwrap();
    let nobody = Role::default();
    for selection in selections() {
        let asked = Asked {
            selection: &selection,
            database: shop,
            role: &inventory.role,
            standby: false,
            search_path: has_bare_patterns(&selection).then_some(&path),
        };
        let held = Held::take(&connection, "shop").await.unwrap();
        let described = held.describe(&asked).await.unwrap();
        let files = described.files(&selection);
        assert_eq!(
            held.exchanged(&files).await.unwrap(),
            Vec::<String>::new(),
            "{selection:?}"
        );
        assert_eq!(held.lockers().await.unwrap(), Vec::<String>::new());
        held.columns(&[shop.oid]).await.unwrap();
        let dependencies = held.dependencies().await.unwrap();
        let leaving = dependencies.leaving(&described.inside, &[]);
        let references = held.describe_references(&leaving).await.unwrap();
        assert_eq!(references.count, 0);
        // Whoever is no superuser is asked about his rights.
        let asked = Asked {
            role: &nobody,
            ..asked
        };
        held.describe(&asked).await.unwrap();
        held.release().await;
        let mut relations = described.relations(&selection, None);
        let orders = relations.iter_mut().find(|it| it.name == "orders");
        let orders = orders.unwrap();
        assert!(!orders.left_out, "{selection:?}");
        orders.rows = Some(100);
        for relation in &mut relations {
            relation.checksum = relation.rows.map(|_| Checksum {
                columns: Vec::new(),
                sum: String::new(),
            });
        }
        let expected = relations.iter();
        for content in [false, true] {
            let how = verify::Verify {
                encoding: "UTF8",
                extensions: &described.extensions,
                large_objects: Some(0),
                content,
                jobs: 2,
            };
            let verified = verify::verify(&connection, "shop", how, expected.clone()).await;
            let verified = verified.unwrap();
            // Nothing has an empty checksum.
            let read = if content { verified.tables } else { 0 };
            assert_eq!((verified.lost.len() as u64, verified.summed), (read, read));
        }
        let present = verify::present(&connection, "shop", expected)
            .await
            .unwrap();
        assert!(present.contains(&"\"public\".\"orders\"".to_owned()));
        planted::assert_unharmed(&cluster, &format!("holding and counting {selection:?}"));
    }
    verify::schemas(&connection, "shop").await.unwrap();

    create::roles(&session).await.unwrap();
    create::tablespaces(&session).await.unwrap();
    create::available_extensions(&session).await.unwrap();
    create::ties(&session, "shop").await.unwrap();
    create::unfinished(&session).await.unwrap();
    let properties = properties::of(&session, "shop").await.unwrap();
    let locale = &inventory.database("shop").unwrap().locale;
    let statement = create::statement("new", locale, None, None, session.version().major());
    create::create(&session, "new", &statement, "job")
        .await
        .unwrap();
    let roles = create::roles(&session).await.unwrap();
    let given = properties::give(&session, "new", &properties, &roles).await;
    assert_eq!(given.unwrap(), []);
    let refused = create::rename(&session, "new", "newer", Some("it's new")).await;
    assert!(refused.unwrap().is_none());
    create::finished(&session, "newer", None).await.unwrap();
    create::discard(&session, "newer").await.unwrap();
    create::analyze(&connection, "shop").await.unwrap().unwrap();
    planted::assert_unharmed(&cluster, "a restore");

    let facts = inspect(&session).await.unwrap();
    let options = StartOptions {
        label: "test".into(),
        slot: "test".into(),
        fast: true,
    };
    let running = RunningBackup::start(&session, &facts, &options)
        .await
        .unwrap();
    running.stop().await.unwrap();
    planted::assert_unharmed(&cluster, "a physical backup");

    server_facts(&session).await.unwrap();
    slot::create(&session, "log").await.unwrap();
    slot::advance(&session, "log").await.unwrap();
    assert!(slot::look(&session, "log").await.unwrap().is_some());
    slot::drop(&session, "log").await.unwrap();
    let mut replication = ReplicationSession::open(&connection).await.unwrap();
    replication.identify().await.unwrap();
    planted::assert_unharmed(&cluster, "streaming");
}

/// Everything, and patterns that are looked for along his path.
fn selections() -> [Selection; 4] {
    [
        Selection::default(),
        Selection {
            content: Content::Schema,
            ..Selection::default()
        },
        Selection {
            tables: vec!["orders".into()],
            ..Selection::default()
        },
        Selection {
            schemas: vec!["*".into()],
            exclude_tables: vec!["none".into(), "evil.none".into()],
            exclude_schemas: vec!["none".into()],
            ..Selection::default()
        },
    ]
}

/// What stands in the startup packet outranks what is set for a database.
#[tokio::test]
async fn an_owner_cannot_set_our_sessions_up() {
    let scratch = Scratch::new("hostile-settings");
    let cluster = Cluster::start(&scratch, "server");
    cluster.sql("CREATE ROLE mallory");
    cluster.sql("CREATE DATABASE shop OWNER mallory");
    for setting in [
        "search_path = public",
        "row_security = on",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "standard_conforming_strings = off",
    ] {
        cluster.sql(&format!(
            "SET SESSION AUTHORIZATION mallory; ALTER DATABASE shop SET {setting}"
        ));
    }
    let connection = Connection {
        address: format!("postgres://postgres@127.0.0.1:{}/shop", cluster.port())
            .parse()
            .unwrap(),
        password: None,
        tls: Tls::default(),
    };
    let session = Session::open(&connection, None).await.unwrap();
    let query = "SELECT pg_catalog.current_setting(name) FROM pg_catalog.unnest($1) AS name";
    let names = [
        "search_path",
        "row_security",
        "statement_timeout",
        "lock_timeout",
        "standard_conforming_strings",
        "restrict_nonsystem_relation_kind",
    ];
    let query = query.replace("$1", "$1::pg_catalog.text[]");
    let rows = session.query(&query, &[&&names[..]]).await.unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        found,
        [
            "pg_catalog, pg_temp",
            "off",
            "1min",
            "10s",
            "on",
            "view, foreign-table"
        ]
    );
    // Whoever restores a script gets what other clients get.
    let path = strongroom_postgres::connection::default_search_path(&connection, "shop").await;
    assert_eq!(path.unwrap(), "public");
    let session = Session::open_for_others(&connection, "shop").await.unwrap();
    let made = session.run_foreign("run", "CREATE TABLE t (); RESET ALL; DROP TABLE public.t");
    made.await.unwrap();
}

/// A table that became a view would run the view's functions as us.
#[tokio::test]
async fn nothing_is_counted_that_is_no_table_any_more() {
    let scratch = Scratch::new("hostile-view");
    let cluster = Cluster::start(&scratch, "server");
    let connection = Connection {
        address: cluster.url().parse().unwrap(),
        password: None,
        tls: Tls::default(),
    };
    cluster.sql("CREATE SCHEMA a; CREATE TABLE a.t AS SELECT 1 AS n");
    let session = Session::open(&connection, None).await.unwrap();
    let inventory = Inventory::of(&session).await.unwrap();
    let selection = Selection::default();
    let held = Held::take(&connection, "postgres").await.unwrap();
    let described = held
        .describe(&Asked {
            selection: &selection,
            database: inventory.database("postgres").unwrap(),
            role: &inventory.role,
            standby: false,
            search_path: None,
        })
        .await
        .unwrap();
    let files = described.files(&selection);
    cluster.sql("DROP TABLE a.t; CREATE VIEW a.t AS SELECT 1 AS n");
    let exchanged = held.exchanged(&files).await.unwrap();
    assert_eq!(exchanged, ["\"a\".\"t\""]);
    held.release().await;
    let mut relations = described.relations(&selection, None);
    relations[0].rows = Some(1);
    let how = verify::Verify {
        encoding: "UTF8",
        extensions: &described.extensions,
        large_objects: None,
        content: false,
        jobs: 1,
    };
    let verified = verify::verify(&connection, "postgres", how, relations.iter()).await;
    let lost = verified.unwrap().lost;
    assert!(lost[0].contains("is a View"), "{lost:?}");
}
