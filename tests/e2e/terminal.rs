//! What an operator sees: on a terminal, and where there is none.

use std::process::{Command, Output};

use strongroom_tests::{coordinator::Setup, program::binary, tree::Tree};

use crate::world::{POLICY, World, assert_says};

/// Draws the bar over the line before.
const REDRAWN: &str = "\u{1b}[";

fn world(name: &str) -> World {
    let world = World::with(name, Setup::default());
    world.fill(&Tree::small(1));
    world
}

/// `strongroom run POLICY --wait` by the profile that the environment names.
fn run(world: &World, mut command: Command) -> Output {
    let profile = world.operator().profile();
    let output = command
        .env("STRONGROOM_PROFILE", profile)
        .env("TERM", "xterm")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:#?}");
    output
}

#[test]
fn progress_is_drawn_on_a_terminal() {
    let world = world("terminal");
    // From util-linux: gives the command a terminal, and its output to us.
    let mut terminal = Command::new("script");
    let wait = format!("{} run {POLICY} --wait", binary("strongroom").display());
    terminal.args(["--quiet", "--return", "--command", &wait, "/dev/null"]);
    let drawn = run(&world, terminal).stdout;
    let drawn = String::from_utf8_lossy(&drawn);
    assert_says(&drawn, &[REDRAWN, "backup", "succeeded"]);
}

#[test]
fn without_a_terminal_there_are_lines() {
    let world = world("no-terminal");
    let mut command = Command::new(binary("strongroom"));
    command.args(["run", POLICY, "--wait"]);
    let Output { stdout, stderr, .. } = run(&world, command);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert_says(&stdout, &["succeeded"]);
    assert_says(&stderr, &[POLICY]);
    assert!(
        !stdout.contains(REDRAWN) && !stderr.contains(REDRAWN),
        "{stdout}{stderr}"
    );
}
