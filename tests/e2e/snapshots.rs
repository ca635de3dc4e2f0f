//! Snapshots: listed, looked into, pinned.

use std::path::Path;

use strongroom_tests::{operator::text, tree::Tree};

use crate::world::{AGENT, POLICY, World, assert_identical, assert_says, snapshot_of};

#[test]
fn snapshots_are_listed_shown_and_named_by_prefix() {
    let world = World::new("snapshots");
    world.fill(&Tree::small(1));
    let (first, second) = (world.backup(), world.backup());
    let operator = world.operator();
    let listed = operator.json(&["snapshots", "list", "--agent", AGENT]);
    let ids: Vec<_> = listed["snapshots"]
        .as_array()
        .expect("snapshots")
        .iter()
        .map(|snapshot| text(&snapshot["id"]))
        .collect();
    assert_eq!(ids, [second, first.clone()], "newest first");
    let shown = operator.json(&["snapshots", "show", &first[..12]]);
    assert_eq!(text(&shown["id"]), first);
    assert_eq!(shown["dataset"], "files@web-1");
    assert!(
        shown["files"].as_u64() > Some(40) && shown["bytes_total"].as_u64() > Some(0),
        "{shown:#}"
    );
    assert_says(
        &operator.refused(4, &["snapshots", "show", "ffffffff"]),
        &["ffffffff"],
    );
}

#[test]
fn an_agent_lists_what_the_coordinator_cannot_read() {
    let world = World::new("ls");
    world.fill(&Tree {
        small_files: 250,
        ..Tree::full(2)
    });
    let snapshot = world.backup();
    let operator = world.operator();
    let source = world.source.to_str().expect("UTF-8");
    let listing = operator.json(&["snapshots", "ls", &snapshot, source]);
    let names: Vec<_> = paths(&listing);
    assert!(names.contains(&format!("{source}/contents")), "{names:#?}");
    assert!(
        !names.contains(&format!("{source}/contents/text")),
        "one level only"
    );

    // Page by page through everything, without a gap or a repetition.
    let all = paths(&operator.json(&["snapshots", "ls", &snapshot, "-r", "--limit", "100000"]));
    assert!(all.len() > 400, "{}", all.len());
    let many = format!("{source}/many");
    let mut pages = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut arguments = vec!["snapshots", "ls", &snapshot, &many, "-r", "--limit", "100"];
        if let Some(after) = &after {
            arguments.extend(["--after", after]);
        }
        let page = operator.json(&arguments);
        pages.extend(paths(&page));
        if page["truncated"] == false {
            break;
        }
        after = pages.last().cloned();
    }
    let whole: Vec<_> = all
        .into_iter()
        .filter(|path| path.starts_with(&format!("{many}/")))
        .collect();
    assert_eq!(pages, whole);

    let setuid = operator.json(&["snapshots", "ls", &snapshot, &format!("{source}/modes")]);
    let entries = setuid["entries"].as_array().expect("entries");
    let entry = entries
        .iter()
        .find(|entry| text(&entry["path"]["text"]).ends_with("file-4755"));
    assert_eq!(entry.expect("the setuid file")["mode"], 0o4755);
    assert_says(
        &operator.refused(4, &["snapshots", "ls", &snapshot, "/not/there"]),
        &["/not/there"],
    );
}

fn paths(listing: &serde_json::Value) -> Vec<String> {
    let entries = listing["entries"].as_array().expect("entries");
    entries
        .iter()
        .map(|entry| text(&entry["path"]["text"]))
        .collect()
}

#[test]
fn pins_are_set_taken_off_and_audited() {
    let world = World::new("pins");
    world.fill(&Tree::small(3));
    let snapshot = world.backup();
    let operator = world.operator();
    let pinned = |expected: bool| {
        let shown = operator.json(&["snapshots", "show", &snapshot]);
        assert_eq!(shown["pinned"], expected, "{shown:#}");
    };
    pinned(false);
    operator.json(&["snapshots", "pin", &snapshot]);
    pinned(true);
    operator.json(&["snapshots", "unpin", &snapshot]);
    pinned(false);
    assert_eq!(operator.audit("snapshot.pin").len(), 1);
    assert_eq!(operator.audit("snapshot.unpin").len(), 1);
}

#[test]
fn a_repositorys_password_is_shown_to_operators_and_audited() {
    let world = World::new("password");
    world.fill(&Tree::small(4));
    world.backup();
    let (name, location, password) = world.operator().repository();
    assert!(password.len() >= 32, "{} characters", password.len());
    // The embedded store's repositories are directories for restic.
    assert_eq!(Path::new(&location), world.repository().0);
    let audited = world.operator().audit("repository.password");
    assert_says(&audited[0].to_string(), &["operator:", &name]);
    assert!(!audited[0].to_string().contains(&password));

    // The password stands in no log and in no file but the sealed one.
    for program in [
        world.coordinator.program().log(),
        world.agent.program().log(),
    ] {
        assert!(!program.contains(&password), "the password is in a log");
    }
}

/// With nothing but the bucket and a password.
#[test]
fn plain_restic_tells_datasets_apart_by_their_tags() {
    let world = World::new("tags");
    world.fill(&Tree::small(5));
    let files = world.backup();
    let other = world
        .policy("")
        .replace(&format!("name = \"{POLICY}\""), "name = \"other\"");
    world.operator().apply(&(world.policy("") + &other));
    let later = snapshot_of(&world.operator().backup("other"));
    let restic = world.restic();
    let by_tag = |tag: &str| -> Vec<String> {
        let found = restic.run(["snapshots", "--json", "--tag", tag]);
        let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
        let found = found.as_array().expect("snapshots").iter();
        found.map(|it| text(&it["id"])).collect()
    };
    assert_eq!(
        by_tag(&format!("policy:{POLICY}")),
        std::slice::from_ref(&files)
    );
    assert_eq!(by_tag(&format!("dataset:{POLICY}@{AGENT}")), [files]);
    assert_eq!(by_tag("policy:other,source:files"), [later]);
    assert_eq!(by_tag("source:files").len(), 2);
    assert!(by_tag("source:redis").is_empty());
    // Without the tag it would be that of the other policy.
    let target = world.restores.join("emergency");
    restic.run([
        "restore",
        "latest",
        "--tag",
        &format!("policy:{POLICY}"),
        "--target",
        target.to_str().expect("UTF-8"),
    ]);
    assert_identical(&world.source, &world.below(&target));
}
