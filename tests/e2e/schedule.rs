//! Scheduled runs.

use strongroom_tests::{
    coordinator::Setup,
    operator::{eventually, text},
    postgres::Database,
    tree::Tree,
};

use crate::world::{POLICY, World, snapshot_of};

/// How long the coordinator of a test pretends to have been away, in hours and
/// so in runs.
const AWAY: i64 = 5;

#[test]
fn a_scheduled_run_comes_by_itself_and_restores() {
    let world = World::new("scheduled");
    Tree::full(1).write(&world.source);
    world
        .operator()
        .apply(&world.policy("schedule = { cron = \"* * * * *\", timezone = \"Europe/Berlin\" }"));
    let policy = world.operator().json(&["policies", "show", POLICY]);
    assert!(!policy["next_run_at"].is_null(), "{policy:#}");
    let job = eventually("a scheduled job", || {
        let jobs = world.operator().json(&["jobs", "list", "--policy", POLICY]);
        jobs["jobs"].as_array()?.last().cloned()
    });
    assert_eq!(job["requested_by"], "coordinator", "{job:#}");
    let job = world.operator().wait_for_end(&text(&job["id"]));
    world.prove(&snapshot_of(&job), "all");
    let status = world.operator().json(&["status"]);
    let dataset = &status["datasets"][0];
    assert_eq!(dataset["dataset"], format!("{POLICY}@web-1"));
    assert!(
        !dataset["last_snapshot_at"].is_null() && !dataset["next_run_at"].is_null(),
        "{status:#}"
    );
    assert!(!dataset["last_restore_at"].is_null(), "{status:#}");
}

#[test]
fn what_was_missed_while_down_is_caught_up_at_once() {
    let mut world = World::new("catch-up");
    Tree::small(2).write(&world.source);
    world
        .operator()
        .apply(&world.policy("schedule = { cron = \"* * * * *\" }"));
    let policy = world.operator().json(&["policies", "show", POLICY]);
    let next: jiff::Timestamp = text(&policy["next_run_at"]).parse().expect("a time");
    world.coordinator.stop();
    eventually("the time of the missed run", || {
        (strongroom_tests::now() > next + jiff::SignedDuration::from_secs(1)).then_some(())
    });
    let restarted = strongroom_tests::now();
    world.coordinator.start_again();
    let job = eventually("the run that catches up", || {
        let jobs = world.operator().json(&["jobs", "list", "--policy", POLICY]);
        jobs["jobs"].as_array()?.last().cloned()
    });
    let created: jiff::Timestamp = text(&job["created_at"]).parse().expect("a time");
    let waited = created.duration_since(restarted);
    assert!(
        waited < jiff::SignedDuration::from_secs(20),
        "it waited {waited:#}"
    );
    snapshot_of(&world.operator().wait_for_end(&text(&job["id"])));
}

#[test]
fn however_many_runs_were_missed_one_catches_up() {
    let database = Database::create();
    let setup = Setup {
        catalog: Some(database.url().to_owned()),
        ..Setup::default()
    };
    let mut world = World::with("caught-up-once", setup);
    Tree::small(2).write(&world.source);
    // Half an hour from any run, so that none comes due meanwhile.
    let now = strongroom_tests::now().to_zoned(jiff::tz::TimeZone::UTC);
    let minute = (now.minute() + 30) % 60;
    world
        .operator()
        .apply(&world.policy(&format!("schedule = {{ cron = \"{minute} * * * *\" }}")));
    world.coordinator.stop();
    for since in ["policies SET scheduled_since", "agents SET enrolled_at"] {
        let column = since.rsplit(' ').next().expect("a column");
        database.execute(&format!(
            "UPDATE {since} = {column} - {AWAY} * 3600 * 1000000::bigint"
        ));
    }
    world.coordinator.start_again();
    let job = eventually("the run that catches up", || {
        let jobs = world.operator().json(&["jobs", "list", "--policy", POLICY]);
        jobs["jobs"].as_array()?.last().cloned()
    });
    snapshot_of(&world.operator().wait_for_end(&text(&job["id"])));
    // Started once more, it has nothing to catch up with.
    world.coordinator.stop();
    world.coordinator.start_again();
    let policy = world.operator().json(&["policies", "show", POLICY]);
    let next: jiff::Timestamp = text(&policy["next_run_at"]).parse().expect("a time");
    assert!(next > strongroom_tests::now(), "{policy:#}");
    let jobs = world.operator().json(&["jobs", "list", "--policy", POLICY]);
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "{jobs:#}");
}
