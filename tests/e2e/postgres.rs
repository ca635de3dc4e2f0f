//! The whole of it with the catalog in PostgreSQL.

use strongroom_tests::{coordinator::Setup, postgres::Database, tree::Tree};

use crate::world::{POLICY, World, snapshot_of};

fn setup(database: &Database) -> Setup {
    Setup {
        catalog: Some(database.url().to_owned()),
        lease_seconds: 60,
        ..Setup::default()
    }
}

#[test]
fn back_up_restart_and_restore_with_a_postgres_catalog() {
    let database = Database::create();
    let mut world = World::with("postgres", setup(&database));
    world.fill(&Tree {
        small_files: 300,
        ..Tree::full(1)
    });
    let snapshot = world.backup();
    world.coordinator.stop();
    world.coordinator.start_again();
    world.prove(&snapshot, "all");
    let second = world.operator().backup(POLICY);
    assert_eq!(second["result"]["backup"]["bytes_read"], 0, "{second:#}");
    assert!(!world.operator().audit("policy").is_empty());
}

#[test]
fn a_coordinator_killed_mid_backup_goes_on_with_a_postgres_catalog() {
    let database = Database::create();
    let mut world = World::behind_proxy("postgres-killed", setup(&database));
    world.fill(&Tree::small(2));
    let gate = world.proxy().hold(1, |seen| seen.puts("data"));
    let job = world.operator().start(POLICY);
    gate.wait_until_reached();
    world.coordinator.kill();
    gate.open();
    world.coordinator.start_again();
    let job = world.operator().wait_for_end(&job);
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job:#}");
    world.prove(&snapshot_of(&job), "all");
}

#[test]
fn a_catalog_that_cannot_be_reached_is_named_without_its_password() {
    let scratch = strongroom_tests::scratch::Scratch::new("postgres-away");
    let setup = Setup {
        catalog: Some("postgres://strongroom:hush-hush@127.0.0.1:1/none".into()),
        ..Setup::default()
    };
    let mut program = setup.prepare(&scratch, "coordinator").spawn();
    assert!(!program.wait(strongroom_tests::program::PATIENCE).success());
    crate::world::assert_says(&program.log(), &["catalog", "127.0.0.1:1"]);
    assert!(
        !program.log().contains("hush-hush"),
        "the password is in the log"
    );
}
