//! The output of a command as a snapshot.

use std::fs;

use strongroom_tests::{agent::Agent, coordinator::Coordinator, operator::text, scratch::Scratch};

use crate::world::{assert_says, snapshot_of};

struct Commands {
    agent: Agent,
    coordinator: Coordinator,
    scratch: Scratch,
}

/// An agent with these commands, and a policy for each.
fn with_commands(name: &str, commands: &[(&str, &str)]) -> Commands {
    let scratch = Scratch::new(name);
    let coordinator = Coordinator::start(&scratch);
    let mut agent = Agent::prepare(&scratch, "db-1").allow(&scratch, &scratch.dir("restores"));
    for (name, script) in commands {
        agent = agent.extra(&format!(
            "[commands.{name}]\nargv = [\"sh\", \"-c\", '''{script}''']\nfilename = \"{name}.out\"\n"
        ));
        coordinator.operator().apply(&format!(
            "[[policy]]\nname = \"{name}\"\nagents = {{ names = [\"db-1\"] }}\n\
             source = {{ command = {{ name = \"{name}\" }} }}\nstore = \"primary\"\n\
             limits = {{ attempts = 1 }}\n"
        ));
    }
    agent.enroll(coordinator.agents_address(), &coordinator.invite("db-1"));
    agent.start();
    Commands {
        agent,
        coordinator,
        scratch,
    }
}

#[test]
fn the_output_comes_back_as_one_file() {
    let commands = with_commands("command", &[("dump", "seq 1 2000000; echo chatter >&2")]);
    let operator = commands.coordinator.operator();
    let snapshot = snapshot_of(&operator.backup("dump"));
    let target = commands.scratch.join("restores/dump");
    operator.restore(&snapshot, commands.agent.name(), &target);
    let restored = fs::read(target.join("dump.out")).expect("the output came back");
    let lines = std::str::from_utf8(&restored).expect("numbers").lines();
    assert!(
        lines.eq((1..=2_000_000).map(|number| number.to_string())),
        "{} bytes came back",
        restored.len()
    );
}

#[test]
fn a_command_that_fails_leaves_no_snapshot_and_says_why() {
    let script = "seq 1 100000; echo 'disk quota of orders exceeded' >&2; exit 7";
    let commands = with_commands("command-fails", &[("dump", script)]);
    let operator = commands.coordinator.operator();
    let jobs = operator.json_with(1, &["run", "dump", "--wait"]);
    let job = &jobs["jobs"][0];
    assert_eq!(job["state"], "failed", "{job:#}");
    assert_eq!(job["failure"]["code"], "command", "{job:#}");
    assert_says(
        &text(&job["failure"]["message"]),
        &["dump", "7", "disk quota of orders exceeded"],
    );
    let snapshots = operator.json(&["snapshots", "list"]);
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_command_that_the_host_does_not_name_is_refused() {
    let commands = with_commands("command-unknown", &[]);
    let operator = commands.coordinator.operator();
    operator.apply(
        "[[policy]]\nname = \"evil\"\nagents = { names = [\"db-1\"] }\n\
         source = { command = { name = \"rm\" } }\nstore = \"primary\"\n",
    );
    let jobs = operator.json_with(1, &["run", "evil", "--wait"]);
    let failure = &jobs["jobs"][0]["failure"];
    assert_eq!(failure["code"], "not-allowed", "{jobs:#}");
    assert_says(&text(&failure["message"]), &["rm", "agent.toml"]);
}
