//! What an operator sees: on a terminal, and where there is none.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use rustix::process::Signal;

use strongroom_proto::v1::{self, agent_message::Message};
use strongroom_runtime::printable::is_treacherous;
use strongroom_tests::{
    coordinator::{Coordinator, Setup},
    hostile_agent::{Rogue, hello},
    operator::{Answer, eventually, only, text},
    program::{PATIENCE, Program, binary},
    scratch::Scratch,
    tree::Tree,
};

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

#[test]
fn whoever_stops_waiting_is_told_that_the_job_goes_on() {
    let world = World::behind_proxy("wait-interrupted", Setup::default());
    world.fill(&Tree::small(1));
    let gate = world.proxy().hold_all(|seen| seen.puts("data"));
    let mut command = Command::new(binary("strongroom"));
    command
        .args(["run", POLICY, "--wait"])
        .env("STRONGROOM_PROFILE", world.operator().profile());
    let mut waiting = Program::spawn("strongroom", command, &world.scratch.join("waiting.log"));
    gate.wait_until_reached();
    // Not its first line: by then it listens for signals.
    waiting.wait_for_line("the work", |line| line.contains(" files, "));
    waiting.signal(Signal::INT);
    let status = waiting.wait(PATIENCE);
    assert_eq!(status.code(), Some(130), "{}", waiting.log());
    let job = only(&world.operator().json(&["jobs", "list"])["jobs"]);
    assert_eq!(job["state"], "running", "{job:#}");
    let id = text(&job["id"]);
    let log = waiting.log();
    let said = log.lines().find(|line| line.contains("goes on"));
    let said = said.unwrap_or_else(|| panic!("not a word of the job: {log}"));
    let short = &id[id.len() - 8..];
    let (show, cancel) = (format!("jobs show {short}"), format!("jobs cancel {short}"));
    assert_says(said, &[&show, &cancel]);
    assert_eq!(world.operator().job(short)["id"], *id, "what it says works");

    gate.open();
    let job = world.operator().wait_for_end(&id);
    assert_eq!(job["state"], "succeeded", "{job:#}");
}

/// What is said on a terminal where this is typed, and the exit code.
fn typed(coordinator: &Coordinator, command: &str, keys: &str) -> (String, Option<i32>) {
    let mut terminal = Command::new("script");
    let command = format!("{} {command}", binary("strongroom").display());
    terminal
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("STRONGROOM_PROFILE", coordinator.operator().profile())
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = terminal.spawn().expect("script runs");
    let mut keyboard = child.stdin.take().expect("a pipe");
    keyboard.write_all(keys.as_bytes()).expect("keys");
    // Held until the end: nobody hangs up.
    let output = child.wait_with_output().expect("it ends");
    drop(keyboard);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (said, output.status.code())
}

