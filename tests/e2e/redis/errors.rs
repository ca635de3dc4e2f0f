use super::*;
use crate::{leaks, world::assert_says};

#[test]
fn a_backup_that_cannot_be_made_says_why_and_leaves_no_snapshot() {
    let mut pair = Pair::new("redis-errors");
    pair.source.run(&["SET", "a", "b"]);

    // A right less than it needs.
    pair.source.run(&["ACL", "SETUSER", "backup", "-psync"]);
    let (code, message) = pair.fails(SOURCE);
    assert_eq!(code, "source");
    assert_says(&message, &[SOURCE, "PSYNC", "ACL SETUSER backup +psync"]);

    // Another password.
    let user = ["ACL", "SETUSER", "backup", "+psync", "resetpass", ">other"];
    pair.source.run(&user);
    let (_, message) = pair.fails(SOURCE);
    assert_says(&message, &["WRONGPASS", "password_file"]);
    assert!(!message.contains("least-secret"), "{message}");

    // No server.
    pair.source.kill();
    let (_, message) = pair.fails(SOURCE);
    assert_says(&message, &["cannot connect", &pair.source.url()]);

    // No such connection, and nothing without consent.
    pair.policy("absent");
    let (code, message) = pair.fails("absent");
    assert_eq!(code, "not-allowed");
    assert_says(&message, &["[redis.absent]", "agent.toml"]);

    let snapshots = pair.world.operator().json(&["snapshots", "list"]);
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_target_that_must_not_be_replaced_is_not() {
    let pair = Pair::new("redis-refused");
    pair.source.run(&["SET", "new", "value"]);
    pair.target.run(&["SET", "old", "value"]);
    let snapshot = pair.backup();

    // Not confirmed.
    let message = pair.world.operator().refused(
        1,
        &["restore", &snapshot, "--agent", AGENT, "--redis", TARGET],
    );
    assert_says(&message, &["--confirm"]);

    // Not allowed by the host.
    let answer = pair.world.operator().run([
        "restore",
        &snapshot,
        "--agent",
        AGENT,
        "--redis",
        SOURCE,
        "--confirm",
        SOURCE,
        "--no-safety-backup",
        "--wait",
        "--output",
        "json",
    ]);
    let (code, message) = failure(&last_job(&answer));
    assert_eq!(code, "not-allowed");
    assert_says(&message, &["allow_restore", SOURCE]);

    // A right too few.
    pair.target
        .run(&["ACL", "SETUSER", "restore", "-replicaof"]);
    let (code, message) = pair.restore_fails(&snapshot, &[]);
    assert_eq!(code, "target");
    assert_says(&message, &["ACL SETUSER restore +replicaof"]);
    pair.target
        .run(&["ACL", "SETUSER", "restore", "+replicaof"]);
    assert_eq!(pair.target.run(&["GET", "old"]).text(), "value");

    // A replica.
    let scratch = Scratch::new("primary");
    let primary = Server::start(&scratch, "primary");
    pair.target.follow(&primary);
    let (_, message) = pair.restore_fails(&snapshot, &[]);
    assert_says(
        &message,
        &["is a replica of 127.0.0.1", "restore into that"],
    );
    assert_eq!(pair.target.info("master_link_status"), "up");
}

#[test]
fn a_snapshot_of_files_is_no_snapshot_of_redis() {
    let pair = Pair::new("redis-files");
    fs::write(pair.world.source.join("file"), "text").expect("a file");
    pair.world.operator().apply(&pair.world.policy(""));
    let snapshot = pair.world.backup();
    let (code, message) = pair.restore_fails(&snapshot, &[]);
    assert_eq!(code, "not-found");
    assert_says(&message, &["not one of a Redis server", "--target"]);
}

#[test]
fn no_key_no_value_and_no_password_leaves_a_server_with_its_errors() {
    const SECRETS: [&str; 5] = [
        "4111-key-1111",
        "4222-value-2222",
        "least-secret",
        "more-secret",
        "other-password-hush",
    ];
    let pair = Pair::with("redis-secrets", "", "", "[telemetry]\nlog_level = 'debug'");
    pair.source
        .run(&["SET", "4111-key-1111", "4222-value-2222"]);
    pair.source
        .run(&["XADD", "4111-key-1111s", "*", "field", "4222-value-2222"]);
    let snapshot = pair.backup();
    pair.restore(&snapshot, &[]);
    assert_eq!(
        pair.target.run(&["GET", "4111-key-1111"]).text(),
        "4222-value-2222"
    );

    // Keys by pattern onto keys of another kind, without the right to do so.
    pair.target.run(&["DEL", "4111-key-1111"]);
    pair.target
        .run(&["LPUSH", "4111-key-1111", "4222-value-2222"]);
    pair.target.run(&["ACL", "SETUSER", "restore", "-restore"]);
    let (_, message) = pair.restore_fails(&snapshot, &["--key", "4111*"]);
    leaks::assert_none_in("a failure", &message, &SECRETS);
    pair.target.run(&["ACL", "SETUSER", "restore", "+restore"]);
    pair.target
        .run(&["ACL", "SETUSER", "restore", "-replicaof"]);
    pair.restore_fails(&snapshot, &[]);
    // A password that is none, and a server that has another.
    let user = [
        "ACL",
        "SETUSER",
        "backup",
        "resetpass",
        ">other-password-hush",
    ];
    pair.source.run(&user);
    pair.fails(SOURCE);
    leaks::assert_none_leaked(&pair.world, &SECRETS);
}
