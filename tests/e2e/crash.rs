//! Programs killed and connections cut in the middle of a backup.

use std::fs;

use strongroom_tests::{
    coordinator::Setup,
    operator::{eventually, text},
    tree::Tree,
};

use crate::world::{POLICY, World, snapshot_of};

/// A world whose first data pack hangs at the store until the gate opens.
fn held(name: &str, setup: Setup) -> (World, strongroom_tests::proxy::Gate, String) {
    let world = World::behind_proxy(name, setup);
    world.fill(&Tree {
        small_files: 300,
        ..Tree::full(1)
    });
    let gate = world.proxy().hold(1, |seen| seen.puts("data"));
    let job = world.operator().start(POLICY);
    gate.wait_until_reached();
    (world, gate, job)
}

fn attempts(job: &serde_json::Value) -> usize {
    job["attempts"].as_array().expect("attempts").len()
}

#[test]
fn a_killed_agent_comes_back_and_the_job_is_tried_again() {
    let (mut world, gate, job) = held("agent-killed", Setup::default());
    world.agent.kill();
    gate.open();
    world.agent.start();
    let job = world.operator().wait_for_end(&job);
    let snapshot = snapshot_of(&job);
    assert_eq!(attempts(&job), 2, "{job:#}");
    assert_eq!(job["attempts"][0]["failure"]["code"], "fenced", "{job:#}");
    world.prove(&snapshot, "all");
    world.restic().check();
}

#[test]
fn an_agent_that_stays_away_loses_its_lease() {
    let setup = Setup {
        lease_seconds: 3,
        ..Setup::default()
    };
    let (mut world, gate, job) = held("agent-away", setup);
    world.agent.kill();
    gate.open();
    // Nobody tells the coordinator but the clock.
    let waiting = eventually("the lease's end", || {
        let job = world.operator().job(&job);
        (job["state"] == "pending").then_some(job)
    });
    assert_eq!(
        waiting["attempts"][0]["failure"]["code"], "fenced",
        "{waiting:#}"
    );
    world.agent.start();
    let job = world.operator().wait_for_end(&job);
    world.prove(&snapshot_of(&job), "all");
}

#[test]
fn a_killed_coordinator_comes_back_and_the_running_backup_ends_well() {
    let setup = Setup {
        lease_seconds: 60,
        ..Setup::default()
    };
    let (mut world, gate, job) = held("coordinator-killed", setup);
    world.coordinator.kill();
    // The agent goes on: its upload ends while nobody listens.
    gate.open();
    world.coordinator.start_again();
    let job = world.operator().wait_for_end(&job);
    let snapshot = snapshot_of(&job);
    assert_eq!(attempts(&job), 1, "the same attempt goes on: {job:#}");
    world.prove(&snapshot, "all");
    world.restic().check();
}

#[test]
fn a_stopped_coordinator_leaves_the_running_backup_alone_too() {
    let setup = Setup {
        lease_seconds: 60,
        ..Setup::default()
    };
    let (mut world, gate, job) = held("coordinator-stopped", setup);
    world.coordinator.stop();
    gate.open();
    world.coordinator.start_again();
    let job = world.operator().wait_for_end(&job);
    assert_eq!(attempts(&job), 1, "{job:#}");
    world.prove(&snapshot_of(&job), "all");
}

#[test]
fn a_stopped_agent_gives_its_job_back() {
    let (mut world, gate, job) = held("agent-stopped", Setup::default());
    // The held request must not keep the agent from ending.
    world.agent.stop();
    gate.open();
    world.agent.start();
    let job = world.operator().wait_for_end(&job);
    world.prove(&snapshot_of(&job), "all");
}

#[test]
fn a_finished_job_is_reported_after_the_coordinator_was_away() {
    let setup = Setup {
        lease_seconds: 60,
        ..Setup::default()
    };
    let world = World::behind_proxy("outbox", setup);
    world.fill(&Tree::small(2));
    // The snapshot's PUT is the last step: its answer comes when the
    // coordinator is gone, so that the report must wait in the outbox.
    let gate = world.proxy().hold(1, |seen| seen.puts("snapshots"));
    let job = world.operator().start(POLICY);
    gate.wait_until_reached();
    let mut world = world;
    world.coordinator.kill();
    gate.open();
    let outbox = world.agent.state().join("outbox");
    eventually("a report in the outbox", || {
        let mut found = fs::read_dir(&outbox).ok()?.flatten();
        // Under another name it is still being written.
        found.find(|entry| entry.path().extension().is_some_and(|it| it == "json"))
    });
    // Even the agent may be killed now: the report is on its disk.
    world.agent.kill();
    world.coordinator.start_again();
    world.agent.start();
    let job = world.operator().wait_for_end(&job);
    assert_eq!(attempts(&job), 1, "{job:#}");
    let snapshot = snapshot_of(&job);
    let listed = world.operator().json(&["snapshots", "list"]);
    assert_eq!(text(&listed["snapshots"][0]["id"]), snapshot);
    world.prove(&snapshot, "all");
    eventually("an empty outbox", || {
        let left = fs::read_dir(&outbox).ok()?.count();
        (left == 0).then_some(())
    });
}
