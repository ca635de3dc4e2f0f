//! An agent looks at a database whose owner has planted twins of all that
//! `pg_catalog` has: he must not become a superuser by it.

use strongroom_tests::{
    cluster::{Cluster, sql},
    operator::eventually,
    planted,
    scratch::Scratch,
};

use crate::{
    postgres_physical::site::Site,
    world::{AGENT, POLICY, snapshot_of},
};

/// The database, which is also the one where the agent asks for everything.
const DATABASE: &str = "shop";

#[test]
fn no_work_of_an_agent_makes_a_databases_owner_a_superuser() {
    let scratch = Scratch::new("hostile-owner");
    let cluster = Cluster::start(&scratch, "server");
    planted::plant(&cluster, DATABASE);
    let port = cluster.port();
    let connection = format!(
        "[postgres.his]\nurl = 'postgres://postgres@127.0.0.1:{port}/{DATABASE}'\n\
         allow_restore = true\n"
    );
    let site = Site::of("hostile-owner-site", scratch, cluster, |agent| {
        agent.extra(&connection)
    });
    let operator = site.world.operator();
    eventually("an inventory", || {
        let shown = operator.json(&["agents", "show", AGENT]).to_string();
        shown.contains(&format!("{DATABASE:?}")).then_some(())
    });
    planted::assert_unharmed(&site.cluster, "the inventory");

    // Logical, with patterns that are looked for along his search path.
    for (name, more) in [
        ("all", "globals = true"),
        ("schema", "content = \"schema\""),
        ("data", "content = \"data\"\nschemas = [\"public\"]"),
        (
            "tables",
            "tables = [\"orders\"]\nexclude_tables = [\"none\"]",
        ),
    ] {
        operator.apply(&format!(
            "[[policy]]\nname = \"{name}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             store = \"primary\"\nlimits = {{ attempts = 1 }}\n\
             accept = [\"reference-left-out\"]\n\
             [policy.source.postgres]\nconnection = \"his\"\nmethod = \"logical\"\n\
             databases = [\"{DATABASE}\"]\n{more}\n"
        ));
        let snapshot = snapshot_of(&operator.backup(name));
        planted::assert_unharmed(&site.cluster, &format!("the backup {name}"));
        if name == "all" {
            restore(&site, &snapshot, &["--as", "copy"]);
            restore(&site, &snapshot, &["--replace", "--confirm", DATABASE]);
            planted::assert_unharmed(&site.cluster, "databases of his, made again");
        }
        if name == "tables" {
            sql(port, DATABASE, "DROP TABLE public.orders");
            restore(&site, &snapshot, &["--table", "public.orders"]);
            planted::assert_unharmed(&site.cluster, "a table into his database");
        }
    }

    // The cluster, and its log.
    operator.apply(&format!(
        "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         store = \"primary\"\nlimits = {{ attempts = 1 }}\nwal = {{ flush = '1s' }}\n\
         [policy.source.postgres]\nconnection = \"his\"\nmethod = \"physical\"\n\
         fast_checkpoint = true\n"
    ));
    site.archiving_job();
    site.backup();
    site.wait_for_archive();
    planted::assert_unharmed(&site.cluster, "a cluster and its log");
}

fn restore(site: &Site, snapshot: &str, more: &[&str]) {
    let restore = [
        "restore",
        snapshot,
        "--agent",
        AGENT,
        "--postgres",
        "his",
        "--database",
        DATABASE,
        "--wait",
    ];
    let answer = site.world.operator().run([&restore, more].concat());
    assert_eq!(answer.code, 0, "{more:?}: {answer:#?}");
}
