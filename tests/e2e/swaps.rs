//! Whoever owns a directory on the way exchanges it for a symbolic link and back,
//! as fast as he can: an agent that runs as root follows him nowhere.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use strongroom_tests::{coordinator::Setup, operator::eventually, tree::Tree};

use crate::world::{AGENT, World};

const RESTORES: usize = 8;
const BACKUPS: usize = 8;

/// Exchanges a directory and a link until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn start(directory: &Path, outside: &Path) -> Self {
        let link = directory.with_file_name("link");
        symlink(outside, &link).expect("a symlink");
        let (stop, swaps) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ended, counted) = (Arc::clone(&stop), Arc::clone(&swaps));
        let directory = directory.to_owned();
        let swap = move || {
            while !ended.load(Relaxed) {
                renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE)
                    .expect("the file system can exchange two names");
                counted.fetch_add(1, Relaxed);
                thread::yield_now();
            }
        };
        Self {
            stop,
            swaps,
            thread: Some(thread::spawn(swap)),
        }
    }

    /// Waits until both names have been seen.
    fn wait_for_swaps(&self) {
        let before = self.swaps.load(Relaxed);
        eventually("two swaps", || {
            (self.swaps.load(Relaxed) >= before + 2).then_some(())
        });
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// `user` in a directory that is allowed, and a directory that is not.
fn trap(world: &World, allowed: &Path) -> (PathBuf, PathBuf) {
    let (user, outside) = (allowed.join("user"), world.scratch.join("outside"));
    fs::create_dir(&user).expect("a directory");
    fs::create_dir(&outside).expect("a directory");
    (user, outside)
}

#[test]
fn nothing_is_restored_outside_while_a_directory_is_exchanged() {
    let world = World::new("swapped-restores");
    world.fill(&Tree::small(1));
    let snapshot = world.backup();
    let (user, outside) = trap(&world, &world.restores);
    let swapper = Swapper::start(&user, &outside);
    for number in 0..RESTORES {
        swapper.wait_for_swaps();
        // There already, every other time.
        let target = user.join(format!("target-{}", number / 2));
        let target = target.to_str().expect("UTF-8");
        // It succeeds, is refused, or fails: that is chance.
        world.operator().run([
            "restore",
            &snapshot,
            "--agent",
            AGENT,
            "--target",
            target,
            "--overwrite",
            "always",
            "--wait",
        ]);
        let found: Vec<_> = fs::read_dir(&outside).expect("a directory").collect();
        assert!(found.is_empty(), "restored outside: {found:?}");
    }
    drop(swapper);
    // Left alone, it works.
    world
        .operator()
        .restore(&snapshot, AGENT, &world.restores.join("alone"));
}

#[test]
fn nothing_outside_is_backed_up_while_a_directory_is_exchanged() {
    let world = World::new("swapped-backups");
    let (user, outside) = trap(&world, &world.source);
    for (place, content) in [(&user, "allowed"), (&outside, "hush")] {
        fs::create_dir(place.join("data")).expect("a directory");
        fs::write(place.join("data/file"), content).expect("a file");
    }
    fs::write(outside.join("data/secret"), "hush").expect("a file");
    fs::write(world.source.join("stays"), "stays").expect("a file");
    let requested = user.join("data");
    world.operator().apply(&format!(
        "[[policy]]\nname = \"swapped\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ files = {{ paths = ['{}', '{}'] }} }}\nstore = \"primary\"\n\
         limits = {{ attempts = 1 }}\n",
        requested.display(),
        world.source.join("stays").display()
    ));
    // The first makes the repository.
    world.operator().backup("swapped");
    let swapper = Swapper::start(&user, &outside);
    for _ in 0..BACKUPS {
        swapper.wait_for_swaps();
        // It reads the path, warns of it, or is refused: that is chance.
        world.operator().run(["run", "swapped", "--wait"]);
    }
    drop(swapper);
    let restic = world.restic();
    let snapshots = restic.snapshots();
    assert!(!snapshots.is_empty());
    for snapshot in snapshots {
        let id = snapshot["id"].as_str().expect("an id");
        let listed = restic.run(["ls", id]);
        assert!(!listed.contains("secret"), "{listed}");
        let file = requested.join("file");
        let file = file.to_str().expect("UTF-8");
        if listed.contains(file) {
            assert_eq!(restic.run(["dump", id, file]), "allowed");
        }
    }
}

#[test]
fn the_agents_own_state_is_neither_backed_up_nor_restored_into() {
    // All of the test's directory may be read and written: the state is in it.
    let world = World::with_agent("own-state", Setup::default(), |agent| {
        let above = agent.state();
        let above = above
            .ancestors()
            .nth(2)
            .expect("it is in the scratch directory");
        agent.allow(above, above)
    });
    fs::write(world.source.join("data"), "data").expect("a file");
    let state = world.agent.state();
    let above = state.parent().expect("a directory");
    let linked = world.source.join("linked");
    fs::hard_link(state.join("identity.json"), &linked).expect("a hard link");
    let policy = |path: &Path| {
        world.operator().apply(&format!(
            "[[policy]]\nname = \"own\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             source = {{ files = {{ paths = ['{}', '{}'] }} }}\nstore = \"primary\"\n",
            path.display(),
            world.source.display()
        ));
    };
    // Asked for by its name, and by one of a link.
    let alias = world.scratch.join("alias");
    symlink(&state, &alias).expect("a symlink");
    for path in [state.clone(), state.join("outbox"), alias.join("outbox")] {
        policy(&path);
        let jobs = world.operator().json_with(1, &["run", "own", "--wait"]);
        let failure = &jobs["jobs"][0]["failure"];
        assert_eq!(failure["code"], "not-allowed", "{jobs:#}");
        let message = failure["message"].as_str().expect("a message");
        assert!(message.contains("the agent's own state"), "{message}");
    }
    // In the middle of what is asked for.
    policy(above);
    world.operator().run(["run", "own", "--wait"]);
    let restic = world.restic();
    let snapshots = restic.snapshots();
    let id = snapshots[0]["id"].as_str().expect("an id");
    let listed = restic.run(["ls", id]);
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines.contains(&state.to_str().expect("UTF-8")), "{listed}");
    assert!(
        lines.iter().any(|line| line.ends_with("source/data")),
        "{listed}"
    );
    for never in ["identity", "outbox", "linked"] {
        assert!(!listed.contains(never), "{listed}");
    }
    // Nor restored into.
    for target in [state.join("new"), alias] {
        let target = target.to_str().expect("UTF-8");
        let answer = world.operator().run([
            "restore", id, "--agent", AGENT, "--target", target, "--wait", "--output", "json",
        ]);
        assert_eq!(answer.code, 1, "{answer:#?}");
        assert!(
            answer.stdout.contains("the agent's own state"),
            "{answer:#?}"
        );
    }
    assert!(!state.join("new").exists());
}
