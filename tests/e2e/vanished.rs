//! Objects that vanish from the store: noticed by the next backup, stored again
//! from live data, and an alarm until an operator has seen it.

use std::{fs, path::PathBuf};

use serde_json::Value;
use strongroom_tests::{noise, operator::text};

use crate::{
    damage::{name, objects},
    world::{AGENT, POLICY, World, assert_identical, assert_says, snapshot_of},
};

const FILES: usize = 30;

/// A world with one backup of some files that compress to nothing less, and its
/// repository's directory.
fn backed_up(name: &str) -> (World, String, PathBuf) {
    let world = World::new(name);
    for number in 0..FILES {
        fs::write(file(&world, number), noise(number as u64, 300_000)).expect("a file");
    }
    world.operator().apply(&world.policy(""));
    let snapshot = world.backup();
    let (directory, _) = world.repository();
    (world, snapshot, directory)
}

fn file(world: &World, number: usize) -> PathBuf {
    world.source.join(format!("file-{number:02}"))
}

/// What the warnings of a backup say that had some, and its snapshot.
fn warned(world: &World) -> (String, String) {
    let jobs = world.operator().json_with(3, &["run", POLICY, "--wait"]);
    let job = &jobs["jobs"][0];
    let warnings = job["warnings"].as_array().expect("warnings");
    let lost = warnings.iter().filter(|it| it["code"] == "objects-lost");
    let said: Vec<String> = lost.map(Value::to_string).collect();
    assert!(!said.is_empty(), "{job:#}");
    (snapshot_of(job), said.join("\n"))
}

fn losses(world: &World, more: &[&str]) -> Value {
    let (repository, ..) = world.operator().repository();
    let arguments = [&["repositories", "losses", &repository], more].concat();
    world.operator().json(&arguments)
}

/// Everything comes back, if not from the first place that an index names.
#[track_caller]
fn comes_back(world: &World, snapshot: &str, name: &str) {
    let target = world.restores.join(name);
    let to = target.to_str().expect("UTF-8");
    let said = world.operator().run([
        "restore", snapshot, "--agent", AGENT, "--target", to, "--wait",
    ]);
    assert!([0, 3].contains(&said.code), "{said:#?}");
    assert_identical(&world.source, &world.below(&target));
}

/// The next backup notices and mends it, and the one after finds all in order.
/// Everything comes back.
#[track_caller]
fn heals(world: &World, first: &str) -> String {
    let (second, said) = warned(world);
    comes_back(world, &second, "second");
    let third = world.backup();
    comes_back(world, &third, "third");
    // What is live was in the first snapshot as well.
    comes_back(world, first, "first");
    said
}

/// Plain restic knows of no second place of a blob: what was put back is where it was.
#[track_caller]
fn comes_back_by_restic(world: &World, snapshot: &str) {
    let restored = world.scratch.path().join("by-restic");
    world.restic().restore(snapshot, &restored);
    assert_identical(&world.source, &world.below(&restored));
}

#[test]
fn packs_that_vanish_are_stored_again() {
    let (world, first, repository) = backed_up("packs-vanish");
    for pack in objects(&repository.join("data")) {
        fs::remove_file(pack).expect("a pack");
    }
    assert_says(&heals(&world, &first), &["stored again", "put back"]);
}

#[test]
fn a_pack_that_was_cut_is_stored_again() {
    let (world, first, repository) = backed_up("pack-cut");
    let pack = &objects(&repository.join("data"))[0];
    let bytes = fs::read(pack).expect("a pack");
    fs::write(pack, &bytes[..bytes.len() / 2]).expect("a write");
    assert_says(&heals(&world, &first), &["stored again"]);
}

#[test]
fn trees_that_vanish_are_put_back_from_the_cache() {
    let (world, first, repository) = backed_up("trees-vanish");
    let trees = objects(&repository.join("data")).pop().expect("a pack");
    let bytes = fs::read(&trees).expect("a pack");
    fs::remove_file(&trees).expect("a pack");
    assert_says(&heals(&world, &first), &["put back"]);
    assert!(fs::read(&trees).expect("a pack") == bytes);
    comes_back_by_restic(&world, &first);
}

#[test]
fn trees_that_vanish_and_are_not_cached_are_stored_again() {
    let (world, _, repository) = backed_up("trees-vanish-uncached");
    let trees = objects(&repository.join("data")).pop().expect("a pack");
    fs::remove_file(trees).expect("a pack");
    fs::remove_dir_all(world.agent.state().join("cache/objects")).expect("the cache");
    let (second, _) = warned(&world);
    comes_back(&world, &second, "second");
}

