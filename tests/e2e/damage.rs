//! Objects that are damaged in the store: named, and never restored as if
//! nothing were wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

use strongroom_tests::{operator::text, tree::Tree};

use crate::world::{AGENT, World, assert_identical, assert_says};

/// A world with one backup, and its repository's directory.
fn backed_up(name: &str) -> (World, String, PathBuf) {
    let world = World::new(name);
    world.fill(&Tree::small(1));
    let snapshot = world.backup();
    let (directory, _) = world.repository();
    (world, snapshot, directory)
}

/// All objects below a directory of the repository, largest first.
pub(crate) fn objects(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().expect("a file").len()));
    found
}

pub(crate) fn name(object: &Path) -> &str {
    object
        .file_name()
        .and_then(|name| name.to_str())
        .expect("an object's name")
}

/// Restores, which must fail, name the object, and leave no wrong bytes.
fn restore_names(world: &World, snapshot: &str, object: &str) {
    let target = world.restores.join("damaged");
    let jobs = world.operator().json_with(
        1,
        &[
            "restore",
            snapshot,
            "--agent",
            AGENT,
            "--target",
            target.to_str().expect("UTF-8"),
            "--wait",
        ],
    );
    let job = &jobs["jobs"][0];
    assert_eq!(job["state"], "failed", "{job:#}");
    assert_says(&text(&job["failure"]["message"]), &[object]);
    assert_no_wrong_bytes(&world.source, &world.below(&target));
}

/// What a failed restore left of a file must be the file, or not claim to be
/// it: shorter, or with holes where nothing could be read.
fn assert_no_wrong_bytes(source: &Path, restored: &Path) {
    let Ok(entries) = fs::read_dir(restored) else {
        return;
    };
    for entry in entries {
        let entry = entry.expect("an entry");
        let (source, restored) = (source.join(entry.file_name()), entry.path());
        if restored.is_dir() {
            assert_no_wrong_bytes(&source, &restored);
        } else if let Ok(original) = fs::read(&source) {
            let found = fs::read(&restored).expect("a file");
            let wrong = found.iter().zip(&original).any(|(a, b)| a != b && *a != 0);
            assert!(
                !wrong,
                "{} holds bytes that were never backed up",
                restored.display()
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_a_pack_is_found() {
    let (world, snapshot, repository) = backed_up("flipped");
    let pack = &objects(&repository.join("data"))[0];
    let mut bytes = fs::read(pack).expect("a pack");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(pack, bytes).expect("a write");
    restore_names(&world, &snapshot, name(pack));
}

#[test]
fn a_truncated_pack_is_found() {
    let (world, snapshot, repository) = backed_up("truncated");
    let pack = &objects(&repository.join("data"))[0];
    let bytes = fs::read(pack).expect("a pack");
    fs::write(pack, &bytes[..bytes.len() / 2]).expect("a write");
    restore_names(&world, &snapshot, name(pack));
}

#[test]
fn a_missing_pack_is_found() {
    let (world, snapshot, repository) = backed_up("missing");
    let pack = &objects(&repository.join("data"))[0];
    fs::remove_file(pack).expect("a pack");
    restore_names(&world, &snapshot, name(pack));
}

#[test]
fn a_pack_swapped_for_another_valid_one_is_found() {
    let (world, snapshot, repository) = backed_up("swapped");
    // A second backup, so that there is another sound pack of data.
    fs::write(world.source.join("more"), vec![7; 900_000]).expect("a file");
    fs::write(
        world.source.join("other"),
        Tree::small(9).seed.to_le_bytes().repeat(90_001),
    )
    .expect("a file");
    world.backup();
    let packs = objects(&repository.join("data"));
    let (victim, other) = (&packs[0], &packs[1]);
    fs::copy(other, victim).expect("a copy");
    restore_names(&world, &snapshot, name(victim));
}

#[test]
fn a_damaged_snapshot_is_found() {
    let (world, snapshot, repository) = backed_up("snapshot-damaged");
    let object = repository.join("snapshots").join(&snapshot);
    let mut bytes = fs::read(&object).expect("a snapshot");
    bytes[20] ^= 0x80;
    fs::write(&object, bytes).expect("a write");
    restore_names(&world, &snapshot, &snapshot);
}

#[test]
fn a_damaged_index_is_named_and_restored_without() {
    let (world, snapshot, repository) = backed_up("index-damaged");
    let index = &objects(&repository.join("index"))[0];
    // The agent that wrote it would do with its own copy.
    fs::remove_dir_all(world.agent.state().join("cache/objects")).expect("the cache");
    let mut bytes = fs::read(index).expect("an index");
    let last = bytes.len() - 20;
    bytes[last] ^= 2;
    fs::write(index, bytes).expect("a write");
    let target = world.restores.join("all");
    let to = target.to_str().expect("UTF-8");
    let arguments = [
        "restore", &snapshot, "--agent", AGENT, "--target", to, "--wait",
    ];
    // It succeeds with warnings.
    let jobs = world.operator().json_with(3, &arguments);
    assert_says(&jobs["jobs"][0]["warnings"].to_string(), &[name(index)]);
    assert_identical(&world.source, &world.below(&target));
}

#[test]
fn a_snapshot_swapped_for_another_one_is_found() {
    let (world, snapshot, repository) = backed_up("snapshot-swapped");
    fs::write(world.source.join("more"), "later").expect("a file");
    let later = world.backup();
    let directory = repository.join("snapshots");
    fs::copy(directory.join(&later), directory.join(&snapshot)).expect("a copy");
    restore_names(&world, &snapshot, &snapshot);
}

#[test]
fn a_damaged_key_file_is_not_taken_for_a_wrong_password() {
    let (world, snapshot, repository) = backed_up("key-damaged");
    let key = &objects(&repository.join("keys"))[0];
    let bytes = fs::read(key).expect("a key file");
    fs::write(key, &bytes[..bytes.len() - 40]).expect("a write");
    restore_names(&world, &snapshot, &name(key)[..8]);
}
#[test]
fn offline_check_finds_and_names_every_kind_of_damage() {
    let (world, _, repository) = backed_up("check-names");
    let (_, password) = world.repository();
    let offline =
        strongroom_tests::offline::Offline::new(repository.to_str().expect("UTF-8"), &password);
    assert_eq!(offline.run("check", ["--read-data"]).code, 0);
    let packs = objects(&repository.join("data"));
    let mut bytes = fs::read(&packs[0]).expect("a pack");
    bytes[99] ^= 1;
    fs::write(&packs[0], bytes).expect("a write");
    fs::remove_file(&packs[1]).expect("a pack");
    let answer = offline.run("check", ["--read-data"]);
    assert_ne!(answer.code, 0, "{answer:#?}");
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert_says(&said, &[&name(&packs[0])[..8], &name(&packs[1])[..8]]);
}
