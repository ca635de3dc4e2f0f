//! Repositories that restic wrote, and recovery without any coordinator.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use strongroom_tests::{
    coordinator::Coordinator, offline::Offline, restic::Restic, scratch::Scratch, tree::Tree,
};

use crate::world::{World, assert_identical, assert_says, below};

struct Foreign {
    scratch: Scratch,
    source: PathBuf,
    restic: Restic,
    offline: Offline,
}

fn repository(name: &str) -> Foreign {
    let scratch = Scratch::new(name);
    let password = scratch.file("password", "correct horse\n");
    let directory = scratch.join("repository");
    let directory = directory.to_str().expect("UTF-8");
    Foreign {
        source: scratch.dir("source"),
        restic: Restic::new(directory, &password),
        offline: Offline::new(directory, &password),
        scratch,
    }
}

/// restic cannot read below PATH_MAX.
fn tree(seed: u64) -> Tree {
    Tree {
        depth: 10,
        small_files: 400,
        ..Tree::full(seed)
    }
}

fn we_read_what_restic_wrote(name: &str, compression: &str) {
    let foreign = repository(name);
    tree(1).write(&foreign.source);
    // restic 0.14 does not write down that a fifo has two names, nor which
    // attributes are a symlink's own.
    for lost in ["special/fifo-hardlink", "attributes/on-a-symlink"] {
        fs::remove_file(foreign.source.join(lost)).expect("it can be removed");
    }
    foreign.restic.init();
    let source = foreign.source.to_str().expect("UTF-8");
    foreign
        .restic
        .run(["backup", "--compression", compression, source]);

    foreign
        .offline
        .restore("latest", &foreign.scratch.join("ours"));
    foreign
        .restic
        .restore("latest", &foreign.scratch.join("theirs"));
    let ours = below(&foreign.scratch.join("ours"), &foreign.source);
    let theirs = below(&foreign.scratch.join("theirs"), &foreign.source);
    for part in [
        "contents",
        "many",
        "modes",
        "sparse",
        "times",
        "special",
        "attributes",
    ] {
        assert_identical(&foreign.source.join(part), &ours.join(part));
    }
    assert_identical(&theirs.join("names"), &ours.join("names"));
    let answer = foreign.offline.run("check", ["--read-data"]);
    assert_eq!(answer.code, 0, "{answer:#?}");
}

#[test]
fn we_restore_what_restic_wrote_compressed() {
    we_read_what_restic_wrote("restic-compressed", "max");
}

#[test]
fn we_restore_what_restic_wrote_uncompressed() {
    we_read_what_restic_wrote("restic-plain", "off");
}

#[test]
fn offline_backs_up_lists_checks_and_restores() {
    let here = repository("offline");
    tree(2).write(&here.source);
    offline_round(&here.offline, &here.source, &here.scratch);
    here.restic.check();
}

#[test]
fn offline_does_the_same_over_s3() {
    let scratch = Scratch::new("offline-s3");
    let coordinator = Coordinator::start(&scratch);
    let endpoint = format!("http://{}", coordinator.s3_address());
    let store = coordinator.as_external_store(endpoint);
    let (key_id, secret) = &store.credentials;
    let password = scratch.file("password", "correct horse\n");
    let repository = format!("s3:{}/{}/offline", store.endpoint, store.bucket);
    let offline = Offline::new(&repository, &password)
        .env("AWS_ACCESS_KEY_ID", key_id)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    let source = scratch.dir("source");
    tree(2).write(&source);
    offline_round(&offline, &source, &scratch);
    let directory = coordinator.bucket_directory().join("offline");
    Restic::new(directory.to_str().expect("UTF-8"), &password).check();
}