#[test]
fn what_cannot_be_stored_again_is_named_with_its_snapshots_until_it_is_accepted() {
    let (world, first, repository) = backed_up("not-live");
    let packs = objects(&repository.join("data"));
    // One file is there no more, and its bytes are nowhere else.
    fs::remove_file(file(&world, 0)).expect("a file");
    let second = world.backup();
    for pack in &packs {
        fs::remove_file(pack).expect("a pack");
    }
    let (third, said) = warned(&world);
    comes_back(&world, &third, "third");
    assert_says(
        &said,
        &["could not be stored again", &first[..8], &second[..8]],
    );

    // The coordinator has noticed as well.
    let found = losses(&world, &["--compare"]);
    let lost: Vec<_> = found["objects"]
        .as_array()
        .expect("objects")
        .iter()
        .collect();
    // That of trees was put back.
    for pack in packs.iter().filter(|pack| !pack.exists()) {
        assert!(
            lost.iter()
                .any(|lost| text(&lost["path"]).ends_with(name(pack))),
            "{found:#}"
        );
    }
    let in_need: Vec<_> = found["snapshots"]
        .as_array()
        .expect("snapshots")
        .iter()
        .collect();
    assert!(in_need.iter().any(|it| it["id"] == first), "{found:#}");
    let status = world.operator().run(["status", "--exit-code"]);
    assert_eq!(status.code, 1, "{status:#?}");
    assert_says(&status.stdout, &["lost", "repositories losses"]);
    losses(&world, &["--accept"]);
    let status = world.operator().run(["status"]);
    assert!(!status.stdout.contains("LOST"), "{status:#?}");
    // What is gone for good is still said by each backup.
    let (_, said) = warned(&world);
    assert_says(&said, &["could not be stored again"]);
}

#[test]
fn an_index_that_vanishes_is_done_without_and_an_alarm() {
    for cached in [true, false] {
        let (world, first, repository) = backed_up(&format!("index-vanishes-{cached}"));
        let index = objects(&repository.join("index")).pop().expect("an index");
        fs::remove_file(&index).expect("an index");
        if !cached {
            fs::remove_dir_all(world.agent.state().join("cache/objects")).expect("the cache");
        }
        comes_back(&world, &first, "first");
        let second = world.backup();
        world.prove(&second, "second");
        let found = losses(&world, &["--compare"]);
        assert_eq!(found["objects"][0]["kind"], "index", "{found:#}");
        // Once an operator knows of it, what nothing else names is found all the same.
        losses(&world, &["--accept"]);
        let third = world.backup();
        world.prove(&third, "third");
        comes_back(&world, &first, "first-again");
        comes_back_by_restic(&world, &third);
    }
}

#[test]
fn what_a_foreign_prune_took_is_not_put_back() {
    let (world, first, _) = backed_up("pruned");
    fs::remove_file(file(&world, 0)).expect("a file");
    let second = world.backup();
    world.restic().run(["forget", "--prune", &first]);
    let third = world.backup();
    world.restic().run(["check", "--read-data"]);
    world.prove(&second, "second");
    world.prove(&third, "third");
    losses(&world, &["--compare"]);
    losses(&world, &["--accept"]);
    world.backup();
    world.restic().run(["check", "--read-data"]);
    let status = world.operator().run(["status"]);
    assert!(!status.stdout.contains("LOST"), "{status:#?}");
}

#[test]
fn a_snapshot_that_vanishes_is_not_taken_for_one() {
    let (world, first, repository) = backed_up("snapshot-vanishes");
    fs::write(world.source.join("more"), "later").expect("a file");
    let second = world.backup();
    let aside = world.scratch.path().join("aside");
    let at = repository.join("snapshots").join(&second);
    fs::rename(&at, &aside).expect("a snapshot");
    assert_eq!(
        losses(&world, &["--compare"])["objects"][0]["kind"],
        "snapshot"
    );

    let target = world.restores.join("lost");
    let to = target.to_str().expect("UTF-8");
    let said = world.operator().run([
        "restore", &second, "--agent", AGENT, "--target", to, "--wait",
    ]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert_says(
        &said.stderr,
        &[&second[..8], "gone from its store", "snapshots list"],
    );
    let list = world.operator().run(["snapshots", "list"]);
    assert_says(&list.stdout, &["LOST"]);
    // The newest is the one before.
    let dataset = format!("{POLICY}@{AGENT}");
    let arguments = [
        "restore",
        "--dataset",
        &dataset,
        "--agent",
        AGENT,
        "--target",
        to,
        "--wait",
    ];
    let jobs = world.operator().json(&arguments);
    assert_says(&jobs.to_string(), &[&first]);

    fs::rename(&aside, &at).expect("a snapshot");
    let found = losses(&world, &["--compare"]);
    assert_eq!(found["objects"], serde_json::json!([]));
    world.prove(&second, "back");
}
