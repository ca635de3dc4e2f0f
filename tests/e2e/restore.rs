//! Restores: parts, overwriting, dry runs, refusals, interruption.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};

use strongroom_tests::{coordinator::Setup, offline::Offline, operator::text, tree::Tree};

use crate::world::{AGENT, World, assert_identical, assert_says};

/// A world with one backup of a small tree.
fn backed_up(name: &str) -> (World, String) {
    let world = World::new(name);
    world.fill(&Tree::small(1));
    let snapshot = world.backup();
    (world, snapshot)
}

impl World {
    /// Restores with more arguments; must end with `code`. Returns the job.
    fn restore_with(
        &self,
        code: i32,
        snapshot: &str,
        target: &str,
        more: &[&str],
    ) -> serde_json::Value {
        let target = self.restores.join(target);
        let arguments = [
            &[
                "restore",
                snapshot,
                "--agent",
                AGENT,
                "--target",
                target.to_str().expect("UTF-8"),
                "--wait",
            ],
            more,
        ]
        .concat();
        self.operator().json_with(code, &arguments)["jobs"][0].clone()
    }
}

#[test]
fn single_paths_come_back_and_nothing_else() {
    let (world, snapshot) = backed_up("paths");
    let file = world.source.join("contents/text");
    let directory = world.source.join("many/000");
    world.restore_with(
        0,
        &snapshot,
        "some",
        &[
            "--path",
            file.to_str().expect("UTF-8"),
            "--path",
            directory.to_str().expect("UTF-8"),
        ],
    );
    let restored = world.below(&world.restores.join("some"));
    assert_identical(&directory, &restored.join("many/000"));
    assert_eq!(
        fs::read(file).expect("the source"),
        fs::read(restored.join("contents/text")).expect("the file")
    );
    assert!(!restored.join("contents/empty").exists());
    assert!(!restored.join("deep").exists());
}

#[test]
fn a_path_that_is_not_in_the_snapshot_is_named() {
    let (world, snapshot) = backed_up("no-path");
    let job = world.restore_with(1, &snapshot, "none", &["--path", "/no/such/path"]);
    assert_eq!(job["failure"]["code"], "not-found", "{job:#}");
    assert_says(
        &text(&job["failure"]["message"]),
        &["/no/such/path", &snapshot[..8]],
    );
}

#[test]
fn a_snapshot_and_an_agent_that_do_not_exist_are_named() {
    let (world, snapshot) = backed_up("no-snapshot");
    let target = world.restores.join("x");
    let target = target.to_str().expect("UTF-8");
    let message = world.operator().refused(
        4,
        &["restore", "00000000", "--agent", AGENT, "--target", target],
    );
    assert_says(&message, &["00000000", "snapshots list"]);
    let message = world.operator().refused(
        4,
        &[
            "restore", &snapshot, "--agent", "nobody", "--target", target,
        ],
    );
    assert_says(&message, &["nobody", "agents list"]);
}

#[test]
fn a_target_that_is_not_empty_is_refused_until_told_otherwise() {
    let (world, snapshot) = backed_up("not-empty");
    let restored = world.restore(&snapshot, "target");
    let file = restored.join("contents/text");
    let original = fs::read(&file).expect("the file");
    fs::write(&file, "changed by somebody").expect("a write");

    let job = world.restore_with(1, &snapshot, "target", &[]);
    assert_eq!(job["failure"]["code"], "target", "{job:#}");
    assert_says(
        &text(&job["failure"]["message"]),
        &[restored.to_str().expect("UTF-8"), "--overwrite"],
    );
    assert_eq!(fs::read(&file).expect("the file"), b"changed by somebody");

    let job = world.restore_with(0, &snapshot, "target", &["--overwrite", "if-changed"]);
    let figures = &job["result"]["restore"];
    assert!(figures["files_kept"].as_u64() > Some(40), "{figures:#}");
    assert_eq!(fs::read(&file).expect("the file"), original);
    assert_identical(&world.source, &restored);

    // Same size and time, other bytes: the content decides.
    let modified = fs::metadata(&file).and_then(|it| it.modified());
    let modified = modified.expect("a time");
    fs::write(&file, vec![b'x'; original.len()]).expect("a write");
    let forged = fs::File::options().write(true).open(&file);
    let forged = forged.and_then(|file| file.set_modified(modified));
    forged.expect("a time can be set");
    let job = world.restore_with(0, &snapshot, "target", &["--overwrite", "if-changed"]);
    assert_eq!(job["result"]["restore"]["files"], 1, "{job:#}");
    assert_eq!(fs::read(&file).expect("the file"), original);
    let job = world.restore_with(0, &snapshot, "target", &["--overwrite", "always"]);
    assert_eq!(job["result"]["restore"]["files_kept"], 0, "{job:#}");
    assert_identical(&world.source, &restored);
}

