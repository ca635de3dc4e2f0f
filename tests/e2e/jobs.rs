//! Cancel, timeout, retry, concurrency.

use strongroom_tests::{
    coordinator::Setup,
    operator::{eventually, text},
    proxy::Action,
    tree::Tree,
};

use crate::world::{AGENT, POLICY, World, assert_says, snapshot_of};

#[test]
fn cancelling_stops_a_running_backup() {
    let world = World::behind_proxy("cancel", Setup::default());
    world.fill(&Tree::small(1));
    let gate = world.proxy().hold(1, |seen| seen.puts("data"));
    let job = world.operator().start(POLICY);
    gate.wait_until_reached();
    world.operator().json(&["jobs", "cancel", &job]);
    // It ends although its upload still hangs.
    let ended = world.operator().wait_for_end(&job);
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    gate.open();
    let snapshots = world.operator().json(&["snapshots", "list"]);
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(0));
    let audited = world.operator().audit("job.cancel");
    assert_says(&audited[0].to_string(), &[&job, "operator:"]);

    // Cancelling again is refused, and the next run is not affected.
    world.operator().refused(1, &["jobs", "cancel", &job]);
    world.backup();
}

#[test]
fn cancelling_a_waiting_job_ends_it_at_once() {
    let mut world = World::new("cancel-waiting");
    world.fill(&Tree::small(1));
    world.agent.stop();
    let job = world.operator().start(POLICY);
    let cancelled = world.operator().json(&["jobs", "cancel", &job]);
    assert_eq!(cancelled["state"], "cancelled", "{cancelled:#}");
    world.agent.start();
    assert_eq!(world.operator().job(&job)["state"], "cancelled");
    assert_eq!(
        world.operator().job(&job)["attempts"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn a_backup_beyond_its_timeout_is_stopped() {
    let world = World::behind_proxy("timeout", Setup::default());
    Tree::small(1).write(&world.source);
    world
        .operator()
        .apply(&world.policy("limits = { timeout = \"2s\", attempts = 1 }"));
    let gate = world.proxy().hold(1, |seen| seen.puts("data"));
    let jobs = world.operator().json_with(1, &["run", POLICY, "--wait"]);
    let job = &jobs["jobs"][0];
    assert_eq!(job["failure"]["code"], "timeout", "{job:#}");
    assert_says(&text(&job["failure"]["message"]), &["2", "timeout"]);
    gate.open();
}

#[test]
fn with_one_attempt_a_failure_is_final_and_the_next_run_is_a_job_of_its_own() {
    let world = World::behind_proxy("attempts", Setup::default());
    Tree::small(1).write(&world.source);
    world
        .operator()
        .apply(&world.policy("limits = { attempts = 1 }"));
    world.proxy().rule(|seen| {
        seen.puts("data")
            .then_some(Action::Answer(403, "AccessDenied"))
    });
    let jobs = world.operator().json_with(1, &["run", POLICY, "--wait"]);
    let job = &jobs["jobs"][0];
    assert_eq!(job["failure"]["code"], "store", "{job:#}");
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job:#}");
    world.proxy().clear();
    snapshot_of(&world.operator().backup(POLICY));
}

#[test]
fn one_dataset_never_runs_twice_at_a_time() {
    let world = World::behind_proxy("overlap", Setup::default());
    world.fill(&Tree::small(1));
    let gate = world.proxy().hold(1, |seen| seen.puts("data"));
    let first = world.operator().start(POLICY);
    gate.wait_until_reached();
    // A second run is either not made (it is running already) or waits.
    let second = world.operator().run(["run", POLICY, "--output", "json"]);
    let states = world
        .operator()
        .json(&["jobs", "list", "--state", "running"]);
    assert_eq!(
        states["jobs"].as_array().map(Vec::len),
        Some(1),
        "{second:#?} {states:#}"
    );
    gate.open();
    snapshot_of(&world.operator().wait_for_end(&first));
}

#[test]
fn no_more_jobs_run_at_once_than_the_limits_say() {
    let setup = Setup {
        extra: "[limits]\nglobal = 2\nper_agent = 1\n".into(),
        ..Setup::default()
    };
    let world = World::behind_proxy("limits", setup);
    Tree::small(1).write(&world.source);
    for name in ["one", "two", "three"] {
        let policy = world.policy("").replace(
            &format!("name = \"{POLICY}\""),
            &format!("name = \"{name}\""),
        );
        world.operator().apply(&policy);
    }
    let gate = world.proxy().hold(1, |seen| seen.puts("data"));
    let jobs: Vec<_> = ["one", "two", "three"]
        .map(|name| world.operator().start(name))
        .into();
    gate.wait_until_reached();
    let running = world
        .operator()
        .json(&["jobs", "list", "--state", "running"]);
    assert_eq!(
        running["jobs"].as_array().map(Vec::len),
        Some(1),
        "{running:#}"
    );
    gate.open();
    for job in &jobs {
        snapshot_of(&world.operator().wait_for_end(job));
    }
}

#[test]
fn progress_is_seen_while_a_backup_runs() {
    let world = World::behind_proxy("progress", Setup::default());
    world.fill(&Tree::small(1));
    let gate = world.proxy().hold(1, |seen| seen.puts("data"));
    let job = world.operator().start(POLICY);
    gate.wait_until_reached();
    let progress = eventually("progress", || {
        let job = world.operator().job(&job);
        (job["progress"]["files"].as_u64()? > 0).then(|| job["progress"].clone())
    });
    assert!(progress["bytes"].as_u64() > Some(0), "{progress:#}");
    gate.open();
    snapshot_of(&world.operator().wait_for_end(&job));
    let listed = world
        .operator()
        .json(&["jobs", "list", "--agent", AGENT, "--kind", "backup"]);
    assert_eq!(text(&listed["jobs"][0]["id"]), job);
}

#[test]
fn an_upload_limit_holds() {
    let world = World::new("upload-limit");
    Tree::small(1).write(&world.source);
    world
        .operator()
        .apply(&world.policy("limits = { upload = \"2MiB/s\" }"));
    let job = world.operator().backup(POLICY);
    let stored = job["result"]["backup"]["bytes_stored"]
        .as_u64()
        .expect("a figure");
    let millis = job["duration_ms"].as_u64().expect("a figure");
    assert!(stored > 3 << 20, "{job:#}");
    // A burst of one second is allowed.
    let least = (stored - (2 << 20)) * 1000 / (2 << 20);
    assert!(
        millis >= least,
        "{stored} bytes in {millis} ms are faster than 2 MiB/s"
    );
}