#[test]
fn who_is_shut_out_for_good_is_asked_about_on_a_terminal() {
    let scratch = Scratch::new("revoke");
    let coordinator = Coordinator::start(&scratch);
    for name in ["asked", "sure", "script"] {
        Rogue::enrol(coordinator.agents_address(), &coordinator.invite(name));
    }
    let is_revoked = |name: &str| {
        let agent = coordinator.operator().json(&["agents", "show", name]);
        !agent["revoked_at"].is_null()
    };
    for no in ["n\n", "\n", "maybe\n"] {
        let (said, code) = typed(&coordinator, "agents revoke asked", no);
        assert_says(&said, &["asked", "for good?", "[y/N]", "nothing was done"]);
        assert!(code.is_some_and(|code| code != 0), "{code:?}: {said}");
        assert!(!is_revoked("asked"), "{no:?}: {said}");
    }
    let (said, code) = typed(&coordinator, "agents revoke asked", "y\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("[y/N]") && is_revoked("asked"), "{said}");

    let (said, code) = typed(&coordinator, "agents revoke sure --yes", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("[y/N]") && is_revoked("sure"), "{said}");
    // Where nobody can answer, nobody is asked.
    let answer = coordinator.operator().run(["agents", "revoke", "script"]);
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(is_revoked("script"), "{answer:#?}");
}

/// Sets the title, clears the screen, turns red, turns around, fakes a line.
const NASTY: &str =
    "x\u{1b}]0;mine\u{7}\u{1b}[2J\u{9b}31m\u{202e}live\u{2066}\rstrongroom: all is well\ny";

/// Nothing but what is seen, and the ends of our own lines.
fn assert_harmless(answer: &Answer) {
    for text in [&answer.stdout, &answer.stderr] {
        let bad = text.find(|c| is_treacherous(c) && c != '\n');
        assert_eq!(bad, None, "{text:?}");
        let faked = text
            .lines()
            .any(|line| line.starts_with("strongroom: all is"));
        assert!(!faked, "{text}");
    }
}

#[test]
fn what_an_agent_says_does_nothing_to_a_terminal() {
    let scratch = Scratch::new("nasty");
    let coordinator = Coordinator::start(&scratch);
    let operator = coordinator.operator();
    let rogue = Rogue::enrol(coordinator.agents_address(), &coordinator.invite("rogue"));
    operator.apply(
        "[[policy]]\nname = \"of-rogue\"\nagents = { names = [\"rogue\"] }\n\
         source = { files = { paths = [\"/srv\"] } }\nstore = \"primary\"\n\
         limits = { attempts = 1 }\n",
    );
    let job = operator.start("of-rogue");
    let nasty = || NASTY.to_owned();
    let mut session = rogue.open_session_as(v1::AgentHello {
        agent_version: nasty(),
        hostname: nasty(),
        os: nasty(),
        architecture: nasty(),
        consent: Some(v1::Consent {
            sources: vec![nasty()],
            read_paths: vec![nasty()],
            restore_paths: vec![nasty()],
            commands: vec![nasty()],
        }),
        ..hello()
    });
    let connection = |name: &str, state| v1::Connection {
        kind: "postgres".into(),
        name: name.into(),
        restore: true,
        checked_at: "2026-11-21T12:00:00Z".into(),
        state: Some(state),
    };
    let server = v1::Server {
        product: nasty(),
        version: nasty(),
        role: nasty(),
        databases: vec![v1::Database {
            name: nasty(),
            bytes: 7,
            keys: 0,
            closed: false,
        }],
        facts: vec![v1::Fact {
            name: nasty(),
            value: nasty(),
        }],
    };
    let connections = vec![
        connection("one", v1::connection::State::Server(server)),
        connection("two", v1::connection::State::Problem(nasty())),
    ];
    rogue.say(&session, Message::Inventory(v1::Inventory { connections }));
    let attempt = rogue.accept_job(&mut session).attempt;
    let progress = v1::Progress {
        attempt: attempt.clone(),
        stage: nasty(),
        ..v1::Progress::default()
    };
    let heartbeat = v1::Heartbeat {
        running: vec![progress],
        ..v1::Heartbeat::default()
    };
    rogue.say(&session, Message::Heartbeat(heartbeat));
    let running = eventually("the stage", || {
        let answer = operator.run(["jobs", "list"]);
        answer.stdout.contains("live").then_some(answer)
    });
    assert_harmless(&running);
    eventually("the inventory", || {
        let answer = operator.run(["agents", "show", "rogue"]);
        answer.stdout.contains("two").then_some(())
    });

    let failure = v1::Failure {
        code: "store".into(),
        message: nasty(),
        retryable: false,
    };
    let report = v1::Report {
        report_id: uuid::Uuid::new_v4().to_string(),
        attempt,
        warnings: vec![v1::Warning {
            path: nasty().into_bytes(),
            cause: nasty(),
            code: nasty(),
            accepted: false,
        }],
        warning_count: 1,
        outcome: Some(v1::report::Outcome::Failure(failure)),
        ..v1::Report::default()
    };
    rogue.say(&session, Message::Report(report));
    operator.wait_for_end(&job);

    for command in [
        &["agents", "list"][..],
        &["agents", "show", "rogue"],
        &["jobs", "list"],
        &["jobs", "show", &job],
        &["status"],
        &["audit"],
        &["agents", "show", NASTY],
    ] {
        let answer = operator.run(command);
        assert_harmless(&answer);
        let json = operator.run([command, &["--output", "json"]].concat());
        assert_harmless(&json);
    }
    let shown = operator.run(["jobs", "show", &job]).stdout;
    assert_says(
        &shown,
        &[r"x\u{1b}]0;mine\u{7}\u{1b}[2J\u{9b}31m\u{202e}live"],
    );
    // JSON has every byte.
    let agent = operator.json(&["agents", "show", "rogue"]);
    assert_eq!(agent["hostname"], NASTY);
    assert_eq!(operator.job(&job)["failure"]["message"], NASTY);
}
