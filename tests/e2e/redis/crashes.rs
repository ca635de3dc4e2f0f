//! What is killed in the middle.

use strongroom_tests::{
    operator::eventually,
    redis::{assert_same, contents},
};

use super::*;
use crate::world::assert_says;

/// Megabytes that do not compress.
fn noise(server: &Server) {
    let mut state = 1_u64;
    let mut client = server.client();
    for key in 0..32 {
        let words = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            (state >> 16).to_le_bytes()
        });
        let value: Vec<u8> = words.flatten().take(1 << 20).collect();
        let key = format!("noise:{key}");
        client.run(&[&b"SET"[..], key.as_bytes(), &value]);
    }
}

/// The agent reads so slowly that the transfer cannot be over.
#[test]
fn a_server_that_dies_during_its_backup_fails_it() {
    let mut pair = Pair::with("redis-dies", "", "", "[limits]\nread = \"64KiB/s\"");
    noise(&pair.source);
    let job = pair.world.operator().start(SOURCE);
    eventually("a transfer", || {
        (pair.source.info("connected_slaves") == "1").then_some(())
    });
    pair.source.kill();
    let (code, message) = failure(&pair.world.operator().wait_for_end(&job));
    assert_eq!(code, "source");
    assert_says(&message, &[SOURCE, &pair.source.url()]);
    let snapshots = pair.world.operator().json(&["snapshots", "list"]);
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(0));
    // It can be backed up once it is back.
    pair.source.start_again();
    pair.source.run(&["SET", "a", "b"]);
    pair.backup();
}

/// The agent fetches so slowly that the restore cannot be over.
#[test]
fn an_agent_that_is_killed_during_a_restore_lets_go_of_the_server_later() {
    let mut pair = Pair::with("redis-killed", "", "", "[limits]\ndownload = \"64KiB/s\"");
    noise(&pair.source);
    let snapshot = pair.backup();
    pair.target.run(&["SET", "old", "value"]);
    let before = contents(&pair.target);
    let started = pair.world.operator().json(&[
        "restore",
        &snapshot,
        "--agent",
        AGENT,
        "--redis",
        TARGET,
        "--confirm",
        TARGET,
        "--no-safety-backup",
    ]);
    let job = text(&started["id"]);
    eventually("the target's consent to follow", || {
        (pair.target.info("role") == "slave").then_some(())
    });
    pair.world.agent.kill();
    // It still waits for its primary, with what it had.
    assert_eq!(pair.target.info("role"), "slave");
    assert_same(&before, &contents(&pair.target));
    pair.world.agent.start();
    eventually("the target's release", || {
        (pair.target.info("role") == "master").then_some(())
    });
    pair.world.operator().wait_for_end(&job);
    assert_eq!(pair.target.info("role"), "master");
    assert_same(&before, &contents(&pair.target));
    pair.target.run(&["SET", "new", "value"]);
}

#[test]
fn a_cancelled_restore_leaves_a_primary_with_what_it_had() {
    let pair = Pair::with(
        "redis-cancelled",
        "",
        "",
        "[limits]\ndownload = \"64KiB/s\"",
    );
    noise(&pair.source);
    let snapshot = pair.backup();
    pair.target.run(&["SET", "old", "value"]);
    let before = contents(&pair.target);
    let started = pair.world.operator().json(&[
        "restore",
        &snapshot,
        "--agent",
        AGENT,
        "--redis",
        TARGET,
        "--confirm",
        TARGET,
        "--no-safety-backup",
    ]);
    let job = text(&started["id"]);
    eventually("the target's consent to follow", || {
        (pair.target.info("role") == "slave").then_some(())
    });
    pair.world.operator().json(&["jobs", "cancel", &job]);
    let ended = pair.world.operator().wait_for_end(&job);
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    eventually("the target's release", || {
        (pair.target.info("role") == "master").then_some(())
    });
    assert_same(&before, &contents(&pair.target));
}
