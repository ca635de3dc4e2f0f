//! What operating it takes: tokens that are lost, labels, clocks, configurations.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
    process::Command,
};

use jiff::SignedDuration;
use rustix::process::{Pid, Signal, kill_process};
use strongroom_proto::v1;
use strongroom_tests::{
    agent::Agent,
    hostile_agent::{Rogue, hello},
    operator::{eventually, text},
    program::{PATIENCE, Program, binary},
    scratch::Scratch,
    tree::Tree,
};

use crate::world::{AGENT, POLICY, World, assert_says};

#[test]
fn who_holds_the_coordinators_host_is_let_in_again() {
    let mut world = World::new("reset");
    let profile = world.operator().profile().to_owned();
    let lost = fs::read(&profile).expect("the profile");
    fs::remove_file(&profile).expect("the profile is lost");
    assert_says(
        &world.operator().refused(5, &["status"]),
        &["operator.toml"],
    );

    // While it runs, and while it does not.
    let config = world.coordinator.config().to_owned();
    let config = config.to_str().expect("UTF-8");
    let reset = ["operators", "reset", "--config", config];
    let answer = world.operator().run(reset);
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert_says(&answer.stdout, &["admin", "refused", "STRONGROOM_PROFILE"]);
    assert!(!answer.stdout.contains("srt_"), "no token is shown");
    world.operator().json(&["status"]);
    let mode = fs::metadata(&profile).expect("the profile").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let kept = profile.with_file_name("kept.toml");
    fs::rename(&profile, &kept).expect("a rename");
    fs::write(&profile, lost).expect("a file");
    fs::set_permissions(&profile, fs::Permissions::from_mode(0o600)).expect("a mode");
    assert_says(&world.operator().refused(5, &["status"]), &["token"]);

    world.coordinator.stop();
    let answer = world.operator().run(reset);
    assert_eq!(answer.code, 0, "{answer:#?}");
    world.coordinator.start_again();
    let audit = world
        .operator()
        .json(&["audit", "--action", "operator.reset"]);
    let entries = audit["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 2, "{audit:#}");
    assert_eq!(entries[0]["object"], "admin");
    assert_eq!(entries[0]["actor"], "coordinator");

    // Nothing was served from there.
    let nowhere = world.scratch.dir("nowhere").join("coordinator.toml");
    fs::write(&nowhere, "data_directory = \"data\"\n").expect("a file");
    let nowhere = nowhere.to_str().expect("UTF-8");
    let refused = world
        .operator()
        .refused(1, &["operators", "reset", "--config", nowhere]);
    assert_says(&refused, &["strongroom serve"]);
}

/// SQLite makes files, and whoever runs the service may have put links there.
#[test]
fn root_lets_operators_in_as_the_owner_of_the_data() {
    const SERVICE: u32 = 65_534;
    let mut world = World::new("reset-owner");
    world.coordinator.stop();
    let data = world.coordinator.directory().join("data");
    let mut all = vec![data.clone()];
    while let Some(path) = all.pop() {
        lchown(&path, Some(SERVICE), Some(SERVICE)).expect("an owner");
        if path.is_dir() && !path.is_symlink() {
            let entries = fs::read_dir(&path).expect("a directory");
            all.extend(entries.map(|it| it.expect("an entry").path()));
        }
    }
    let config = world.coordinator.config().to_owned();
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(&config, mode).expect("a mode");
    let config = config.to_str().expect("UTF-8");
    let reset = ["operators", "reset", "--config", config];
    let answer = world.operator().run(reset);
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert_says(&answer.stdout, &["admin", "operator.toml"]);
    for entry in fs::read_dir(&data).expect("a directory") {
        let path = entry.expect("an entry").path();
        let owner = path.symlink_metadata().expect("metadata").uid();
        assert_eq!(owner, SERVICE, "{}", path.display());
    }

    // A catalog that only root may write is root's to keep.
    let catalog = data.join("catalog.sqlite");
    let kept = world.scratch.join("roots.db");
    fs::rename(&catalog, &kept).expect("a rename");
    chown(&kept, Some(0), Some(0)).expect("an owner");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).expect("a mode");
    let before = fs::read(&kept).expect("a file");
    symlink(&kept, &catalog).expect("a symlink");
    let answer = world.operator().run(reset);
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(fs::read(&kept).expect("a file") == before);
}

/// What was started by hand ends with its terminal, in order.
#[test]
fn a_closed_terminal_ends_what_was_started_at_it() {
    let mut world = World::new("hangup");
    world.agent.stop();
    world.coordinator.stop();
    let programs = [
        ("strongroom-agent", "run", world.agent.config(), "starts"),
        (
            "strongroom",
            "serve",
            world.coordinator.config().to_owned(),
            "is serving",
        ),
    ];
    for (name, verb, config, ready) in programs {
        let pid = world.scratch.join(format!("{name}.pid"));
        let run = format!(
            "echo $$ > '{}'; exec '{}' {verb} --config '{}'",
            pid.display(),
            binary(name).display(),
            config.display()
        );
        // From util-linux: gives the command a terminal, and its end to us.
        let mut terminal = Command::new("script");
        terminal
            .args(["--quiet", "--return", "--command", &run, "/dev/null"])
            .env("SHELL", "/bin/sh");
        let log = world.scratch.join(format!("{name}-terminal.log"));
        let mut terminal = Program::spawn("terminal", terminal, &log);
        terminal.wait_for_line("its start", |line| line.contains(ready));
        let pid = fs::read_to_string(pid).expect("a number");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number"));
        kill_process(pid.expect("not 0"), Signal::HUP).expect("it runs");
        let ended = terminal.wait(PATIENCE);
        assert!(ended.success(), "{name}: {ended}");
    }
}

#[test]
fn labels_are_changed_and_policies_go_by_them_at_once() {
    let world = World::new("labels");
    world.fill(&Tree::small(1));
    let operator = world.operator();
    let source = world.source.display();
    operator.apply(&format!(
        "[[policy]]\nname = \"by-label\"\nagents = {{ labels = {{ role = \"web\" }} }}\n\
         source = {{ files = {{ paths = ['{source}'] }} }}\nstore = \"primary\"\n"
    ));
    let chosen = || {
        let status = operator.json(&["status"]);
        let datasets = status["datasets"].as_array().expect("datasets").clone();
        datasets.iter().any(|it| it["dataset"] == "by-label@web-1")
    };
    assert!(!chosen());
    let answer = operator.run(["agents", "label", AGENT, "role=web", "zone=a"]);
    assert_says(&answer.stdout, &["role=web zone=a"]);
    assert!(chosen());
    operator.backup("by-label");
    operator.json(&["agents", "label", AGENT, "role-"]);
    assert!(!chosen());
    let agent = operator.json(&["agents", "label", AGENT]);
    assert_eq!(agent["labels"], serde_json::json!({ "zone": "a" }));
    assert_says(
        &operator.refused(1, &["agents", "label", AGENT, "role-"]),
        &["role"],
    );
    assert_says(
        &operator.refused(2, &["agents", "label", AGENT, "role"]),
        &["KEY-"],
    );
    let audit = operator.json(&["audit", "--action", "agent.label"]);
    assert_eq!(
        audit["entries"].as_array().map(Vec::len),
        Some(2),
        "{audit:#}"
    );
}

#[test]
fn a_clock_that_is_wrong_is_shown_while_it_is() {
    let world = World::new("clock");
    let rogue = Rogue::enrol(
        world.coordinator.agents_address(),
        &world.coordinator.invite("late"),
    );
    let clock = |hours| (strongroom_tests::now() + SignedDuration::from_hours(hours)).to_string();
    let session = rogue.open_session_as(v1::AgentHello {
        clock: clock(1),
        ..hello()
    });
    let operator = world.operator();
    let agent = operator.json(&["agents", "show", "late"]);
    let skew = agent["clock_skew_seconds"].as_i64().expect("it is known");
    assert!((3_500..=3_600).contains(&skew), "{skew}");
    let status = operator.run(["status"]);
    assert_says(
        &status.stdout,
        &["agent late", "ahead of the coordinator's"],
    );
    assert_eq!(operator.run(["status", "--exit-code"]).code, 3);
    assert_says(&operator.run(["agents", "list"]).stdout, &["ahead"]);
    let honest = operator.json(&["agents", "show", AGENT]);
    let skew = honest["clock_skew_seconds"].as_i64().expect("it is known");
    assert!(skew.abs() < 10, "{skew}");
    let log = world.coordinator.program().log();
    assert_says(&log, &["the agent's clock is"]);
    for _ in 0..3 {
        let heartbeat = v1::Heartbeat {
            clock: clock(0),
            ..v1::Heartbeat::default()
        };
        rogue.say(&session, v1::agent_message::Message::Heartbeat(heartbeat));
    }
    eventually("the clock is right", || {
        let status = operator.json(&["status"]);
        status["clocks"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(())
    });
    assert_eq!(
        text(&operator.json(&["agents", "show", "late"])["state"]),
        "connected"
    );
}

#[test]
fn a_second_agent_on_a_state_directory_leaves_the_first_alone() {
    let world = World::new("second-agent");
    world.fill(&Tree::small(1));
    let mut second = world.agent.spawn();
    assert!(!second.wait(PATIENCE).success());
    assert_says(
        &second.log(),
        &["another strongroom-agent", "stop that one first"],
    );
    world.backup();
}

#[test]
fn a_configuration_that_others_can_write_is_no_consent() {
    let scratch = Scratch::new("writable");
    let agent = Agent::prepare(&scratch, "writable");
    fs::write(agent.config(), "").expect("a file");
    let may = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(agent.config(), mode).expect("a mode");
        let mut program = agent.spawn();
        assert!(!program.wait(PATIENCE).success());
        program.log()
    };
    let path = agent.config();
    let path = path.to_str().expect("UTF-8");
    for (mode, remedy) in [(0o664, "g-w"), (0o646, "o-w")] {
        let remedy = format!("chmod {remedy} {path}");
        let says = ["agent.toml", "written by others", &remedy];
        assert_says(&may(mode), &says);
        // Whoever looks before an upgrade is told the same.
        let (code, said) = agent_says(&["config", "check", "--config", path]);
        assert_eq!(code, 1, "{said}");
        assert_says(&said, &says);
    }
    // Not enrolled, but read.
    assert!(!may(0o644).contains("written by others"));
    chown(path, Some(65_534), None).expect("an owner");
    let remedy = format!("chown 0 {path}");
    let says = ["agent.toml", "belongs to user 65534", &remedy];
    assert_says(&may(0o644), &says);
    assert_says(&agent_says(&["config", "check", "--config", path]).1, &says);
}

#[test]
fn what_an_agent_will_refuse_is_foretold_when_a_policy_is_applied() {
    let world = World::new("foretold");
    world.fill(&Tree::small(1));
    let operator = world.operator();
    let policies = operator.write_policies(&format!(
        "[[policy]]\nname = \"outside\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ files = {{ paths = [\"/outside\"] }} }}\nstore = \"primary\"\n\
         [[policy]]\nname = \"dump\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ command = {{ name = \"nightly\" }} }}\nstore = \"primary\"\n"
    ));
    let policies = policies.to_str().expect("UTF-8");
    let foretold = [
        "policy outside will fail on web-1",
        "/outside",
        "allow.read_paths",
        "policy dump will fail on web-1",
        "[commands.nightly]",
    ];
    for arguments in [
        &["apply", "-f", policies, "--dry-run"][..],
        &["apply", "-f", policies],
    ] {
        let answer = operator.run(arguments);
        assert_eq!(answer.code, 0, "{answer:#?}");
        assert_says(&format!("{}{}", answer.stdout, answer.stderr), &foretold);
    }
    // It was right: and nobody waits for attempts that cannot succeed.
    let failed = operator.json_with(1, &["run", "outside", "--wait"]);
    let job = &failed["jobs"][0];
    assert_eq!(job["failure"]["code"], "not-allowed", "{job:#}");
}

#[test]
fn a_path_that_never_was_fails_at_once() {
    let world = World::new("never-was");
    let operator = world.operator();
    let path = world.source.join("no/such/path");
    operator.apply(&format!(
        "[[policy]]\nname = \"nowhere\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ files = {{ paths = ['{}'] }} }}\nstore = \"primary\"\n",
        path.display()
    ));
    let failed = operator.json_with(1, &["run", "nowhere", "--wait"]);
    let job = operator.job(&text(&failed["jobs"][0]["id"]));
    let message = text(&job["failure"]["message"]);
    assert_says(&message, &["no/such", "there is no such file or directory"]);
    assert!(!message.contains("vanished"), "{message}");
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job:#}");
}

#[test]
fn a_pending_job_says_whom_it_waits_for() {
    let mut world = World::new("waits");
    world.fill(&Tree::small(1));
    world.agent.stop();
    let id = world.operator().start(POLICY);
    let job = world.operator().job(&id);
    assert_eq!(job["waits_for"]["what"], "agent", "{job:#}");
    let shown = world.operator().run(["jobs", "show", &id]);
    assert_says(
        &shown.stdout,
        &["waits for", "agent web-1, which is not connected; since"],
    );
    world.agent.start();
    let job = world.operator().wait_for_end(&id);
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(job["waits_for"].is_null());
}

/// Runs `strongroom-agent` with these arguments.
fn agent_says(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(binary("strongroom-agent"))
        .args(arguments)
        .output()
        .expect("strongroom-agent runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

#[test]
fn configurations_are_checked_before_anything_is_started() {
    let world = World::new("config-check");
    let operator = world.operator();
    let path = world.coordinator.config().to_owned();
    let path = path.to_str().expect("UTF-8");
    let check = |code| {
        let answer = operator.run(["config", "check", "--config", path]);
        assert_eq!(answer.code, code, "{answer:#?}");
        answer.stdout
    };
    assert_says(&check(0), &["coordinator.toml is good"]);
    let store = "\n[store.other]\nendpoint = \"https://s3.example\"\nbucket = \"b-b\"\n\
                 access_key_id_file = \"no-id\"\nsecret_access_key_file = \"no-secret\"\n";
    world.coordinator.edit_config(|config| config + store);
    assert_says(&check(1), &["[store.other]", "no-id"]);
    let bad = |config: String| config.replace("heartbeat_seconds = 1", "heartbeat_seconds = 0");
    world.coordinator.edit_config(bad);
    assert_says(&check(1), &["coordinator.toml", "heartbeat_seconds"]);

    let path = world.agent.config();
    let path = path.to_str().expect("UTF-8");
    let check = || agent_says(&["config", "check", "--config", path]);
    let (code, said) = check();
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["is good", "files"]);
    let good = fs::read_to_string(path).expect("the configuration");
    let more = "[commands.dump]\nargv = ['no-such-program']\n\
                [redis.cache]\nurl = 'redis://127.0.0.1:1'\npassword_file = '/no/password'\n";
    fs::write(path, format!("{good}\n{more}")).expect("a file");
    let (code, said) = check();
    assert_eq!(code, 1, "{said}");
    assert_says(
        &said,
        &[
            "commands.dump",
            "no-such-program",
            "redis.cache: password_file",
        ],
    );
    fs::write(path, good + "\n[allow]\n").expect("a file");
    assert_eq!(check().0, 1);
}

#[test]
fn configurations_are_read_again_at_a_signal() {
    let mut world = World::new("reload");
    world.fill(&Tree::small(1));
    let operator = world.operator().clone();
    operator.backup(POLICY);

    // What the agent allows, at once; what it cannot read changes nothing.
    let path = world.agent.config();
    let text = fs::read_to_string(&path).expect("the configuration");
    let more = "\n[commands.hello]\nargv = ['echo', 'hello']\n";
    fs::write(&path, format!("{text}{more}")).expect("a file");
    operator.apply(&format!(
        "[[policy]]\nname = \"hello\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ command = {{ name = \"hello\" }} }}\nstore = \"primary\"\n"
    ));
    operator.json_with(1, &["run", "hello", "--wait"]);
    let program = world.agent.program();
    program.signal(Signal::HUP);
    let line = program.wait_for_line("the reload", |line| line.contains("was reloaded"));
    assert_says(&line, &["commands.hello.argv"]);
    eventually("what it allows now", || {
        let agent = operator.json(&["agents", "show", AGENT]);
        let commands = agent["consent"]["commands"].as_array()?;
        commands.iter().any(|it| it == "hello").then_some(())
    });
    operator.backup("hello");
    fs::write(&path, "[allow\n").expect("a file");
    program.signal(Signal::HUP);
    program.wait_for_line("the refusal", |line| line.contains("was not reloaded"));
    operator.backup("hello");
    let text = text.replace("state_dir", "coordinator = 'elsewhere:7443'\nstate_dir");
    fs::write(&path, text).expect("a file");
    program.signal(Signal::HUP);
    let line = program.wait_for_line("what needs a restart", |line| {
        line.contains("need a restart")
    });
    assert_says(&line, &["coordinator"]);
    operator.json_with(1, &["run", "hello", "--wait"]);
    operator.backup(POLICY);

    // The coordinator's limits.
    let program = world.coordinator.program();
    world.coordinator.edit_config(|config| {
        config.replace("lease_seconds = 10", "lease_seconds = 20") + "\n[limits]\nper_agent = 7\n"
    });
    program.signal(Signal::HUP);
    let line = program.wait_for_line("the reload", |line| line.contains("was reloaded"));
    assert_says(&line, &["limits.per_agent"]);
    let line = program.wait_for_line("what needs a restart", |line| {
        line.contains("need a restart")
    });
    assert_says(&line, &["sessions.lease_seconds"]);
    operator.backup(POLICY);
    world.agent.stop();
}

#[test]
fn a_jobs_log_says_what_happened_to_it() {
    let world = World::new("job-logs");
    world.fill(&Tree::small(1));
    let operator = world.operator();
    let job = operator.backup(POLICY);
    let id = text(&job["id"]);
    let shown = operator.run(["jobs", "logs", &id]);
    assert_eq!(shown.code, 0, "{shown:#?}");
    let mut rest = shown.stdout.as_str();
    // In this order.
    for expected in [
        "asked for by operator admin",
        "offered to web-1",
        "web-1 begins",
        "succeeded",
    ] {
        let at = rest.find(expected);
        let at = at.unwrap_or_else(|| panic!("{expected} in {}", shown.stdout));
        rest = &rest[at..];
    }
    let log = operator.json(&["jobs", "logs", &id, "--follow"]);
    assert_eq!(log["state"], "succeeded");
    let entries = log["entries"].as_array().expect("entries");
    let times: Vec<_> = entries.iter().map(|entry| text(&entry["at"])).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_bucket_that_does_not_exist_fails_a_job_at_once() {
    let world = World::with_store("no-bucket", |store| store.bucket = "no-such-bucket".into());
    world.fill(&Tree::small(1));
    let failed = world.operator().json_with(1, &["run", POLICY, "--wait"]);
    let job = world.operator().job(&text(&failed["jobs"][0]["id"]));
    let message = text(&job["failure"]["message"]);
    assert_says(&message, &["bucket", "no-such-bucket", "does not exist"]);
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job:#}");
    let status = world.operator().run(["status"]).stdout;
    assert_says(&status, &["store primary", "no-such-bucket", "path style"]);
    for line in status.lines().filter(|line| line.starts_with("store ")) {
        assert_eq!(line.matches("primary").count(), 1, "{line}");
    }
}