#[test]
fn a_dry_run_is_its_answer_though_nobody_said_that_he_waits() {
    let (world, snapshot) = backed_up("dry-run-plan");
    let target = world.restores.join("dry");
    let target = target.to_str().expect("UTF-8");
    let command = [
        "restore",
        &*snapshot,
        "--agent",
        AGENT,
        "--target",
        target,
        "--dry-run",
    ];
    let answer = world.operator().run(command);
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert_says(&answer.stdout, &["create", "contents/text", "to restore"]);
    let jobs = world.operator().json(&command);
    let job = &jobs["jobs"][0];
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let planned = job["result"]["restore"]["plan"].as_array();
    assert!(planned.is_some_and(|it| it.len() > 40), "{job:#}");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let (world, snapshot) = backed_up("dry-run-restore");
    let job = world.restore_with(0, &snapshot, "dry", &["--dry-run"]);
    let figures = &job["result"]["restore"];
    assert!(figures["plan_count"].as_u64() > Some(40), "{figures:#}");
    assert_eq!(figures["plan"][0]["action"], "create", "{figures:#}");
    assert!(
        !world.restores.join("dry").exists(),
        "a dry run wrote something"
    );

    let restored = world.restore(&snapshot, "dry");
    fs::write(restored.join("contents/text"), "changed").expect("a write");
    let job = world.restore_with(
        0,
        &snapshot,
        "dry",
        &["--dry-run", "--overwrite", "if-changed"],
    );
    let plan = job["result"]["restore"]["plan"]
        .as_array()
        .expect("a plan")
        .clone();
    let action = |name: &str| {
        let planned = plan
            .iter()
            .find(|step| text(&step["path"]["text"]).ends_with(name));
        text(&planned.unwrap_or_else(|| panic!("no {name} in {plan:#?}"))["action"])
    };
    assert_eq!(action("contents/text"), "replace");
    assert_eq!(action("contents/one-byte"), "keep");
}

/// The accounts of this host, but that these two have each other's number.
fn exchanged(one: &str, other: &str) -> String {
    let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
    let number = |name: &str| {
        let mut lines = accounts.lines().map(|line| line.split(':'));
        let mut line = lines.find(|line| line.clone().next() == Some(name));
        line.as_mut().and_then(|line| line.nth(2)).expect(name)
    };
    let lines = accounts.lines().map(|line| {
        let mut fields: Vec<_> = line.split(':').collect();
        match fields[0] {
            name if name == one => fields[2] = number(other),
            name if name == other => fields[2] = number(one),
            _ => {}
        }
        fields.join(":") + "\n"
    });
    lines.collect()
}

#[test]
fn owners_are_their_names_or_with_numeric_ids_their_numbers() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root gives files away");
        return;
    }
    let mut world = World::new("numeric-ids");
    let file = world.source.join("played");
    fs::write(&file, "played").expect("a file");
    let owner = |path: &Path| fs::symlink_metadata(path).expect("a file").uid();
    let (games, man) = (5, 6);
    std::os::unix::fs::chown(&file, Some(games), None).expect("chown");
    world.operator().apply(&world.policy(""));
    let snapshot = world.backup();

    world.agent.stop();
    let accounts = world.scratch.file("passwd", exchanged("games", "man"));
    world.agent.on_a_host_with(&accounts);
    world.agent.start();
    for (target, more, expected) in [
        ("by-name", &[][..], man),
        ("by-number", &["--numeric-ids"], games),
    ] {
        world.restore_with(0, &snapshot, target, more);
        let restored = world.below(&world.restores.join(target)).join("played");
        assert_eq!(owner(&restored), expected, "{target}");
    }
}

#[test]
fn an_offline_restore_compares_what_is_there_with_the_snapshot() {
    let (world, snapshot) = backed_up("offline-if-changed");
    let (directory, password) = world.repository();
    let offline = Offline::new(directory.to_str().expect("UTF-8"), &password);
    let target = world.scratch.join("offline");
    offline.restore(&snapshot, &target);
    let restored = world.below(&target);
    assert_identical(&world.source, &restored);

    // Same size and time, other bytes; and one that is as it was, with another inode.
    let (file, same) = (
        restored.join("contents/text"),
        restored.join("contents/large.text"),
    );
    let kept = fs::metadata(&same).expect("metadata").ino();
    let original = fs::read(&file).expect("the file");
    let modified = fs::metadata(&file).and_then(|it| it.modified());
    fs::write(&file, vec![b'x'; original.len()]).expect("a write");
    let forged = fs::File::options().write(true).open(&file);
    let forged = forged.and_then(|file| file.set_modified(modified?));
    forged.expect("a time can be set");
    let target = target.to_str().expect("UTF-8");
    let arguments = [&snapshot, "--target", target, "--overwrite", "if-changed"];
    let told = offline.json("restore", arguments);
    assert_eq!(told["files"], 1, "{told:#}");
    assert_eq!(fs::read(&file).expect("the file"), original);
    assert_eq!(fs::metadata(&same).expect("metadata").ino(), kept);
    assert_identical(&world.source, &restored);
}

