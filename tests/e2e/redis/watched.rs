//! Servers that replicas follow and Sentinels watch, and that crash.

use strongroom_tests::redis::{Sentinel, assert_same, contents, fill};

use super::*;
use crate::world::assert_says;

#[test]
fn a_server_that_a_sentinel_watches_is_not_restored_into() {
    let pair = Pair::new("redis-watched");
    pair.source.run(&["SET", "new", "value"]);
    pair.target.run(&["SET", "old", "value"]);
    let snapshot = pair.backup();
    let scratch = Scratch::new("watch");
    let _sentinel = Sentinel::watch(&scratch, &pair.target);

    let says = ["a Sentinel", "promotes a replica", "--allow-replicas"];
    for more in [&[][..], &["--dry-run"]] {
        let (code, message) = pair.restore_fails(&snapshot, more);
        assert_eq!(code, "target");
        assert_says(&message, &says);
    }
    assert_eq!(pair.target.run(&["GET", "old"]).text(), "value");
    assert_eq!(pair.target.info("role"), "master");

    // What it would be in for is said before.
    let plan = pair.restore(&snapshot, &["--dry-run", "--allow-replicas"]);
    assert_says(&notes(&plan), &["a Sentinel", "promotes a replica"]);
    // Single keys go the way of all writes.
    pair.restore(&snapshot, &["--key", "new"]);
    assert_eq!(pair.target.run(&["GET", "new"]).text(), "value");
}

#[test]
fn replicas_of_a_target_fetch_the_snapshot_when_they_are_allowed() {
    let pair = Pair::new("redis-followed");
    fill(&pair.source);
    let snapshot = pair.backup();
    let scratch = Scratch::new("replica");
    let replica = Server::start(&scratch, "replica");
    pair.target.run(&["SET", "old", "value"]);
    replica.follow(&pair.target);
    let (_, message) = pair.restore_fails(&snapshot, &[]);
    assert_says(&message, &["the replica 127.0.0.1:", "--allow-replicas"]);
    pair.restore(&snapshot, &["--allow-replicas"]);
    strongroom_tests::operator::eventually("the replica's new data", || {
        (contents(&replica) == contents(&pair.source)).then_some(())
    });
}

#[test]
fn a_server_that_is_killed_right_behind_its_restore_holds_the_snapshot() {
    let mut pair = Pair::with("redis-kept", "", "appendonly yes\n", "");
    fill(&pair.source);
    let before = contents(&pair.source);
    let snapshot = pair.backup();
    pair.target.run(&["SET", "old", "value"]);
    pair.target
        .run(&["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
    let job = pair.restore(&snapshot, &[]);
    pair.target.kill();
    assert_says(&notes(&job), &["written anew"]);
    assert_eq!(job["warnings"].as_array().map(Vec::len), Some(0), "{job:#}");
    pair.target.start_again();
    assert_same(&before, &contents(&pair.target));
}
