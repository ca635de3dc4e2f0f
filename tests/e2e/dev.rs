//! `strongroom dev`: the whole product in one command.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use rustix::process::Signal;
use strongroom_tests::{
    operator::{Answer, Operator},
    program::{PATIENCE, Program, binary},
    scratch::Scratch,
    tree::Tree,
};

use crate::world::assert_says;

fn dev(source: &Path, data: &Path) -> Command {
    let mut command = Command::new(binary("strongroom"));
    command.arg("dev").arg(source).arg("--data").arg(data);
    command
}

fn once(source: &Path, data: &Path) -> Answer {
    let output = dev(source, data)
        .arg("--once")
        .output()
        .expect("strongroom runs");
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What the report says behind a word.
fn row<'a>(answer: &'a Answer, word: &str) -> &'a str {
    let mut lines = answer.stdout.lines();
    let row = lines.find_map(|line| line.strip_prefix(word));
    let row = row.unwrap_or_else(|| panic!("no {word}: {answer:#?}"));
    row.trim()
}

#[test]
fn once_names_what_differs_and_does_not_end_with_0() {
    let scratch = Scratch::new("dev-differs");
    let (source, data) = (scratch.join("source"), scratch.join("data"));
    Tree::small(3).write(&source);
    let (busy, stop) = (source.join("busy"), AtomicBool::new(false));
    fs::write(&busy, "0").expect("a file");
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.load(Relaxed) {
                number += 1;
                fs::write(&busy, number.to_string()).expect("a file");
            }
        });
        let answer = once(&source, &data);
        stop.store(true, Relaxed);
        answer
    });
    assert_eq!(answer.code, 3, "{answer:#?}");
    assert_says(&answer.stdout, &["identical but for", "busy"]);
}

#[test]
fn once_backs_up_restores_compares_and_ends_with_0() {
    let scratch = Scratch::new("dev-once");
    let (source, data) = (scratch.join("source"), scratch.join("data"));
    Tree::full(1).write(&source);
    let first = once(&source, &data);
    assert_eq!(first.code, 0, "{first:#?}");
    assert_says(&first.stdout, &["identical", "restic check"]);
    // Our own checks of the store are no errors to whoever sees this first.
    assert!(!first.stderr.contains("ERROR"), "{first:#?}");
    let is_hex = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    assert!(is_hex(row(&first, "snapshot"), 64), "{first:#?}");
    assert!(is_hex(row(&first, "trace"), 32), "{first:#?}");
    let files = row(&first, "files");
    assert!(files.contains("(0 unchanged)"), "{files}");
    assert!(row(&first, "stored").contains("(ratio "), "{first:#?}");
    assert!(row(&first, "speed").contains(" MiB/s, "), "{first:#?}");
    assert!(row(&first, "agent's memory").contains("MiB"), "{first:#?}");

    // The second run on the same directory is incremental.
    fs::write(source.join("new"), "a new file").expect("a file");
    let second = once(&source, &data);
    assert_eq!(second.code, 0, "{second:#?}");
    assert_says(&second.stdout, &["identical"]);
    let files = row(&second, "files");
    assert!(!files.contains("(0 unchanged)"), "{files}");
    assert_eq!(row(&second, "read"), "10 B", "{second:#?}");

    // Plain restic opens the repository as the output says.
    let script = format!(
        "set -a; . {}/restic.env; set +a; restic check --read-data --no-cache && restic snapshots --json --no-cache",
        data.display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir("/")
        .output();
    let output = output.expect("a shell");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    let snapshots = stdout.lines().last().expect("a list of snapshots");
    let snapshots: serde_json::Value = serde_json::from_str(snapshots).expect("JSON");
    assert_eq!(snapshots.as_array().map(Vec::len), Some(2), "{snapshots:#}");
}

#[test]
fn it_stays_up_serves_operators_and_ends_cleanly_on_ctrl_c() {
    let scratch = Scratch::new("dev-stays");
    let (source, data) = (scratch.join("source"), scratch.join("data"));
    Tree::small(2).write(&source);
    let mut program = Program::spawn("dev", dev(&source, &data), &scratch.join("log"));
    program.wait_for_line("the comparison", |line| {
        line.to_lowercase().contains("identical")
    });
    let operator = Operator::new(data.join("operator.toml"));
    let status = operator.json(&["status"]);
    assert_eq!(status["counts"]["agents_connected"], 1, "{status:#}");
    assert_eq!(status["counts"]["snapshots"], 1, "{status:#}");
    assert!(
        !status["datasets"][0]["next_run_at"].is_null(),
        "it keeps a schedule: {status:#}"
    );
    let agents = pids_of_agents(&data);
    assert_eq!(agents.len(), 1);

    program.signal(Signal::INT);
    assert_eq!(program.wait(PATIENCE).code(), Some(0));
    assert!(pids_of_agents(&data).is_empty(), "the agent outlived `dev`");

    // Nothing keeps it from coming up again.
    assert_eq!(once(&source, &data).code, 0);
}

/// Agents whose command line names the directory.
fn pids_of_agents(data: &Path) -> Vec<String> {
    let data = data.to_str().expect("UTF-8");
    let processes = fs::read_dir("/proc").expect("/proc");
    processes
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().into_string().ok()?;
            pid.parse::<u32>().ok()?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            (line.contains("strongroom-agent") && line.contains(data)).then_some(pid)
        })
        .collect()
}

#[test]
fn the_data_directory_may_lie_in_what_is_backed_up() {
    let scratch = Scratch::new("dev-inside");
    let source = scratch.join("source");
    Tree::small(3).write(&source);
    let answer = once(&source, &source.join("strongroom-data"));
    assert_eq!(answer.code, 0, "{answer:#?}");
    let answer = once(&source, &source.join("strongroom-data"));
    assert_eq!(answer.code, 0, "{answer:#?}");
}

#[test]
fn a_path_that_does_not_exist_is_an_error_at_once() {
    let scratch = Scratch::new("dev-nowhere");
    let answer = once(&scratch.join("nowhere"), &scratch.join("data"));
    assert_ne!(answer.code, 0);
    assert_says(&answer.stderr, &["nowhere"]);
}

#[test]
fn two_at_once_on_one_directory_are_refused() {
    let scratch = Scratch::new("dev-twice");
    let (source, data) = (scratch.join("source"), scratch.join("data"));
    Tree::small(4).write(&source);
    let program = Program::spawn("dev", dev(&source, &data), &scratch.join("log"));
    program.wait_for_line("the comparison", |line| {
        line.to_lowercase().contains("identical")
    });
    let answer = once(&source, &data);
    assert_ne!(answer.code, 0, "{answer:#?}");
    assert_says(&answer.stderr, &["data"]);
    assert!(program.is_running(), "the first one goes on");
}
