//! Stores that cannot be used: the message says which and what to do.

use serde_json::Value;
use strongroom_tests::{
    coordinator::{ExternalStore, Setup},
    operator::text,
    proxy::{Action, FaultProxy},
    tree::Tree,
};

use crate::world::{POLICY, World, assert_says};

/// Runs the policy, which must fail with a store error, and returns why.
fn failure(world: &World) -> String {
    Tree::small(1).write(&world.source);
    world
        .operator()
        .apply(&world.policy("limits = { attempts = 1 }"));
    let jobs = world.operator().json_with(1, &["run", POLICY, "--wait"]);
    let job: &Value = &jobs["jobs"][0];
    assert_eq!(job["failure"]["code"], "store", "{job:#}");
    text(&job["failure"]["message"])
}

#[test]
fn a_missing_bucket_is_named() {
    let world = World::with_store("no-bucket", |store| store.bucket = "no-such-bucket".into());
    assert_says(&failure(&world), &["no-such-bucket", "create"]);
}

#[test]
fn denied_access_is_told_from_a_wrong_secret_and_a_missing_store() {
    let world = World::with_store("denied", |store| {
        store.credentials.1 = "wrong secret".into();
    });
    assert_says(&failure(&world), &["primary", "access key", "secret"]);

    let world = World::behind_proxy("forbidden", Setup::default());
    world.proxy().rule(|seen| {
        seen.puts("data")
            .then_some(Action::Answer(403, "AccessDenied"))
    });
    assert_says(&failure(&world), &["access denied", "data/", "policy"]);
}

#[test]
fn a_store_that_is_not_there_is_named() {
    let world = World::with_store("no-store", |store| {
        store.endpoint = "http://127.0.0.1:9".into();
    });
    assert_says(&failure(&world), &["127.0.0.1:9"]);
}

#[test]
fn a_skewed_clock_is_named() {
    let world = World::behind_proxy("skewed", Setup::default());
    world
        .proxy()
        .rule(|_| Some(Action::Answer(403, "RequestTimeTooSkewed")));
    assert_says(&failure(&world), &["clock"]);
}

#[test]
fn the_coordinator_starts_although_its_store_is_away() {
    let scratch = strongroom_tests::scratch::Scratch::new("store-away");
    let proxy = FaultProxy::start("127.0.0.1:9".parse().expect("an address"));
    let setup = Setup {
        store: Some(ExternalStore {
            endpoint: proxy.endpoint(),
            bucket: "backups".into(),
            credentials: ("id".into(), "secret".into()),
        }),
        ..Setup::default()
    };
    let coordinator = setup.start(&scratch, "coordinator");
    coordinator.operator().json(&["status"]);
    // All that an operator has to compare stands in one line.
    let host = proxy.endpoint();
    let line = coordinator
        .program()
        .wait_for_line("a word of the store", |line| {
            line.contains("a store could not be checked")
        });
    assert_says(&line, &["primary", &host, "backups", "path style", "clock"]);
}
