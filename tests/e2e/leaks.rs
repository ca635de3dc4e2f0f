//! Looks for what must not have left a host: in jobs, audit, logs, and in every
//! byte that coordinator and agent keep.

use std::{fs, path::Path};

use crate::world::World;

/// None of these is anywhere that an operator, or a thief of the catalog, looks.
pub(crate) fn assert_none_leaked(world: &World, secrets: &[&str]) {
    let jobs = world.operator().json(&["jobs", "list"]);
    let ids = jobs["jobs"].as_array().expect("jobs");
    for id in ids.iter().filter_map(|job| job["id"].as_str()) {
        assert_none_in("a job", &world.operator().job(id).to_string(), secrets);
    }
    let audit = world.operator().json(&["audit", "--limit", "1000"]);
    assert_none_in("the audit", &audit.to_string(), secrets);
    assert_none_in("the agent's log", &world.agent.program().log(), secrets);
    let log = world.coordinator.program().log();
    assert_none_in("the coordinator's log", &log, secrets);
    assert_none_below(world.coordinator.directory(), secrets);
    assert_none_below(&world.agent.state(), secrets);
}

/// None of these is in a text.
pub(crate) fn assert_none_in(what: &str, text: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in {what}: {text}");
    }
}

/// Every byte below a directory: catalog, logs, store.
fn assert_none_below(directory: &Path, secrets: &[&str]) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let Ok(kind) = fs::symlink_metadata(&path) else {
            continue; // it is gone
        };
        if kind.is_dir() {
            assert_none_below(&path, secrets);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            assert_none_in(&path.display().to_string(), &text, secrets);
        }
    }
}
