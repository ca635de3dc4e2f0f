//! What `agent.toml` does not allow is refused on the agent, whatever the
//! coordinator says.

use strongroom_tests::{operator::text, tree::Tree};

use crate::world::{AGENT, World, assert_says};

#[test]
fn reading_outside_of_the_allowed_paths_is_refused() {
    let world = World::new("consent-read");
    world.operator().apply(&format!(
        "[[policy]]\nname = \"shadow\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ files = {{ paths = [\"/etc/shadow\"] }} }}\nstore = \"primary\"\n"
    ));
    let jobs = world.operator().json_with(1, &["run", "shadow", "--wait"]);
    let job = &jobs["jobs"][0];
    assert_eq!(job["failure"]["code"], "not-allowed", "{job:#}");
    assert_says(
        &text(&job["failure"]["message"]),
        &["/etc/shadow", "read_paths", "agent.toml"],
    );
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job:#}");
}

#[test]
fn a_path_that_only_looks_allowed_is_refused() {
    let world = World::new("consent-dots");
    let dots = world.source.join("../secret");
    world.scratch.dir("secret");
    let policies = world.operator().write_policies(&format!(
        "[[policy]]\nname = \"dots\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ files = {{ paths = ['{}'] }} }}\nstore = \"primary\"\n",
        dots.display()
    ));
    // Refused at the latest by the agent, at the earliest when applied.
    let file = policies.to_str().expect("UTF-8");
    if world.operator().run(["apply", "-f", file]).code == 0 {
        let jobs = world.operator().json_with(1, &["run", "dots", "--wait"]);
        assert_eq!(
            jobs["jobs"][0]["failure"]["code"], "not-allowed",
            "{jobs:#}"
        );
    }
}

#[test]
fn restoring_outside_of_the_allowed_paths_is_refused() {
    let world = World::new("consent-restore");
    world.fill(&Tree::small(1));
    let snapshot = world.backup();
    let outside = world.scratch.join("outside");
    // A symlink below the allowed path must not lead out of it.
    std::os::unix::fs::symlink(&outside, world.restores.join("link")).expect("a symlink");
    std::fs::create_dir(&outside).expect("a directory");
    for (target, reason) in [
        (outside.clone(), "restore_paths"),
        (world.restores.join("link/below"), "restore_paths"),
        (world.restores.join("../outside"), "without `..`"),
    ] {
        let target = target.to_str().expect("UTF-8");
        let answer = world.operator().run([
            "restore", &snapshot, "--agent", AGENT, "--target", target, "--wait", "--output",
            "json",
        ]);
        assert_eq!(answer.code, 1, "{answer:#?}");
        assert_says(&format!("{}{}", answer.stdout, answer.stderr), &[reason]);
        let written = std::fs::read_dir(&outside).expect("the directory").count();
        assert_eq!(written, 0, "something was written outside");
    }
}

#[test]
fn operators_see_what_a_host_allows() {
    let world = World::new("consent-shown");
    let agent = world.operator().json(&["agents", "show", AGENT]);
    let consent = &agent["consent"];
    assert_eq!(
        consent["read_paths"][0],
        world.source.to_str().expect("UTF-8")
    );
    assert_eq!(
        consent["restore_paths"][0],
        world.restores.to_str().expect("UTF-8")
    );
    assert_eq!(agent["state"], "connected", "{agent:#}");
}
