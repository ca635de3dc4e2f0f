//! What an operator sees: on a terminal, and where there is none.

use std::process::{Command, Output};

use strongroom_proto::v1::{self, agent_message::Message};
use strongroom_runtime::printable::is_treacherous;
use strongroom_tests::{
    coordinator::{Coordinator, Setup},
    operator::{Answer, eventually},
    program::binary,
    rogue::{Rogue, hello},
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
