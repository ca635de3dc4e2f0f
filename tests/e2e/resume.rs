//! A first backup that is interrupted goes on where it was: what was stored
//! is not sent twice.

use std::fs;

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use strongroom_tests::{coordinator::Setup, proxy::Gate};

use crate::world::{POLICY, World, snapshot_of};

const MIB: u64 = 1 << 20;
/// Incompressible.
const SOURCE: u64 = 80 * MIB;
/// Sent when the interruption comes …
const BEFORE: u64 = 56 * MIB;
/// … and no more than this was under way: what a job may hold in memory.
const MEMORY: u64 = 40 * MIB;

/// A first backup of which much is stored, while the rest hangs at the store.
fn halfway(name: &str) -> (World, Gate, String) {
    let world = World::behind_proxy_with_agent(name, Setup::default(), |agent| {
        agent.extra("[limits]\nmemory = \"40MiB\"\n")
    });
    let mut random = StdRng::seed_from_u64(7);
    for number in 0..4 {
        let mut bytes = vec![0; (SOURCE / 4) as usize];
        random.fill(&mut bytes[..]);
        fs::write(world.source.join(format!("file-{number}")), bytes).expect("a file");
    }
    world.operator().apply(&world.policy(""));
    let sent = Mutex::new(0);
    let gate = world.proxy().hold_all(move |seen| {
        let mut sent = sent.lock();
        let hold = seen.puts("data") && *sent >= BEFORE;
        *sent += if seen.puts("data") { seen.length } else { 0 };
        hold
    });
    let job = world.operator().start(POLICY);
    gate.wait_until_reached();
    (world, gate, job)
}

/// Everything that was ever sent to `data/`, twice or not.
fn sent(world: &World) -> u64 {
    let seen = world.proxy().seen(|seen| seen.puts("data"));
    seen.iter().map(|seen| seen.length).sum()
}

fn assert_little_was_sent_twice(world: &World) {
    let sent = sent(world);
    assert!(
        (SOURCE..SOURCE + MEMORY).contains(&sent),
        "{} MiB were sent for {} MiB",
        sent / MIB,
        SOURCE / MIB
    );
    world.restic().check();
}

#[test]
fn a_killed_first_backup_sends_nothing_twice_that_was_stored() {
    let (mut world, gate, job) = halfway("resume-killed");
    world.agent.kill();
    world.proxy().clear();
    gate.open();
    world.agent.start();
    let job = world.operator().wait_for_end(&job);
    let snapshot = snapshot_of(&job);
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(2), "{job:#}");
    assert_little_was_sent_twice(&world);
    world.prove(&snapshot, "all");
}

#[test]
fn a_run_after_a_cancelled_one_sends_nothing_twice_that_was_stored() {
    let (world, gate, job) = halfway("resume-cancelled");
    world.operator().json(&["jobs", "cancel", &job]);
    let ended = world.operator().wait_for_end(&job);
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    world.proxy().clear();
    gate.open();
    let snapshot = world.backup();
    assert_little_was_sent_twice(&world);
    world.prove(&snapshot, "all");
}
