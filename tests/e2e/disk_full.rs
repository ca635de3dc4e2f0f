//! Full disks: of a restore's target and of the coordinator. Said plainly, and
//! finished later.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) use strongroom_tests::small_disk::SmallDisk;
use strongroom_tests::{
    coordinator::Setup,
    operator::{eventually, text},
    scratch::Scratch,
    tree::Tree,
};

use crate::world::{AGENT, POLICY, World, assert_identical, assert_says, snapshot_of};

/// A world with one backup, and a small disk to restore it to.
fn backed_up(name: &str, size: &str) -> (World, String, PathBuf, SmallDisk) {
    let world = World::behind_proxy(name, Setup::default());
    world.fill(&Tree {
        large: 8 << 20,
        ..Tree::small(1)
    });
    let snapshot = world.backup();
    let target = world.restores.join("small");
    let disk = SmallDisk::mount(&target, size);
    (world, snapshot, target, disk)
}

#[test]
fn a_disk_that_is_too_small_is_named_before_anything_is_written() {
    let (world, snapshot, target, _disk) = backed_up("disk-small", "4m");
    let path = target.to_str().expect("UTF-8");
    let arguments = [
        "restore", &snapshot, "--agent", AGENT, "--target", path, "--wait",
    ];
    let jobs = world.operator().json_with(1, &arguments);
    let failure = &jobs["jobs"][0]["failure"];
    assert_eq!(failure["code"], "target", "{jobs:#}");
    assert_says(
        &text(&failure["message"]),
        &[path, "free", "another target"],
    );
    assert_eq!(fs::read_dir(&target).expect("the target").count(), 0);
}

#[test]
fn a_disk_that_fills_up_is_named_and_the_restore_can_be_finished() {
    let (world, snapshot, target, disk) = backed_up("disk-full", "60m");
    let path = target.to_str().expect("UTF-8");
    let arguments = [
        "restore",
        &snapshot,
        "--agent",
        AGENT,
        "--target",
        path,
        "--overwrite",
        "if-changed",
    ];
    // Somebody else fills the disk when the restore is on its way: it has
    // read the trees and seen that there is room.
    let largest = largest_pack(&world.repository().0.join("data"));
    let gate = world
        .proxy()
        .hold_all(move |seen| seen.path.ends_with(&largest));
    let job = text(&world.operator().json(&arguments)["id"]);
    gate.wait_until_reached();
    let filler = target.join("filler");
    let mut file = fs::File::create(&filler).expect("a file");
    let full = std::io::copy(&mut std::io::repeat(7), &mut file);
    assert!(full.is_err(), "the disk has no end");
    gate.open();
    let job = world.operator().wait_for_end(&job);
    assert_eq!(job["failure"]["code"], "target", "{job:#}");
    assert_says(
        &text(&job["failure"]["message"]),
        &["full", "run the same restore again", path],
    );

    fs::remove_file(filler).expect("the filler");
    drop(file);
    disk.grow("400m");
    let job = text(&world.operator().json(&arguments)["id"]);
    let job = world.operator().wait_for_end(&job);
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_identical(&world.source, &world.below(&target));
}

#[test]
fn a_full_disk_of_the_coordinator_is_named_and_heals_without_a_restart() {
    let own = Scratch::new("catalog-full");
    let place = own.path().join("catalog");
    let disk = SmallDisk::mount(&place, "16m");
    let setup = Setup {
        catalog: Some(format!("sqlite:{}/catalog.db", place.display())),
        ..Setup::default()
    };
    let world = World::with("catalog-full-world", setup);
    world.fill(&Tree::small(1));
    world.backup();

    let filler = place.join("filler");
    let mut file = fs::File::create(&filler).expect("a file");
    let full = std::io::copy(&mut std::io::repeat(7), &mut file);
    assert!(full.is_err(), "the disk has no end");
    let said = world.operator().run(["run", POLICY]);
    assert_ne!(said.code, 0, "{said:#?}");
    assert_says(&said.stderr, &["full", "disk that the catalog lies on"]);
    // Reading goes on, so that one can look what is wrong.
    assert_eq!(world.operator().run(["jobs", "list"]).code, 0);

    drop(file);
    fs::remove_file(filler).expect("the filler");
    let snapshot = eventually("a job", || {
        let said = world
            .operator()
            .run(["run", POLICY, "--wait", "--output", "json"]);
        (said.code == 0).then(|| snapshot_of(&said.json()["jobs"][0]))
    });
    world.prove(&snapshot, "afterwards");
    drop(world);
    drop(disk);
}

/// The name of the largest pack, which holds data.
fn largest_pack(data: &Path) -> String {
    let directories = fs::read_dir(data).expect("packs");
    let packs = directories.flat_map(|directory| {
        let directory = directory.expect("a directory").path();
        fs::read_dir(directory).expect("packs")
    });
    let largest = packs
        .map(|pack| pack.expect("a pack"))
        .max_by_key(|pack| pack.metadata().expect("a pack").len());
    let name = largest.expect("a pack").file_name();
    name.into_string().expect("a name in hex")
}
