use strongroom_tests::redis::{assert_same, contents, fill};

use super::*;
use crate::world::assert_says;

#[test]
fn a_live_server_holds_exactly_the_snapshot_afterwards() {
    let pair = Pair::new("redis-live");
    fill(&pair.source);
    let before = contents(&pair.source);
    let snapshot = pair.backup();
    // What happens later does not matter.
    pair.source.run(&["FLUSHALL"]);
    pair.target.run(&["SET", "old", "value"]);

    let plan = pair.restore(&snapshot, &["--dry-run"]);
    let planned = &plan["result"]["restore"];
    assert_eq!(planned["plan_count"], 3, "{plan:#}");
    assert_says(&notes(&plan), &["gives way", &pair.source.version()]);
    assert_eq!(pair.target.run(&["GET", "old"]).text(), "value");

    let job = pair.restore(&snapshot, &[]);
    assert_same(&before, &contents(&pair.target));
    assert_eq!(pair.target.info("role"), "master");
    assert_eq!(
        job["result"]["restore"]["files"],
        before.keys.len(),
        "{job:#}"
    );
    assert_says(&notes(&job), &["as the snapshot does", "primary again"]);
    // It keeps nothing on disk.
    let warnings = job["warnings"].as_array().expect("warnings");
    assert_eq!(warnings[0]["code"], "not-kept", "{job:#}");
    pair.world.restic().check();
    let log = pair.world.agent.program().log();
    assert!(!log.contains("more-secret"), "a password is in the log");
}

/// The user of the connection may also back up, for once.
#[test]
fn a_safety_backup_brings_back_what_a_restore_replaced() {
    let pair = Pair::new("redis-safety");
    pair.target
        .run(&["ACL", "SETUSER", "restore", "+replconf", "+psync"]);
    pair.source.run(&["SET", "new", "value"]);
    fill(&pair.target);
    let before = contents(&pair.target);
    let snapshot = pair.backup();
    let answer = pair.try_restore(&snapshot, &["--confirm", TARGET]);
    let jobs = answer.json()["jobs"].clone();
    let jobs = jobs.as_array().expect("jobs");
    assert_eq!(jobs.len(), 2, "{answer:#?}");
    assert_eq!(contents(&pair.target).keys.len(), 1);
    pair.restore(&snapshot_of(&jobs[0]), &[]);
    assert_same(&before, &contents(&pair.target));
}

#[test]
fn keys_that_match_come_back_beside_the_others() {
    let pair = Pair::new("redis-keys");
    fill(&pair.source);
    let wanted = contents(&pair.source);
    let snapshot = pair.backup();
    pair.target.run(&["SET", "mine", "value"]);
    pair.target.run(&["SET", "hash:small", "not a hash"]);

    let keys = ["--key", "hash:*", "--key", "stream:[a-f]*"];
    let plan = pair.restore(&snapshot, &[&keys[..], &["--dry-run"]].concat());
    let expected = wanted.clone().beginning("hash:").keys.len()
        + wanted.clone().beginning("stream:e").keys.len();
    assert_eq!(plan["result"]["restore"]["files"], expected, "{plan:#}");
    assert_eq!(contents(&pair.target).keys.len(), 2);

    let job = pair.restore(&snapshot, &keys);
    assert_eq!(job["result"]["restore"]["files"], expected, "{job:#}");
    let mut now = contents(&pair.target);
    now.functions.clone_from(&wanted.functions);
    assert_eq!(now.keys.len(), expected + 1);
    for prefix in ["hash:", "stream:e"] {
        let wanted = wanted.clone().beginning(prefix);
        assert_same(&wanted, &now.clone().beginning(prefix));
    }
    assert_eq!(pair.target.run(&["GET", "mine"]).text(), "value");
}
