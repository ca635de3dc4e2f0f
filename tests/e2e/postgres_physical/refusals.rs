//! Restores that are refused, and one that is interrupted.

use std::{fs, process::Command};

use serde_json::Value;
use strongroom_tests::{cluster::succeed, coordinator::Setup, operator::text};

use super::site::{Restored, Site, wide_table};
use crate::{
    disk_full::SmallDisk,
    world::{AGENT, assert_says, snapshot_of},
};

#[test]
fn what_cannot_be_restored_is_refused_before_anything_is_written() {
    let site = Site::new("physical-refused", "");
    let space = site.cluster.beside("space");
    site.cluster.sql(&format!(
        "CREATE TABLESPACE space LOCATION '{}'",
        space.display()
    ));
    site.cluster
        .sql("CREATE TABLE t TABLESPACE space AS SELECT 1 AS n");
    let (snapshot, _) = site.backup();
    let target = site.world.restores.join("data");
    let message = |job: &Value| text(&job["failure"]["message"]);

    // The place where the tablespace lay is not allowed, and it is not empty.
    let job = site.restore(1, &snapshot, &target, &[]);
    assert_eq!(job["failure"]["code"], "not-allowed", "{job:#}");
    assert_says(
        &message(&job),
        &[space.to_str().expect("UTF-8"), "--tablespace"],
    );

    let stray = format!("/no/such={}", site.world.restores.join("x").display());
    let job = site.restore(1, &snapshot, &target, &["--tablespace", &stray]);
    assert_says(
        &message(&job),
        &["/no/such", space.to_str().expect("UTF-8")],
    );

    let moved = site.world.restores.join("moved");
    let to = format!("{}={}", space.display(), moved.display());
    let to = ["--tablespace", to.as_str()];
    fs::create_dir(&target).expect("a directory");
    fs::write(target.join("precious"), "").expect("a file");
    let job = site.restore(1, &snapshot, &target, &to);
    assert_eq!(job["failure"]["code"], "target", "{job:#}");
    assert_says(
        &message(&job),
        &[target.to_str().expect("UTF-8"), "not empty"],
    );
    assert!(!moved.exists(), "something was written");
    fs::remove_file(target.join("precious")).expect("a file to remove");

    let job = site.restore(0, &snapshot, &target, &[&to[..], &["--dry-run"]].concat());
    let figures = &job["result"]["restore"];
    assert_eq!(figures["plan_count"], 2, "{figures:#}");
    assert!(!moved.exists(), "a dry run wrote something");

    let small = site.world.restores.join("small");
    let disk = SmallDisk::mount(&small, "4m");
    let job = site.restore(1, &snapshot, &small, &to);
    assert_eq!(job["failure"]["code"], "target", "{job:#}");
    assert_says(
        &message(&job),
        &["bytes free", small.to_str().expect("UTF-8")],
    );
    let written = fs::read_dir(&small).expect("a directory").count();
    assert!(written == 0 && !moved.exists(), "something was written");
    drop(disk);

    // A snapshot of files is no cluster.
    let source = site.world.source.join("a file");
    fs::write(&source, "").expect("a file");
    site.world.operator().apply(&format!(
        "[[policy]]\nname = \"plain\"\nagents = {{ names = [\"{AGENT}\"] }}\nstore = \"primary\"\n\
         source = {{ files = {{ paths = ['{}'] }} }}\n",
        source.display()
    ));
    let plain = snapshot_of(&site.world.operator().backup("plain"));
    let job = site.restore(1, &plain, &target, &[]);
    assert_eq!(job["failure"]["code"], "not-found", "{job:#}");
    assert_says(&message(&job), &["not a physical backup", &plain[..8]]);

    // And the very same directory takes the cluster, without a server.
    site.restore(0, &snapshot, &target, &to);
    let label = fs::read_to_string(target.join("backup_label")).expect("a label");
    assert_says(&label, &["START WAL LOCATION", "strongroom main"]);
    let map = fs::read_to_string(target.join("tablespace_map")).expect("a map");
    assert_says(&map, &[moved.to_str().expect("UTF-8")]);
    let mut owner = Command::new("stat");
    let owner = succeed(owner.args(["-c", "%U %a"]).arg(&target)).stdout;
    let owner = String::from_utf8(owner).expect("UTF-8");
    assert!(owner.trim_end().ends_with(" 700"), "{owner}");
}

#[test]
fn an_interrupted_restore_is_finished_by_the_next() {
    let mut site = Site::behind_proxy("physical-interrupted", Setup::default());
    // Several packs, so that the second is fetched whatever blob lies where.
    wide_table(&site.cluster, "wide", 60_000);
    let (snapshot, _) = site.backup();
    let target = site.world.restores.join("data");
    let gate = site.world.proxy().hold(2, |seen| seen.gets("data"));
    let arguments = [
        "restore",
        &snapshot,
        "--agent",
        AGENT,
        "--target",
        target.to_str().expect("UTF-8"),
        "--cluster",
        "--start",
    ];
    let job = text(&site.world.operator().json(&arguments)["id"]);
    gate.wait_until_reached();
    site.world.agent.kill();
    gate.open();
    site.world.agent.start();
    let mut ended = site.world.operator().wait_for_end(&job);
    // The job is tried again by itself or, when it ends, by the operator.
    if ended["state"] != "succeeded" {
        let job = text(&site.world.operator().json(&arguments)["id"]);
        ended = site.world.operator().wait_for_end(&job);
    }
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    let mut restored = Restored::of(&ended, target);
    assert_eq!(restored.sql("SELECT count(*) FROM wide"), "60000");
    restored.prove();
}
