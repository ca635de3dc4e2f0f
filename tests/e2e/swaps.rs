//! Whoever owns a directory on the way exchanges it for a symbolic link and back,
//! as fast as he can: an agent that runs as root follows him nowhere.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, makedev, mknodat, renameat_with};
use rustix::io::Errno;
use strongroom_tests::{
    coordinator::Setup,
    operator::{Answer, eventually},
    tree::Tree,
};

use crate::world::{AGENT, World};

const RESTORES: usize = 8;
const BACKUPS: usize = 8;
const FILES: usize = 40;

/// Exchanges two names until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn start(directory: &Path, outside: &Path) -> Self {
        let link = directory.with_file_name("link");
        symlink(outside, &link).expect("a symlink");
        Self::between(directory, &link)
    }

    /// Exchanges two names, whatever they stand for.
    fn between(one: &Path, other: &Path) -> Self {
        let (stop, swaps) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ended, counted) = (Arc::clone(&stop), Arc::clone(&swaps));
        let (one, other) = (one.to_owned(), other.to_owned());
        let swap = move || {
            while !ended.load(Relaxed) {
                match renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE) {
                    Ok(()) => _ = counted.fetch_add(1, Relaxed),
                    // A restore has taken one away, and puts its own there.
                    Err(Errno::NOENT) => {}
                    Err(error) => panic!("two names cannot be exchanged: {error}"),
                }
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

/// A snapshot of some files, restored once; gives the snapshot, the target, and where
/// in it the files lie.
fn restored_files(world: &World) -> (String, PathBuf, PathBuf) {
    world.fill(&Tree::small(1));
    let files = world.source.join("files");
    fs::create_dir(&files).expect("a directory");
    for (number, seed) in (0..FILES).zip(1..) {
        let content = strongroom_tests::noise(seed, 60_000);
        fs::write(files.join(number.to_string()), content).expect("a file");
    }
    let snapshot = world.backup();
    let target = world.restores.join("target");
    world.operator().restore(&snapshot, AGENT, &target);
    let restored = world.below(&target).join("files");
    assert!(restored.join("0").is_file());
    (snapshot, target, restored)
}

/// Restores over what is there. It succeeds, is refused, or fails: that is chance.
fn restore_over(world: &World, snapshot: &str, target: &Path, overwrite: &str) -> Answer {
    let target = target.to_str().expect("UTF-8");
    world.operator().run([
        "restore",
        snapshot,
        "--agent",
        AGENT,
        "--target",
        target,
        "--overwrite",
        overwrite,
        "--wait",
    ])
}

#[test]
fn nothing_is_written_through_a_directory_that_takes_the_place_of_another() {
    let world = World::new("swapped-directories");
    let (snapshot, target, files) = restored_files(&world);
    // Of the same names, all of them links to what is nobody's business.
    let (decoy, outside) = (files.with_file_name("decoy"), world.scratch.join("outside"));
    fs::create_dir(&decoy).expect("a directory");
    fs::create_dir(&outside).expect("a directory");
    for number in 0..FILES {
        let victim = outside.join(number.to_string());
        fs::write(&victim, "mine").expect("a file");
        symlink(&victim, decoy.join(number.to_string())).expect("a symlink");
    }
    let swapper = Swapper::between(&files, &decoy);
    for number in 0..RESTORES {
        swapper.wait_for_swaps();
        let overwrite = ["always", "if-changed"][number % 2];
        restore_over(&world, &snapshot, &target, overwrite);
    }
    drop(swapper);
    for entry in fs::read_dir(&outside).expect("a directory") {
        let path = entry.expect("an entry").path();
        let content = fs::read(&path).expect("a file");
        assert_eq!(content, b"mine", "{}", path.display());
    }
    let count = fs::read_dir(&outside).expect("a directory").count();
    assert_eq!(count, FILES, "restored outside");
    // Left alone, it works.
    world
        .operator()
        .restore(&snapshot, AGENT, &world.restores.join("alone"));
}

/// What is written to the one somebody reads, what is written to the other fails.
#[test]
fn nothing_is_written_to_a_pipe_or_a_device_that_takes_the_place_of_a_file() {
    let world = World::new("swapped-files");
    let (snapshot, target, files) = restored_files(&world);
    let (pipe, full) = (files.join("pipe"), files.join("full"));
    let make = |path: &Path, kind, device| {
        // What the last restore has put in their place.
        let _absent = fs::remove_file(path);
        mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, device).expect("as root");
    };
    for number in 0..RESTORES {
        make(&pipe, FileType::Fifo, 0);
        make(&full, FileType::CharacterDevice, makedev(1, 7));
        // Open at both ends: whoever opens it for writing need not wait.
        let mut reader = fs::File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&pipe)
            .expect("a pipe");
        let swappers = [
            Swapper::between(&files.join("0"), &pipe),
            Swapper::between(&files.join("1"), &full),
        ];
        swappers.iter().for_each(Swapper::wait_for_swaps);
        let overwrite = ["always", "if-changed"][number % 2];
        let answer = restore_over(&world, &snapshot, &target, overwrite);
        drop(swappers);
        let said = answer.stdout + &answer.stderr;
        assert!(!said.contains("became full"), "written to a device: {said}");
        let read = reader.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock), "written to a pipe");
    }
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
