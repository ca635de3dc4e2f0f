//! Enrol, apply, back up, restore, compare: on a tree with every kind of
//! entry, and with plain restic as the judge of the format.

use std::{fs, time::Duration};

use strongroom_tests::{coordinator::Setup, restic::Restic, tree::Tree};

use crate::world::{POLICY, World, assert_identical, below, snapshot_of};

#[test]
fn every_kind_of_entry_comes_back_exactly() {
    let world = World::new("every-kind");
    world.fill(&Tree::full(1));
    let snapshot = world.backup();
    world.prove(&snapshot, "all");
}

#[test]
fn the_embedded_store_over_tls_serves_coordinator_and_agents() {
    let setup = Setup {
        embedded_tls: true,
        ..Setup::default()
    };
    let world = World::with("embedded-tls", setup);
    world.fill(&Tree::small(1));
    let snapshot = world.backup();
    world.prove(&snapshot, "all");
    world.restic().check();
}

#[test]
fn restic_finds_our_repository_sound_and_restores_the_same() {
    let world = World::new("restic-reads");
    // restic cannot restore beyond PATH_MAX.
    world.fill(&Tree {
        depth: 10,
        ..Tree::full(2)
    });
    let snapshot = world.backup();
    let restic = world.restic();
    restic.check();

    let ours = world.restore(&snapshot, "ours");
    let target = world.scratch.dir("restic");
    restic.restore(&snapshot, &target);
    let theirs = below(&target, &world.source);
    // Before 0.17 it keeps no odd link targets, gives the attributes of a
    // symlink to its target, and makes two of a fifo with two names; the rest
    // must be what we restored.
    for part in ["contents", "many", "modes", "names", "sparse", "times"] {
        assert_identical(&ours.join(part), &theirs.join(part));
    }
}

#[test]
fn restic_continues_a_repository_that_we_began() {
    let world = World::new("restic-writes");
    world.fill(&Tree::small(3));
    let ours = world.backup();
    let restic = world.restic();
    let source = world.source.to_str().expect("UTF-8");
    fs::write(world.source.join("added"), "for restic").expect("a file");
    restic.run(["backup", source]);
    restic.run(["tag", "--add", "kept", &ours]);
    restic.run(["forget", "--keep-last", "1", "--group-by", "", "--prune"]);
    restic.check();

    // Our next backup stands on what restic left.
    fs::write(world.source.join("added later"), "for us").expect("a file");
    let next = world.backup();
    restic.check();
    world.prove(&next, "after-restic");
}

#[test]
fn an_unchanged_tree_is_not_read_again_and_changes_are_found() {
    let world = World::new("incremental");
    world.fill(&Tree {
        small_files: 300,
        ..Tree::full(4)
    });
    // What was written just before a backup is read again by the next.
    std::thread::sleep(Duration::from_millis(300));
    let first = world.operator().backup(POLICY);
    let figures = &first["result"]["backup"];
    assert!(figures["bytes_new"].as_u64() > Some(0), "{figures:#}");

    let second = world.operator().backup(POLICY);
    let figures = &second["result"]["backup"];
    assert_eq!(figures["bytes_read"], 0, "{figures:#}");
    assert_eq!(figures["bytes_new"], 0, "{figures:#}");
    assert!(
        figures["files_unmodified"].as_u64() >= Some(300),
        "{figures:#}"
    );
    assert_ne!(snapshot_of(&first), snapshot_of(&second));

    fs::write(world.source.join("many/000/file-00003.txt"), "rewritten").expect("a file");
    fs::remove_file(world.source.join("many/001/file-00101.txt")).expect("a file to remove");
    fs::rename(
        world.source.join("contents/text"),
        world.source.join("moved"),
    )
    .expect("a move");
    let third = world.operator().backup(POLICY);
    let figures = &third["result"]["backup"];
    let read = figures["bytes_read"].as_u64().expect("a figure");
    assert!((9..1_000_000).contains(&read), "{figures:#}");
    world.prove(&snapshot_of(&third), "third");
    world.restic().check();
}

#[test]
fn excludes_includes_and_cache_directories_are_left_out() {
    let world = World::new("globs");
    Tree::small(5).write(&world.source);
    for (path, contents) in [
        ("keep/a.txt", ""),
        ("keep/b.tmp", ""),
        ("drop/inside", ""),
        (
            "cache/CACHEDIR.TAG",
            "Signature: 8a477f597d28d172789f06886806bc55\n",
        ),
        ("cache/big", ""),
        ("not-a-cache/CACHEDIR.TAG", "something else"),
    ] {
        let path = world.source.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, contents).expect("a file");
    }
    let source = world.source.display();
    world.operator().apply(&format!(
        "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"web-1\"] }}\nstore = \"primary\"\n\
         [policy.source.files]\npaths = ['{source}']\nexclude = [\"*.tmp\", \"{source}/drop\"]\n\
         exclude_caches = true\n"
    ));
    let snapshot = world.backup();
    let restored = world.restore(&snapshot, "all");
    assert!(restored.join("keep/a.txt").exists());
    assert!(restored.join("contents/large.random").exists());
    assert!(restored.join("not-a-cache/CACHEDIR.TAG").exists());
    for gone in ["keep/b.tmp", "drop", "cache/big"] {
        assert!(!restored.join(gone).exists(), "{gone} was to be left out");
    }
}

#[test]
fn several_paths_lie_in_one_snapshot() {
    let world = World::new("paths");
    Tree::small(6).write(&world.source.join("one"));
    Tree::small(7).write(&world.source.join("two/below"));
    fs::write(world.source.join("not named"), "").expect("a file");
    let (one, two) = (world.source.join("one"), world.source.join("two/below"));
    world.operator().apply(&format!(
        "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"web-1\"] }}\nstore = \"primary\"\n\
         source = {{ files = {{ paths = ['{}', '{}'] }} }}\n",
        one.display(),
        two.display()
    ));
    let snapshot = world.backup();
    let restored = world.restore(&snapshot, "all");
    assert_identical(&one, &restored.join("one"));
    assert_identical(&two, &restored.join("two/below"));
    assert!(!restored.join("not named").exists());
    let restic: Restic = world.restic();
    let listed = restic.snapshots();
    assert_eq!(
        listed[0]["paths"].as_array().map(Vec::len),
        Some(2),
        "{listed:#?}"
    );
}

#[test]
fn a_directory_of_very_many_entries_is_backed_up_and_restored() {
    let world = World::new("very-many");
    let directory = world.source.join("spool");
    fs::create_dir(&directory).expect("a directory");
    for number in 0..50_000 {
        fs::write(directory.join(format!("message-{number}")), "").expect("a file");
    }
    world.operator().apply(&world.policy(""));
    let snapshot = world.backup();
    world.prove(&snapshot, "all");
}
