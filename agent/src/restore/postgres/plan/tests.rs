use strongroom_layout::ObjectId;
use strongroom_postgres::{
    inventory::{Database, Locale, Role},
    logical::manifest::{Extension, FORMAT, KIND, Properties, SCRIPT_KIND, Selection},
    version::ServerVersion,
};

use super::*;

fn locale() -> Locale {
    Locale {
        encoding: "UTF8".into(),
        collate: "C".into(),
        ctype: "C".into(),
        provider: "libc".into(),
        name: None,
        icu_rules: None,
    }
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        kind: KIND.into(),
        connection: "c".into(),
        server_version: "15.1".into(),
        server_major: 15,
        system_identifier: None,
        standby: false,
        pg_dump_version: "15.1".into(),
        pg_dump_major: 15,
        started: String::new(),
        finished: String::new(),
        selection: Selection::default(),
        globals: None,
        globals_missing: None,
        foreign: false,
        databases: vec![DumpedDatabase {
            name: "orders".into(),
            path: "/databases/orders.dump".into(),
            bytes: 1 << 30,
            size_on_server: None,
            locale: locale(),
            properties: Properties {
                owner: "app".into(),
                connection_limit: -1,
                comment: None,
                settings: vec![],
                privileges: None,
                tablespace: Some("fast".into()),
                template: false,
            },
            seconds: 1.0,
            extensions: vec![Extension {
                name: "citext".into(),
                version: "1".into(),
            }],
            schemas: vec![],
            roles: vec!["app".into()],
            tablespaces: vec![],
            relations: vec![],
            large_objects: 0,
        }],
        missing: vec![],
    }
}

fn facts() -> Facts {
    Facts {
        inventory: Inventory {
            version: ServerVersion(150_001),
            system_identifier: None,
            standby: false,
            wal_level: "replica".into(),
            role: Role::default(),
            databases: vec![Database {
                oid: 1,
                name: "orders".into(),
                owner: "app".into(),
                size: None,
                connectable: true,
                permitted: true,
                connection_limit: -1,
                template: false,
                locale: locale(),
            }],
        },
        roles: vec!["app".into()],
        tablespaces: vec!["pg_default".into()],
        extensions: vec!["citext".into()],
        ties: Ties::default(),
        unfinished: vec![],
        new_roles: vec![],
        scratch: u64::MAX,
    }
}

pub(crate) fn work(to: &str, replace: bool) -> RestoreSpec<PostgresTarget> {
    RestoreSpec::new(
        ObjectId([0; 32]),
        PostgresTarget {
            connection: "c".into(),
            database: "orders".into(),
            to: Some(to.into()),
            replace,
            ..PostgresTarget::default()
        },
    )
}

fn planned(
    work: &RestoreSpec<PostgresTarget>,
    manifest: &Manifest,
    facts: &Facts,
) -> Result<Plan, Refusal> {
    let now = "2026-11-20T12:03:07Z".parse().unwrap();
    plan(
        work,
        manifest,
        &manifest.databases[0],
        facts,
        "0a1b2c3d",
        4,
        now,
    )
}

#[test]
fn names_of_what_is_made_and_what_gives_way() {
    let new = planned(&work("copy", false), &manifest(), &facts()).unwrap();
    assert_eq!(
        (new.way, new.fill.as_str()),
        (Way::New, "copy_strongroom_0a1b2c3d")
    );
    assert_eq!((new.jobs, new.owner.as_deref()), (4, Some("app")));
    assert_eq!(new.tablespace, None);
    let replace = planned(&work("orders", true), &manifest(), &facts()).unwrap();
    let aside = "orders_before_20261120_120307".to_owned();
    assert_eq!(replace.way, Way::Replace { aside });
    let absent = planned(&work("copy", true), &manifest(), &facts()).unwrap();
    assert_eq!(absent.way, Way::New);
}

#[test]
fn refusals_say_what_to_do() {
    let narrow = |replace| RestoreSpec {
        target: PostgresTarget {
            tables: vec!["t".into()],
            ..work("orders", replace).target
        },
        ..work("orders", replace)
    };
    let data = Manifest {
        selection: Selection {
            content: Content::Data,
            ..Selection::default()
        },
        ..manifest()
    };
    let script = Manifest {
        kind: SCRIPT_KIND.into(),
        ..manifest()
    };
    let standby = {
        let mut facts = facts();
        facts.inventory.standby = true;
        facts
    };
    let bare = Facts {
        extensions: vec![],
        ..facts()
    };
    let prepared = Facts {
        ties: Ties {
            prepared: 2,
            ..Ties::default()
        },
        ..facts()
    };
    for (work, manifest, facts, wanted) in [
        (work("", false), manifest(), facts(), "1 to 63 bytes"),
        (
            work(&"x".repeat(64), false),
            manifest(),
            facts(),
            "1 to 63 bytes",
        ),
        (work("template1", true), manifest(), facts(), "server's own"),
        (
            work("orders", false),
            manifest(),
            facts(),
            "--replace --confirm orders",
        ),
        (narrow(true), manifest(), facts(), "cannot replace a whole"),
        (work("copy", false), data, facts(), "without --replace"),
        (narrow(false), script, facts(), "new database with --as"),
        (work("copy", false), manifest(), standby, "standby"),
        (work("copy", false), manifest(), bare, "citext"),
        (work("orders", true), manifest(), prepared, "PREPARED"),
    ] {
        let error = planned(&work, &manifest, &facts).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let into = planned(&narrow(false), &manifest(), &facts()).unwrap();
    assert_eq!((into.way, into.jobs), (Way::Into, 1));
}

#[test]
fn what_will_surprise_is_said() {
    let facts = Facts {
        roles: vec![],
        ties: Ties {
            connections: 3,
            slots: vec!["cdc".into()],
            ..Ties::default()
        },
        unfinished: vec![
            ("orders_strongroom_ffffffff".into(), "ffffffff".into()),
            ("orders_strongroom_0a1b2c3d".into(), "0a1b2c3d".into()),
        ],
        scratch: 1 << 30,
        ..facts()
    };
    let plan = planned(&work("orders", true), &manifest(), &facts).unwrap();
    assert!(plan.without_roles && plan.lacks_roles && plan.owner.is_none());
    assert_eq!(plan.stale, ["orders_strongroom_0a1b2c3d"]);
    assert_eq!(plan.jobs, 1);
    let notes = plan.notes.join("\n");
    for wanted in ["\"app\"", "3 connections", "cdc", "ffffffff"] {
        assert!(notes.contains(wanted), "{notes}");
    }
}
