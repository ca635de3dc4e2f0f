//! Paths that cannot be read, vanish or change do not fail a backup: it ends
//! with warnings that name each.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use strongroom_tests::{
    agent::Agent,
    coordinator::Setup,
    odd_disk::OddDisk,
    operator::text,
    tree::{Tree, contents, write_socket},
};

use crate::world::{POLICY, World, assert_identical, assert_says, snapshot_of};

/// The causes of the warnings about a path.
fn causes(job: &Value, path: &Path) -> Vec<String> {
    let path = path.to_str().expect("UTF-8");
    let warnings = job["warnings"].as_array().expect("warnings");
    let about = warnings
        .iter()
        .filter(|warning| warning["path"]["text"] == path);
    about.map(|warning| text(&warning["cause"])).collect()
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_backed_up() {
    let world = World::with_agent("unreadable", Setup::default(), Agent::powerless);
    Tree::small(1).write(&world.source);
    let (file, directory) = (world.source.join("secret"), world.source.join("closed"));
    fs::write(&file, "secret").expect("a file");
    fs::create_dir(&directory).expect("a directory");
    for path in [&file, &directory] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("chmod");
    }
    world.operator().apply(&world.policy(""));

    let jobs = world.operator().json_with(3, &["run", POLICY, "--wait"]);
    let job = &jobs["jobs"][0];
    assert_eq!(job["warning_count"], 2, "{job:#}");
    for path in [&file, &directory] {
        let causes = causes(job, path);
        assert_eq!(causes.len(), 1, "{job:#}");
        assert_says(&causes[0], &["permission denied"]);
    }
    let snapshot = snapshot_of(job);
    let shown = world.operator().json(&["snapshots", "show", &snapshot]);
    assert_eq!(shown["warning_count"], 2, "{shown:#}");
    assert_eq!(shown["warnings"], job["warnings"], "{shown:#}");
    let status = world.operator().json(&["status"]);
    assert_eq!(status["datasets"][0]["warning_count"], 2, "{status:#}");

    let restored = world.restore(&snapshot, "all");
    for part in ["contents", "many", "deep"] {
        assert_identical(&world.source.join(part), &restored.join(part));
    }

    // Whoever accepts that kind is told, and not alarmed.
    world
        .operator()
        .apply(&world.policy("accept = [\"unreadable\"]"));
    let jobs = world.operator().json(&["run", POLICY, "--wait"]);
    let job = &jobs["jobs"][0];
    assert_eq!(job["warning_count"], 0, "{job:#}");
    let warnings = job["warnings"].as_array().expect("warnings");
    let accepted = |it: &&Value| it["code"] == "unreadable" && it["accepted"] == true;
    assert_eq!(warnings.iter().filter(accepted).count(), 2, "{job:#}");
    let status = world.operator().json(&["status"]);
    assert_eq!(status["datasets"][0]["warning_count"], 0, "{status:#}");
}

#[test]
fn a_file_that_vanishes_or_shrinks_while_it_is_read_is_named() {
    let world = World::behind_proxy("vanishing", Setup::default());
    // Large enough that reading cannot run ahead of the held upload.
    Tree::small(2).write(&world.source.join("a"));
    let mut random = StdRng::seed_from_u64(2);
    for number in 0..6 {
        let large = contents::bytes(&mut random, 64 << 20);
        fs::write(world.source.join(format!("b-{number}")), large).expect("a file");
    }
    for name in ["z-vanishes", "z-shrinks"] {
        fs::write(world.source.join(name), vec![7; 3 << 20]).expect("a file");
    }
    world.operator().apply(&world.policy(""));
    let gate = world.proxy().hold_all(|seen| seen.puts("data"));
    let job = world.operator().start(POLICY);
    gate.wait_until_reached();
    fs::remove_file(world.source.join("z-vanishes")).expect("a file to remove");
    fs::write(world.source.join("z-shrinks"), "short").expect("a file");
    gate.open();
    let job = world.operator().wait_for_end(&job);
    let snapshot = snapshot_of(&job);
    let vanished = causes(&job, &world.source.join("z-vanishes"));
    assert_eq!(vanished.len(), 1, "{job:#}");
    let restored = world.restore(&snapshot, "all");
    // What was there when it was read, and no mixture.
    let shrunk = fs::read(restored.join("z-shrinks")).expect("the file");
    assert_eq!(shrunk, b"short", "{} bytes", shrunk.len());
    assert_identical(&world.source.join("a"), &restored.join("a"));
    world.restic().check();
}

#[test]
fn a_bad_block_costs_its_file_and_nothing_else() {
    let world = World::new("bad-block");
    world.fill(&Tree::small(1));
    let odd = world.source.join("odd");
    let Some(_disk) = OddDisk::mount(&odd) else {
        return;
    };
    // What could not be read is tried again, and never taken for what is unchanged.
    for number in 0..2 {
        let jobs = world.operator().json_with(3, &["run", POLICY, "--wait"]);
        let job = &jobs["jobs"][0];
        assert_eq!(job["warning_count"], 2, "{job:#}");
        for name in ["bad", "lost"] {
            let causes = causes(job, &odd.join(name));
            assert_eq!(causes.len(), 1, "{job:#}");
            assert_says(&causes[0], &["input/output error"]);
        }
        let restored = world.restore(&snapshot_of(job), &format!("all-{number}"));
        for name in ["good", "also-good"] {
            let content = fs::read(restored.join("odd").join(name));
            assert!(content.expect("a good file") == OddDisk::good(), "{name}");
        }
        assert!(!restored.join("odd/bad").exists());
        for part in ["contents", "many", "deep"] {
            assert_identical(&world.source.join(part), &restored.join(part));
        }
    }
}

#[test]
fn sockets_are_left_out() {
    let world = World::new("sockets");
    world.fill(&Tree::small(3));
    // sun_path is short: bind through a short path.
    let short = tempfile::tempdir().expect("a directory");
    write_socket(&short.path().join("s"));
    fs::rename(short.path().join("s"), world.source.join("socket"))
        .or_else(|_| {
            let link = short.path().join("l");
            std::os::unix::fs::symlink(&world.source, &link)?;
            write_socket(&link.join("socket"));
            Ok::<_, std::io::Error>(())
        })
        .expect("a socket in the source");
    let answer = world
        .operator()
        .run(["run", POLICY, "--wait", "--output", "json"]);
    assert!([0, 3].contains(&answer.code), "{answer:#?}");
    let snapshot = snapshot_of(&answer.json()["jobs"][0]);
    let restored = world.restore(&snapshot, "all");
    assert!(!restored.join("socket").exists());
    assert_identical(&world.source, &restored);
}

#[test]
fn a_source_that_is_not_there_at_all_fails() {
    let world = World::new("no-source");
    let policy = world.policy("limits = { attempts = 1 }");
    let gone = world.source.join("gone");
    let policy = policy.replace(
        world.source.to_str().expect("UTF-8"),
        gone.to_str().expect("UTF-8"),
    );
    world.operator().apply(&policy);
    let jobs = world.operator().json_with(1, &["run", POLICY, "--wait"]);
    let failure = &jobs["jobs"][0]["failure"];
    assert_eq!(failure["code"], "source", "{jobs:#}");
    assert_says(&text(&failure["message"]), &[gone.to_str().expect("UTF-8")]);
}
