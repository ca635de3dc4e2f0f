//! The API as other people's tools see it: a validator of OpenAPI documents, a
//! fuzzer of APIs, and a client generated from the document. `tests/run` fetches
//! them from PyPI; without them these tests say so and end.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use strongroom_tests::{
    coordinator::Coordinator,
    http,
    operator::{Operator, eventually_within},
    scratch::Scratch,
    tree::Tree,
};

use crate::world::{AGENT, World, assert_identical};

/// The Python packages, or `None` where they could not be fetched.
fn tools() -> Option<PathBuf> {
    let tools = env::var_os("STRONGROOM_TEST_API_TOOLS").map(PathBuf::from);
    if tools.is_none() {
        eprintln!(
            "LEFT OUT: STRONGROOM_TEST_API_TOOLS names no Python packages (tests/run fetches \
             them from PyPI): the API is not tested with them"
        );
    }
    tools
}

/// One of the tools.
fn tool(tools: &Path, name: &str) -> Command {
    let programs = tools.join("bin");
    let mut paths = vec![programs.clone()];
    paths.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new(if name == "python3" {
        PathBuf::from(name)
    } else {
        programs.join(name)
    });
    command
        .env("PYTHONPATH", tools)
        .env("PATH", env::join_paths(paths).expect("paths"));
    command
}

/// Runs a command, which must succeed; gives what it wrote.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the tool runs");
    let wrote = [&output.stdout[..], &output.stderr[..]].concat();
    let wrote = String::from_utf8_lossy(&wrote).into_owned();
    assert!(output.status.success(), "{command:?}: {wrote}");
    wrote
}

/// Where the API is: its URL, a file with its CA, the operator's token, and a
/// file with its document.
struct Api {
    url: String,
    ca: PathBuf,
    token: String,
    document: PathBuf,
}

impl Api {
    fn of(coordinator: &Coordinator, scratch: &Scratch) -> Self {
        let profile = fs::read_to_string(coordinator.operator().profile()).expect("a profile");
        let profile: toml::Table = profile.parse().expect("TOML");
        let text = |key: &str| profile[key].as_str().expect("a text").to_owned();
        let (url, ca) = (text("url"), text("ca_certificate"));
        let (status, document) = http::get(&format!("{url}/api/v1/openapi.json"), &ca, None);
        assert_eq!(status, 200);
        let written = |name: &str, content: &str| {
            let path = scratch.dir("api").join(name);
            fs::write(&path, content).expect("a file can be written");
            path
        };
        Self {
            ca: written("ca.pem", &ca),
            document: written("openapi.json", &document),
            token: text("token"),
            url,
        }
    }
}

#[test]
fn a_validator_finds_nothing_wrong_with_the_document() {
    let Some(tools) = tools() else { return };
    let scratch = Scratch::new("openapi");
    let coordinator = Coordinator::start(&scratch);
    let api = Api::of(&coordinator, &scratch);
    let mut validator = tool(&tools, "openapi-spec-validator");
    run(validator
        .args(["--validation-errors", "all"])
        .arg(&api.document));
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(tools) = tools() else { return };
    let world = World::new("schemathesis");
    world.fill(&Tree::small(7));
    world.backup();
    let api = Api::of(&world.coordinator, &world.scratch);
    // Of an operator that schemathesis does not know, and so cannot revoke.
    let second = world.scratch.path().join("second.toml");
    let second_text = second.to_str().expect("UTF-8");
    let create = ["operators", "create", "second", "--write", second_text];
    world.operator().json(&create);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("api/schemathesis.toml");
    let mut schemathesis = tool(&tools, "schemathesis");
    schemathesis
        .arg("--config-file")
        .arg(config)
        .args(["run", "--url", &api.url, "--no-color"])
        // What lists and answers name is asked for in the last phase.
        .args(["--phases", "coverage,fuzzing,stateful"])
        .args(["--max-examples", "5", "--generation-deterministic"])
        // These wait for a store or an agent, minutes in all; other tests ask them.
        .args(["--exclude-operation-id", "check_store"])
        .args(["--exclude-operation-id", "list_entries"])
        // Longer than any other waits.
        .args(["--request-timeout", "60"])
        .args(["--header", &format!("Authorization: Bearer {}", api.token)])
        .arg("--tls-verify")
        .arg(&api.ca)
        .arg(&api.document)
        .current_dir(world.scratch.path());
    run(&mut schemathesis);
    // Once what came without a token is forgotten.
    let second = Operator::new(second);
    eventually_within(Duration::from_secs(90), "answer to a good token", || {
        (second.run(["status"]).code == 0).then_some(())
    });
}

#[test]
fn a_generated_client_backs_up_and_restores() {
    let Some(tools) = tools() else { return };
    let world = World::new("generated-client");
    Tree::small(7).write(&world.source);
    let api = Api::of(&world.coordinator, &world.scratch);
    let place = world.scratch.dir("client");
    let config = place.join("config.yaml");
    fs::write(
        &config,
        "package_name_override: strongroom_client\npost_hooks: []\n",
    )
    .expect("a file can be written");
    let package = place.join("strongroom_client");
    let mut generator = tool(&tools, "openapi-python-client");
    generator
        .args(["generate", "--meta", "none", "--fail-on-warning"])
        .arg("--path")
        .arg(&api.document)
        .arg("--config")
        .arg(&config)
        .arg("--output-path")
        .arg(&package)
        .current_dir(&place);
    run(&mut generator);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("api/client.py");
    let target = world.restores.join("generated");
    let mut python = tool(&tools, "python3");
    let packages = env::join_paths([&place, &tools]).expect("paths");
    python
        .env("PYTHONPATH", packages)
        .env("TOKEN", &api.token)
        .arg(script)
        .arg(&api.url)
        .arg(&api.ca)
        .arg(AGENT)
        .arg(&world.source)
        .arg(&target);
    run(&mut python);
    assert_identical(&world.source, &world.below(&target));
}
