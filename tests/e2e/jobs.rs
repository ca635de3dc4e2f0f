//! Cancel, timeout, retry, concurrency.

use strongroom_tests::{
    coordinator::Setup,
    operator::{eventually, text},
    proxy::Action,
    scratch::Scratch,
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
fn a_failure_of_the_job_itself_is_tried_again_and_both_attempts_are_kept() {
    let scratch = Scratch::new("tried-again-mark");
    let script = format!(
        "mkdir {mark} || exec echo second; exit 3",
        mark = scratch.join("mark").display()
    );
    let world = World::with_agent("tried-again", Setup::default(), |agent| {
        agent.extra(&format!(
            "[commands.flaky]\nargv = ['sh', '-c', '{script}']\n"
        ))
    });
    let (operator, source) = (
        world.operator(),
        "source = { command = { name = \"flaky\" } }",
    );
    operator.apply(&format!(
        "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n{source}\n\
         store = \"primary\"\nlimits = {{ attempts = 2 }}\n"
    ));
    let job = operator.start(POLICY);
    let waiting = eventually("the first failure", || {
        let job = operator.job(&job);
        (!job["attempts"][0]["failure"].is_null()).then_some(job)
    });
    assert_eq!(waiting["state"], "pending", "{waiting:#}");
    let ended = operator.wait_for_end(&job);
    snapshot_of(&ended);
    let attempts = ended["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{ended:#}");
    let message = text(&attempts[0]["failure"]["message"]);
    assert_says(&message, &["flaky", "3"]);
    assert!(attempts[1]["failure"].is_null(), "{ended:#}");
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
fn agents_wait_for_each_other_as_the_limits_of_all_and_of_a_store_say() {
    for limit in ["global", "per_store"] {
        let setup = Setup {
            extra: format!("[limits]\n{limit} = 1\n"),
            ..Setup::default()
        };
        let world = World::behind_proxy(&format!("limit-{limit}"), setup);
        world.fill(&Tree::small(1));
        let (coordinator, operator) = (&world.coordinator, world.operator());
        let _other = coordinator.agent(&world.scratch, "web-2", &world.source, &world.restores);
        let others = world
            .policy("")
            .replace(&format!("\"{POLICY}\""), "\"others\"")
            .replace(&format!("\"{AGENT}\""), "\"web-2\"");
        operator.apply(&others);
        let gate = world.proxy().hold(1, |seen| seen.puts("data"));
        let first = operator.start(POLICY);
        gate.wait_until_reached();
        let second = operator.start("others");
        // Long enough for many looks at what may run.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let waiting = operator.job(&second);
        assert_eq!(waiting["state"], "pending", "{limit}: {waiting:#}");
        gate.open();
        let first = operator.wait_for_end(&first);
        let second = operator.wait_for_end(&second);
        snapshot_of(&first);
        snapshot_of(&second);
        let time = |job: &serde_json::Value, key: &str| -> jiff::Timestamp {
            text(&job[key]).parse().expect("a time")
        };
        assert!(
            time(&second, "started_at") >= time(&first, "finished_at"),
            "{limit}: {first:#} {second:#}"
        );
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
        let figure = |name: &str| job["progress"][name].as_u64();
        (figure("files")? > 0 && figure("bytes")? > 0).then(|| job["progress"].clone())
    });
    assert!(!text(&progress["stage"]).is_empty(), "{progress:#}");
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
