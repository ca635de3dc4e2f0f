//! Policies as code.

use strongroom_tests::{coordinator::Coordinator, operator::text, scratch::Scratch};

use crate::world::assert_says;

fn policy(name: &str, more: &str) -> String {
    format!(
        "[[policy]]\nname = \"{name}\"\nagents = {{ labels = {{ role = \"web\" }} }}\n\
         source = {{ files = {{ paths = [\"/srv\"] }} }}\nstore = \"primary\"\n{more}\n\n"
    )
}

fn names(coordinator: &Coordinator) -> Vec<String> {
    let policies = coordinator.operator().json(&["policies", "list"]);
    let policies = policies["policies"].as_array().expect("policies");
    policies
        .iter()
        .map(|policy| text(&policy["name"]))
        .collect()
}

/// Applies a file that must be refused, and returns what is said of it.
fn refused(coordinator: &Coordinator, policies: &str) -> String {
    let operator = coordinator.operator();
    let file = operator.write_policies(policies);
    operator.refused(1, &["apply", "-f", file.to_str().expect("UTF-8")])
}

#[test]
fn a_dry_run_shows_the_difference_and_changes_nothing() {
    let scratch = Scratch::new("dry-run");
    let coordinator = Coordinator::start(&scratch);
    let operator = coordinator.operator();
    operator.apply(&policy("a", ""));

    let new = policy("a", "schedule = \"daily\"") + &policy("b", "");
    let file = operator.write_policies(&new);
    let file = file.to_str().expect("UTF-8");
    let planned = operator.json(&["apply", "-f", file, "--dry-run"]);
    assert_eq!(planned["dry_run"], true, "{planned:#}");
    let change = |name: &str| {
        let changes = planned["changes"].as_array().expect("changes");
        let change = changes.iter().find(|change| change["policy"] == name);
        change
            .unwrap_or_else(|| panic!("no change of {name}: {planned:#}"))
            .clone()
    };
    assert_eq!(change("b")["action"], "create", "{planned:#}");
    assert_eq!(change("a")["action"], "update", "{planned:#}");
    assert_says(&change("a").to_string(), &["schedule", "daily"]);
    assert_eq!(names(&coordinator), ["a"]);

    let would_change = ["apply", "-f", file, "--dry-run", "--exit-code"];
    assert_eq!(operator.run(would_change).code, 3);
    operator.json(&["apply", "-f", file]);
    assert_eq!(operator.run(would_change).code, 0);
    assert_eq!(names(&coordinator), ["a", "b"]);
    let shown = operator.json(&["policies", "show", "a"]);
    assert_says(&text(&shown["toml"]), &["daily", "/srv"]);
    let again = operator.json(&["apply", "-f", file]);
    let changes = again["changes"].as_array().expect("changes");
    assert!(
        changes.iter().all(|change| change["action"] == "unchanged"),
        "{again:#}"
    );

    operator.json(&["policies", "delete", "b"]);
    assert_eq!(names(&coordinator), ["a"]);
}

#[test]
fn one_bad_line_and_nothing_changes() {
    let scratch = Scratch::new("one-bad-line");
    let coordinator = Coordinator::start(&scratch);
    coordinator.operator().apply(&policy("before", ""));
    for (bad, parts) in [
        ("schedule = { cron = \"0 25 * * *\" }", &["0 25 * * *"][..]),
        ("schedule = { cron = \"0 2 * *\" }", &["0 2 * *"]),
        (
            "schedule = { cron = \"0 2 * * *\", timezone = \"Europe/Atlantis\" }",
            &["Europe/Atlantis"],
        ),
        ("schedule = \"fortnightly\"", &["fortnightly", "weekly"]),
        ("shedule = \"daily\"", &["shedule", "schedule"]),
        ("limits = { timeout = \"soon\" }", &["soon"]),
        ("limits = { upload = \"fast\" }", &["fast", "MiB/s"]),
        ("limits = { attempts = 0 }", &["attempts"]),
        (
            "limits = { download = \"0B/s\" }",
            &["limits.download", "0B/s", "1KiB/s"],
        ),
        (
            "limits = { threads = 0 }",
            &["limits.threads", "at least 1"],
        ),
        (
            "limits = { memory = \"16MiB\" }",
            &["limits.memory", "16MiB", "22MiB"],
        ),
    ] {
        let file = policy("good", "") + &policy("bad", bad) + &policy("good too", "");
        let file = file.replace("good too", "good-too");
        let message = refused(&coordinator, &file);
        assert_says(&message, parts);
        let line = file
            .lines()
            .position(|line| line == bad)
            .expect("the bad line")
            + 1;
        assert_says(&message, &[&line.to_string(), ".toml"]);
        assert_eq!(names(&coordinator), ["before"], "after {bad}");
    }
    let unknown_store = policy("a", "").replace("primary", "nowhere");
    assert_says(
        &refused(&coordinator, &unknown_store),
        &["nowhere", "primary"],
    );
    let twice = policy("a", "") + &policy("a", "");
    assert_says(&refused(&coordinator, &twice), &["\"a\""]);
    let relative = policy("a", "").replace("/srv", "srv");
    assert_says(&refused(&coordinator, &relative), &["srv", "absolute"]);
    assert_eq!(names(&coordinator), ["before"]);
}

#[test]
fn a_policy_that_matches_no_agent_is_a_warning() {
    let scratch = Scratch::new("no-agent");
    let coordinator = Coordinator::start(&scratch);
    let operator = coordinator.operator();
    let applied = operator.apply(&policy("lonely", ""));
    assert_says(&applied["warnings"].to_string(), &["lonely", "no agent"]);
    assert_eq!(names(&coordinator), ["lonely"]);
    let answer = operator.run(["run", "lonely"]);
    assert_says(
        &format!("{}{}", answer.stdout, answer.stderr),
        &["lonely", "no agent"],
    );
}

#[test]
fn changes_are_audited_with_their_author() {
    let scratch = Scratch::new("policy-audit");
    let coordinator = Coordinator::start(&scratch);
    coordinator.operator().apply(&policy("watched", ""));
    let entries = coordinator.operator().audit("policy");
    assert_says(&entries[0].to_string(), &["operator:", "watched"]);
}
