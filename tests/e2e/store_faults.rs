//! An S3 service that fails now and then, as they do.

use std::collections::BTreeSet;

use strongroom_tests::{
    coordinator::Setup,
    proxy::{Action, Chaos},
    tree::Tree,
};

use crate::world::{POLICY, World, snapshot_of};

#[test]
fn one_request_in_ten_fails_and_backup_and_restore_succeed() {
    let world = World::behind_proxy("chaos", Setup::default());
    let chaos = Chaos::new(7, 0.1);
    world.proxy().rule(move |seen| chaos.strike(seen));
    world.fill(&Tree {
        small_files: 500,
        ..Tree::full(1)
    });
    let mut last = String::new();
    for change in 0..3 {
        std::fs::write(world.source.join("changing"), format!("{change}")).expect("a file");
        last = snapshot_of(&world.operator().backup(POLICY));
    }
    world.prove(&last, "all");
    let log = world.proxy().log();
    let struck = log.iter().filter(|(_, action)| action.is_some()).count();
    println!("{struck} of {} requests were struck", log.len());
    assert!(struck > 3, "{struck} of {} requests were struck", log.len());
    world.restic().check();
}

const DIRECTORIES: [&str; 6] = ["config", "keys", "data", "index", "snapshots", "locks"];

/// Backs up and restores while the first request of each verb to each of the
/// directories meets a fault.
fn survives(name: &str, directories: &'static [&str], fault: Action) {
    let world = World::behind_proxy(name, Setup::default());
    let struck = parking_lot::Mutex::new(BTreeSet::new());
    world.proxy().rule(move |seen| {
        let mut parts = seen.path.split('/');
        let directory = parts.find(|part| directories.contains(part))?;
        let kind = (seen.method.clone(), directory.to_owned());
        struck.lock().insert(kind).then(|| fault.clone())
    });
    world.fill(&Tree::small(2));
    let job = world.operator().backup(POLICY);
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job:#}");
    world.prove(&snapshot_of(&job), "all");
    world.restic().check();
    let log = world.proxy().log();
    let struck = log.iter().filter(|(_, action)| action.is_some()).count();
    // Every directory is written to, and data are read at least.
    assert!(
        struck > directories.len(),
        "only {struck} requests were struck"
    );
}

#[test]
fn internal_errors_are_survived() {
    survives("500", &DIRECTORIES, Action::Answer(500, "InternalError"));
}

#[test]
fn slow_down_is_survived() {
    survives("503", &DIRECTORIES, Action::Answer(503, "SlowDown"));
}

#[test]
fn connections_reset_in_the_request_are_survived() {
    survives("reset-request", &DIRECTORIES, Action::ResetRequest(1));
}

#[test]
fn connections_reset_in_the_answer_are_survived() {
    survives("reset-answer", &DIRECTORIES, Action::ResetAnswer(3));
}

#[test]
fn lost_answers_are_survived() {
    survives("lost", &DIRECTORIES, Action::LoseAnswer);
}

#[test]
fn stalls_are_survived() {
    // Each takes as long as the agent's patience: only where most bytes go.
    survives("stall", &["data"], Action::Stall);
}
