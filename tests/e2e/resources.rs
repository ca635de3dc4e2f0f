//! Memory and start-up time: printed, and held to generous limits.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use strongroom_tests::{
    agent::Agent,
    coordinator::{Coordinator, Setup},
    operator::eventually,
    proxy::{Action, Throttle},
    scratch::Scratch,
};

use crate::world::{AGENT, World, snapshot_of};

const MIB: u64 = 1 << 20;

#[test]
fn idle_programs_are_small_and_start_quickly() {
    let scratch = Scratch::new("idle");
    let begin = Instant::now();
    let coordinator = Coordinator::start(&scratch);
    let coordinator_start = begin.elapsed();
    let mut agent = Agent::prepare(&scratch, "idle").allow(&scratch, &scratch);
    agent.enroll(coordinator.agents_address(), &coordinator.invite("idle"));
    let begin = Instant::now();
    agent.start();
    let agent_start = begin.elapsed();
    eventually("a session", || {
        let shown = coordinator.operator().json(&["agents", "show", "idle"]);
        (shown["state"] == "connected").then_some(())
    });
    let idle = |program: &strongroom_tests::program::Program| program.memory("VmRSS") / MIB;
    println!(
        "idle: coordinator {} MiB, up in {coordinator_start:?}; agent {} MiB, connected in {agent_start:?}",
        idle(coordinator.program()),
        idle(agent.program()),
    );
    // The release build's figures stand in the README; a debug build on a
    // busy machine must only not be absurd.
    assert!(coordinator_start < Duration::from_secs(30) && agent_start < Duration::from_secs(30));
}

#[test]
fn a_large_input_does_not_grow_the_agent() {
    let scratch = Scratch::new("large");
    let coordinator = Coordinator::start(&scratch);
    // Five GiB that compress well and repeat nowhere: numbered lines.
    let script = "seq 1 600000000 | head -c 5368709120";
    let mut agent = Agent::prepare(&scratch, "big")
        .allow(&scratch, &scratch)
        .extra(&format!(
            // It competes with the other tests, not with a database.
            "[limits]\nnice = 0\n\n[commands.stream]\nargv = [\"sh\", \"-c\", \"{script}\"]\n"
        ));
    agent.enroll(coordinator.agents_address(), &coordinator.invite("big"));
    agent.start();
    coordinator.operator().apply(
        "[[policy]]\nname = \"stream\"\nagents = { names = [\"big\"] }\n\
         source = { command = { name = \"stream\" } }\nstore = \"primary\"\n",
    );
    let id = coordinator.operator().start("stream");
    let job = strongroom_tests::operator::eventually_within(
        Duration::from_mins(15),
        "the end of a large backup",
        || {
            let job = coordinator.operator().job(&id);
            (!job["finished_at"].is_null()).then_some(job)
        },
    );
    snapshot_of(&job);
    assert_eq!(
        job["result"]["backup"]["bytes_read"],
        5_u64 << 30,
        "{job:#}"
    );
    let peak = agent.program().memory("VmHWM") / MIB;
    println!("peak memory of the agent on 5 GiB: {peak} MiB");
    assert!(peak < 256, "the agent's peak is {peak} MiB");
    let reported = job["peak_resident_bytes"].as_u64().expect("a figure");
    assert!(
        reported > MIB && reported / MIB <= peak,
        "reported {reported}, peak {peak} MiB"
    );
}

/// The store takes 1 MiB/s, the source gives hundreds: what does not fit the
/// budget stays in the source.
#[test]
fn memory_stays_within_its_budget_under_a_slow_store() {
    const BUDGET: u64 = 64 * MIB;
    let world = World::behind_proxy_with_agent("slow-store", Setup::default(), |agent| {
        agent.extra(
            "[limits]\nmemory = \"64MiB\"\n\n\
             [commands.noise]\nargv = [\"head\", \"-c\", \"1073741824\", \"/dev/urandom\"]\n",
        )
    });
    let throttle = Throttle::new(NonZeroU64::new(MIB).expect("not zero"));
    let slow = throttle.clone();
    world
        .proxy()
        .rule(move |seen| seen.puts("data").then(|| Action::Slow(slow.clone())));
    let idle = world.agent.program().memory("VmRSS");
    world.operator().apply(&format!(
        "[[policy]]\nname = \"noise\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ command = {{ name = \"noise\" }} }}\nstore = \"primary\"\n"
    ));
    let job = world.operator().start("noise");

    // Long enough to read it all, were it not for the budget.
    throttle.wait_until_passed(6 * MIB);
    let read = eventually("reading that stands still", || {
        let read = || world.operator().job(&job)["progress"]["bytes"].as_u64();
        let (before, passed) = (read()?, throttle.passed());
        throttle.wait_until_passed(passed + 3 * MIB / 2);
        read().filter(|now| *now > 0 && *now <= before + 4 * MIB)
    });
    let passed = throttle.passed();
    let peak = world.agent.program().memory("VmHWM");
    println!(
        "slow store: {} MiB read, {} MiB stored, peak {} MiB, idle {} MiB",
        read / MIB,
        passed / MIB,
        peak / MIB,
        idle / MIB
    );
    assert!(
        read <= passed + BUDGET,
        "{read} bytes are read and {passed} stored: the rest is beyond the budget"
    );
    assert!(
        peak <= idle + BUDGET + 16 * MIB,
        "the peak is {} MiB, {} MiB when idle",
        peak / MIB,
        idle / MIB
    );
    world.operator().json(&["jobs", "cancel", &job]);
    let ended = world.operator().wait_for_end(&job);
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
}
