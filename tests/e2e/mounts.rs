//! What is mounted below a requested path is left out aloud.

use std::fs;

use serde_json::Value;
use strongroom_tests::{
    operator::{only, text},
    small_disk::SmallDisk,
    tree::Tree,
};

use crate::world::{POLICY, World, assert_identical, snapshot_of};

impl World {
    /// A policy for these paths, none of which is left for another file system.
    fn on_one_file_system(&self, paths: &[&str], more: &str) -> String {
        let source = format!("paths = ['{}'] }}", self.source.display());
        let other = format!("paths = {paths:?}, one_file_system = true }}");
        let policy = self.policy(more);
        assert!(policy.contains(&source), "{policy}");
        policy.replace(&source, &other)
    }
}

/// What is said of each path, and whether it counts.
fn said(of: &Value) -> Vec<(String, String, bool)> {
    let warnings = of["warnings"].as_array().expect("warnings").iter();
    let said = |it: &Value| {
        let counts = it["accepted"] != true;
        (text(&it["path"]["text"]), text(&it["code"]), counts)
    };
    warnings.map(said).collect()
}

#[test]
fn a_mount_that_is_left_out_is_named_in_the_job_and_in_the_snapshot() {
    let world = World::new("mounts");
    Tree::small(4).write(&world.source);
    let at = world.source.join("mounted");
    let _disk = SmallDisk::mount(&at, "1m");
    fs::write(at.join("elsewhere"), "on another disk").expect("a file");
    let (source, at) = (text_of(&world.source), text_of(&at));
    let operator = world.operator();

    operator.apply(&world.on_one_file_system(&[&source], ""));
    let job = only(&operator.json_with(3, &["run", POLICY, "--wait"])["jobs"]);
    let expected = |counts| vec![(at.clone(), "mount-left-out".to_owned(), counts)];
    assert_eq!(said(&job), expected(true), "{job:#}");
    assert_eq!(job["warning_count"], 1, "{job:#}");
    let snapshot = snapshot_of(&job);
    let shown = operator.json(&["snapshots", "show", &snapshot]);
    assert_eq!(said(&shown), expected(true), "{shown:#}");
    let shown = operator.run(["snapshots", "show", &snapshot]).stdout;
    assert!(shown.contains("mount-left-out"), "{shown}");
    let restored = world.restore(&snapshot, "without");
    let inside = fs::read_dir(restored.join("mounted")).expect("an empty directory");
    assert_eq!(inside.count(), 0);
    assert_identical(&world.source.join("contents"), &restored.join("contents"));

    // Whoever knows of it is told, and not alarmed.
    let accepted = "accept = [\"mount-left-out\"]";
    operator.apply(&world.on_one_file_system(&[&source], accepted));
    let job = operator.backup(POLICY);
    assert_eq!(said(&job), expected(false), "{job:#}");
    assert_eq!(job["warning_count"], 0, "{job:#}");
    let shown = operator.json(&["snapshots", "show", &snapshot_of(&job)]);
    assert_eq!(said(&shown), expected(false), "{shown:#}");

    // Asked for by its own name, it is there.
    operator.apply(&world.on_one_file_system(&[&source, &at], ""));
    let job = operator.backup(POLICY);
    assert_eq!(said(&job), [], "{job:#}");
    world.prove(&snapshot_of(&job), "both");
}

#[test]
fn what_the_kernel_shows_of_itself_is_noted_below_a_path_and_counted_when_asked_for() {
    let world = World::new("pseudo");
    Tree::small(5).write(&world.source);
    let at = world.source.join("proc");
    let _proc = SmallDisk::proc(&at);
    let (source, at) = (text_of(&world.source), text_of(&at));
    let operator = world.operator();
    let expected = |counts| vec![(at.clone(), "pseudo-file-system".to_owned(), counts)];

    operator.apply(&world.policy(""));
    let job = operator.backup(POLICY);
    assert_eq!(said(&job), expected(false), "{job:#}");
    assert_eq!(job["warning_count"], 0, "{job:#}");
    let shown = operator.json(&["snapshots", "show", &snapshot_of(&job)]);
    assert_eq!(said(&shown), expected(false), "{shown:#}");

    operator.apply(&world.on_one_file_system(&[&source, &at], ""));
    let job = only(&operator.json_with(3, &["run", POLICY, "--wait"])["jobs"]);
    assert_eq!(said(&job), expected(true), "{job:#}");
    assert_eq!(job["warning_count"], 1, "{job:#}");
}

fn text_of(path: &std::path::Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