fn offline_round(offline: &Offline, source: &Path, scratch: &Scratch) {
    offline.init();
    let answer = offline.run("backup", [source]);
    assert_eq!(answer.code, 0, "{answer:#?}");
    let snapshots = offline.json::<&str>("snapshots", []);
    assert_eq!(snapshots.as_array().map(Vec::len), Some(1), "{snapshots:#}");
    let listed = offline.run("ls", ["latest"]);
    assert_eq!(listed.code, 0, "{listed:#?}");
    let checked = offline.run("check", ["--read-data"]);
    assert_eq!(checked.code, 0, "{checked:#?}");
    let target = scratch.join("restored");
    offline.restore("latest", &target);
    assert_identical(source, &below(&target, source));
}

#[test]
fn without_its_coordinator_a_repository_opens_with_its_password() {
    let mut world = World::new("coordinator-gone");
    world.fill(&Tree::small(3));
    let snapshot = world.backup();
    let (directory, password) = world.repository();
    world.agent.stop();
    world.coordinator.stop();

    let offline = Offline::new(directory.to_str().expect("UTF-8"), &password);
    let target = world.scratch.join("recovered");
    offline.restore(&snapshot, &target);
    assert_identical(&world.source, &world.below(&target));
}

#[test]
fn a_wrong_password_and_a_missing_repository_are_told_apart() {
    let foreign = repository("wrong-password");
    foreign.restic.init();
    let directory = foreign.scratch.join("repository");
    let directory = directory.to_str().expect("UTF-8");
    let wrong = foreign.scratch.file("wrong", "incorrect\n");
    let answer = Offline::new(directory, &wrong).run::<&str>("snapshots", []);
    assert_ne!(answer.code, 0);
    assert_says(&answer.stderr, &["wrong password", directory]);

    let nowhere = foreign.scratch.join("nowhere");
    let nowhere = nowhere.to_str().expect("UTF-8");
    let answer = Offline::new(nowhere, &wrong).run::<&str>("snapshots", []);
    assert_ne!(answer.code, 0);
    assert_says(&answer.stderr, &[nowhere, "no repository", "create one"]);
    assert!(
        !fs::exists(nowhere).expect("a look"),
        "reading made {nowhere}"
    );
}

/// restic signs its uploads chunk by chunk over plain HTTP.
#[test]
fn restic_writes_through_the_embedded_store() {
    let scratch = Scratch::new("restic-embedded");
    let coordinator = Coordinator::start(&scratch);
    let endpoint = format!("http://{}", coordinator.s3_address());
    let store = coordinator.as_external_store(endpoint);
    let repository = format!("s3:{}/{}/restic/repository", store.endpoint, store.bucket);
    let password = scratch.file("password", "correct horse\n");
    let (key_id, secret) = &store.credentials;
    let restic = Restic::new(&repository, &password)
        .env("AWS_ACCESS_KEY_ID", key_id)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    let source = scratch.dir("source");
    tree(3).write(&source);
    // More than one pack of restic's.
    fs::write(source.join("large"), noise(24 << 20)).expect("a file can be written");

    restic.init();
    let path = source.to_str().expect("UTF-8");
    restic.run(["backup", path]);
    restic.run(["backup", path]);
    restic.check();
    assert_eq!(restic.snapshots().len(), 2);
    let theirs = scratch.join("theirs");
    restic.restore("latest", &theirs);
    assert_identical(
        &source.join("contents"),
        &below(&theirs, &source).join("contents"),
    );
    assert_eq!(
        fs::read(source.join("large")).expect("the source"),
        fs::read(below(&theirs, &source).join("large")).expect("restored")
    );

    // What lies on disk is a repository as any other; it can be forgotten
    // through the store, too.
    let directory = coordinator.bucket_directory().join("restic/repository");
    Restic::new(directory.to_str().expect("UTF-8"), &password).check();
    let offline = Offline::new(&repository, &password)
        .env("AWS_ACCESS_KEY_ID", key_id)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    let answer = offline.run("check", ["--read-data"]);
    assert_eq!(answer.code, 0, "{answer:#?}");
    restic.run(["forget", "--keep-last", "1", "--prune"]);
    restic.check();
    assert_eq!(restic.snapshots().len(), 1);
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(4).fill(&mut bytes[..]);
    bytes
}