#[test]
fn symlinks_in_the_target_are_not_followed() {
    let (world, snapshot) = backed_up("symlinked-target");
    let target = world.restores.join("target");
    let below = world.below(&target);
    let trap = world.scratch.dir("trap");
    fs::create_dir_all(&below).expect("directories");
    symlink(&trap, below.join("contents")).expect("a symlink");
    let arguments = [
        "restore",
        &snapshot,
        "--agent",
        AGENT,
        "--target",
        target.to_str().expect("UTF-8"),
        "--overwrite",
        "always",
        "--wait",
        "--output",
        "json",
    ];
    // Replacing the link is as good as refusing it; writing through it is not.
    let answer = world.operator().run(arguments);
    let trapped = fs::read_dir(&trap).expect("the trap").count();
    assert_eq!(
        trapped, 0,
        "the restore wrote through a symlink: {answer:#?}"
    );
    if answer.code == 0 {
        assert_identical(&world.source, &below);
    }
}

#[test]
fn an_interrupted_restore_is_finished_by_the_next() {
    let mut world = World::behind_proxy("interrupted", Setup::default());
    // Several packs, so that the second is fetched whatever blob lies where.
    world.fill(&Tree {
        large: 40 << 20,
        ..Tree::small(2)
    });
    let snapshot = world.backup();
    let target = world.restores.join("target");
    let arguments = |overwrite| {
        [
            "restore",
            &snapshot,
            "--agent",
            AGENT,
            "--target",
            target.to_str().expect("UTF-8"),
            "--overwrite",
            overwrite,
        ]
    };
    let gate = world.proxy().hold(2, |seen| seen.gets("data"));
    let job = text(&world.operator().json(&arguments("never"))["id"]);
    gate.wait_until_reached();
    world.agent.kill();
    gate.open();
    world.agent.start();
    // The job is tried again by itself or, when it ends, by the operator.
    let ended = world.operator().wait_for_end(&job);
    if ended["state"] != "succeeded" {
        let job = text(&world.operator().json(&arguments("if-changed"))["id"]);
        let ended = world.operator().wait_for_end(&job);
        assert_eq!(ended["state"], "succeeded", "{ended:#}");
    }
    assert_identical(&world.source, &world.below(&target));
}

#[test]
fn another_host_can_restore_when_its_repository_is_its_own_to_read() {
    let (world, snapshot) = backed_up("other-host");
    let restores = world.scratch.dir("other-restores");
    let other = world
        .coordinator
        .agent(&world.scratch, "web-2", &world.source, &restores);
    let target = restores.join("from-web-1");
    let job = world.operator().restore(&snapshot, other.name(), &target);
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_identical(&world.source, &world.below(&target));
}

/// Of a swap file and of an image with a hole, both of zeros, which lies on the disk
/// in full.
fn allocated(directory: &Path) -> [bool; 2] {
    ["swap", "image"].map(|name| {
        let file = fs::metadata(directory.join(name)).expect("a file");
        assert_eq!(file.len(), 4 << 20);
        file.blocks() * 512 >= file.len()
    })
}

#[test]
fn zeros_are_holes_where_they_were_or_nowhere() {
    let world = World::new("sparse");
    fs::write(world.source.join("swap"), vec![0; 4 << 20]).expect("a file");
    let image = fs::File::create(world.source.join("image")).expect("a file");
    image.set_len(4 << 20).expect("a length");
    world.operator().apply(&world.policy(""));
    let snapshot = world.backup();
    assert_eq!(allocated(&world.restore(&snapshot, "auto")), [true, false]);
    world.restore_with(0, &snapshot, "never", &["--sparse", "never"]);
    let never = world.below(&world.restores.join("never"));
    assert_eq!(allocated(&never), [true, true]);

    let (directory, password) = world.repository();
    let offline = Offline::new(directory.to_str().expect("UTF-8"), &password);
    for (sparse, expected) in [("auto", [true, false]), ("never", [true, true])] {
        let target = world.scratch.join(format!("offline-{sparse}"));
        let target_argument = target.to_str().expect("UTF-8");
        let arguments = [&snapshot, "--target", target_argument, "--sparse", sparse];
        let answer = offline.run("restore", arguments);
        assert_eq!(answer.code, 0, "{answer:#?}");
        assert_eq!(allocated(&world.below(&target)), expected);
    }
}
