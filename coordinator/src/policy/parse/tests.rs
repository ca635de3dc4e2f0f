//! Tests of policy documents.

use std::num::{NonZeroU32, NonZeroU64};

use proptest::prelude::*;
use strongroom_spec::{DumpContent, PostgresSource, Source};

use super::{InvalidPolicies, parse};
use crate::policy::{AgentSelector, Cron, Policy, Preset, Schedule};

/// The example of the documentation.
const EXAMPLE: &str = r#"
[[policy]]
name      = "web-files"
agents    = { labels = { role = "web" } }        # or names = ["web-1"]
source    = { files = { paths = ["/srv"], exclude = ["*.tmp"], one_file_system = true } }
store     = "primary"
schedule  = { cron = "0 2 * * *", timezone = "Europe/Berlin", jitter = "10m" }   # or "daily"
limits    = { timeout = "1h", attempts = 3, upload = "50MiB/s" }
"#;

fn read(text: &str) -> Result<Vec<Policy>, InvalidPolicies> {
    parse("policies.toml", text, &["primary".into(), "offsite".into()])
}

/// The example with one line replaced.
fn with(key: &str, line: &str) -> String {
    EXAMPLE
        .lines()
        .map(|it| if it.starts_with(key) { line } else { it })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The one problem of a document.
fn problem(text: &str) -> (usize, String, String) {
    let mut problems = read(text).unwrap_err().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = problems.remove(0);
    assert_eq!(problem.file, "policies.toml");
    (problem.line, problem.key, problem.message)
}

#[test]
fn the_example_is_read() {
    let policy = read(EXAMPLE).unwrap().remove(0);
    assert_eq!(policy.name, "web-files");
    let labels = [("role".to_owned(), "web".to_owned())].into();
    assert_eq!(policy.agents, AgentSelector::Labels(labels));
    let Source::Files(files) = &policy.source else {
        panic!("{policy:?}");
    };
    assert_eq!(files.paths, ["/srv"]);
    assert!(files.one_file_system);
    assert_eq!(
        policy.schedule,
        Some(Schedule::Cron(Cron {
            cron: "0 2 * * *".into(),
            timezone: "Europe/Berlin".into(),
            jitter: Some("10m".parse().unwrap()),
        }))
    );
    assert_eq!(policy.limits.timeout.unwrap().seconds(), 3600);
    let upload = policy.limits.upload.unwrap();
    assert_eq!(upload.bytes_per_second().get(), 50 << 20);
}

/// The sample, also with the keys that are commented out.
#[test]
fn the_sample_shows_every_limit_and_is_read() {
    let text = include_str!("../../../../deploy/policies.toml");
    assert!(read(text).unwrap().len() > 1);
    let whole: Vec<_> = text
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .collect();
    let policy = read(&whole.join("\n")).unwrap().remove(0);
    let limits = policy.limits;
    assert!(limits.timeout.is_some());
    assert_eq!(limits.new_data().map(NonZeroU64::get), Some(500 << 30));
    let resources = limits.resources();
    assert!(resources.upload.is_some() && resources.download.is_some());
    assert!(resources.read.is_some());
    assert!(resources.threads.is_some() && resources.memory.is_some());
}

#[test]
fn limits_of_the_host_s_resources_are_read() {
    let text = with(
        "limits",
        r#"limits = { download = "1MB/s", read = "2KiB/s", threads = 3, memory = "128MiB" }"#,
    );
    let resources = read(&text).unwrap().remove(0).limits.resources();
    assert_eq!(resources.upload, None);
    assert_eq!(resources.download, NonZeroU64::new(1_000_000));
    assert_eq!(resources.read, NonZeroU64::new(2048));
    assert_eq!(resources.threads, NonZeroU32::new(3));
    assert_eq!(resources.memory, NonZeroU64::new(128 << 20));
}

#[test]
fn what_may_be_left_out_has_its_default() {
    let text = "[[policy]]\nname = \"dump\"\nagents = { names = [\"db-1\"] }\n\
                source = { command = { name = \"pg-dump\" } }\nstore = \"offsite\"";
    let policy = read(text).unwrap().remove(0);
    assert_eq!(policy.schedule, None);
    assert_eq!(policy.limits.attempts, 3);
    assert_eq!(policy.limits.timeout, None);
    let weekly = format!("{text}\nschedule = \"weekly\"");
    let policy = read(&weekly).unwrap().remove(0);
    assert_eq!(policy.schedule, Some(Schedule::Preset(Preset::Weekly)));
}

#[test]
fn every_problem_has_its_line_its_key_and_what_to_do() {
    let cases = [
        (
            "source",
            r#"source = { files = { paths = ["/srv"], exclude = ["*.tmp", "./cache"] } }"#,
            5,
            "policy[0].source.files.exclude[1]",
            "write \"cache\"",
        ),
        (
            "name",
            r#"name = "web/files""#,
            3,
            "policy[0].name",
            "letters",
        ),
        ("name", "name = 7", 3, "policy[0].name", "expected a string"),
        ("agents", "agents = {}", 4, "policy[0].agents", "labels = "),
        (
            "agents",
            r#"agents = { labels = { a = "b" }, names = ["c"] }"#,
            4,
            "policy[0].agents",
            "not by both",
        ),
        (
            "agents",
            "agents = { names = [] }",
            4,
            "policy[0].agents",
            "not empty",
        ),
        (
            "agents",
            r#"agents = { nmes = ["a"] }"#,
            4,
            "policy[0].agents",
            "unknown key `nmes`",
        ),
        (
            "source",
            "source = { files = { paths = [] } }",
            5,
            "policy[0].source.files.paths",
            "at least one",
        ),
        (
            "source",
            r#"source = { files = { paths = ["/srv", "var"] } }"#,
            5,
            "policy[0].source.files.paths[1]",
            "not absolute",
        ),
        (
            "source",
            r#"source = { files = { paths = ["/srv/../etc"] } }"#,
            5,
            "policy[0].source.files.paths[0]",
            "`..`",
        ),
        (
            "source",
            r#"source = { files = { paths = ["/srv"], exclud = [] } }"#,
            5,
            "policy[0].source.files",
            "unknown key `exclud`",
        ),
        (
            "source",
            "source = { mysql = {} }",
            5,
            "policy[0].source",
            "postgres",
        ),
        (
            "store",
            r#"store = "primry""#,
            6,
            "policy[0].store",
            "it names primary, offsite",
        ),
        (
            "schedule",
            r#"schedule = "dayly""#,
            7,
            "policy[0].schedule",
            "\"daily\"",
        ),
        (
            "schedule",
            r#"schedule = { cron = "0 25 * * *" }"#,
            7,
            "policy[0].schedule",
            "0 25 * * *",
        ),
        (
            "schedule",
            r#"schedule = { cron = "0 2 * * *", timezone = "Berlin" }"#,
            7,
            "policy[0].schedule",
            "Europe/Berlin",
        ),
        (
            "schedule",
            r#"schedule = { cron = "0 2 * * *", jitter = "10 minutes" }"#,
            7,
            "policy[0].schedule",
            "10m",
        ),
        (
            "limits",
            r#"limits = { timeout = "1 h" }"#,
            8,
            "policy[0].limits",
            "1h30m",
        ),
        (
            "limits",
            r#"limits = { upload = "50 megabytes" }"#,
            8,
            "policy[0].limits",
            "50MiB/s",
        ),
        (
            "limits",
            r#"limits = { read = "0MB/s" }"#,
            8,
            "policy[0].limits.read",
            r#""0MB/s" is too slow: write at least "1KiB/s""#,
        ),
        (
            "limits",
            r#"limits = { download = "512B/s" }"#,
            8,
            "policy[0].limits.download",
            r#""512B/s" is too slow: write at least "1KiB/s""#,
        ),
        (
            "limits",
            "limits = { threads = 0 }",
            8,
            "policy[0].limits.threads",
            "0 threads do no work: write at least 1",
        ),
        (
            "limits",
            "limits = { threads = -1 }",
            8,
            "policy[0].limits.threads",
            "-1",
        ),
        (
            "limits",
            r#"limits = { new_data = "8MiB" }"#,
            8,
            "policy[0].limits.new_data",
            "at least \"16MiB\"",
        ),
        (
            "limits",
            r#"limits = { memory = "8MiB" }"#,
            8,
            "policy[0].limits.memory",
            r#""8MiB" is less than one thread and the smallest packs take: write at least "22MiB""#,
        ),
        (
            "limits",
            r#"limits = { memory = "much" }"#,
            8,
            "policy[0].limits.memory",
            r#""much" is not a size"#,
        ),
        (
            "limits",
            "limits = { attempts = 0 }",
            8,
            "policy[0].limits.attempts",
            "1 to 100",
        ),
        (
            "limits",
            r#"accept = ["changed-while-read", "grew"]"#,
            8,
            "policy[0].accept",
            "docs/warnings.md",
        ),
        (
            "limits",
            "retention = { last = 7 }",
            8,
            "policy[0]",
            "unknown key `retention`",
        ),
    ];
    for (key, line, number, at, says) in cases {
        let (found, found_at, message) = problem(&with(key, line));
        assert_eq!(found, number, "{line}: {message}");
        assert!(found_at.starts_with(at), "{line}: at {found_at}, not {at}");
        assert!(message.contains(says), "{line}: {message}");
    }
}

#[test]
fn databases_are_named_by_their_connections() {
    let read = |source: &str| read(&with("source", source)).unwrap().remove(0).source;
    let logical = read(
        "source = { postgres = { connection = 'orders', method = 'logical', databases = ['shop*'] } }",
    );
    let Source::Postgres(PostgresSource::Logical(logical)) = logical else {
        panic!("{logical:?}");
    };
    assert_eq!(logical.connection, "orders");
    assert_eq!(logical.databases, ["shop*"]);
    assert_eq!(logical.content, DumpContent::All);
    assert!(logical.globals);
    let physical = read("source = { postgres = { connection = 'orders', method = 'physical' } }");
    assert!(matches!(
        physical,
        Source::Postgres(PostgresSource::Physical(it)) if !it.fast_checkpoint
    ));
    let redis = read("source = { redis = { connection = 'sessions' } }");
    assert!(matches!(redis, Source::Redis(it) if it.connection == "sessions"));
}

#[test]
fn what_a_database_source_has_wrong_is_told_at_its_line() {
    for (source, says) in [
        ("postgres = { connection = 'c' }", "`method`"),
        (
            "postgres = { connection = 'c', method = 'wal' }",
            "`logical`",
        ),
        (
            "postgres = { connection = 'c', method = 'logical', database = 'd' }",
            "unknown key `database`",
        ),
        (
            "postgres = { connection = 'c', method = 'physical', globals = true }",
            "`globals` belongs to method = \"logical\"",
        ),
        (
            "postgres = { connection = 'c', method = 'logical', fast_checkpoint = true }",
            "`fast_checkpoint` belongs to method = \"physical\"",
        ),
        (
            "postgres = { connection = '', method = 'logical' }",
            "connection",
        ),
        (
            "redis = { connection = 'c', url = 'redis://h' }",
            "unknown key `url`",
        ),
        ("redis = { connection = '' }", "connection"),
    ] {
        let (line, key, message) = problem(&with("source", &format!("source = {{ {source} }}")));
        assert_eq!(line, 5, "{source}: {message}");
        assert!(key.starts_with("policy[0].source"), "{source}: at {key}");
        assert!(message.contains(says), "{source}: {message}");
    }
}

#[test]
fn the_name_of_safety_backups_is_taken() {
    let (line, key, message) = problem(&with("name", "name = 'before-restore'"));
    assert_eq!((line, key.as_str()), (3, "policy[0].name"));
    assert!(message.contains("safety backups"), "{message}");
}

#[test]
fn a_missing_key_is_reported_at_its_policy() {
    let (line, key, message) = problem(&with("store", ""));
    assert_eq!((line, key.as_str()), (2, "policy[0]"));
    assert!(message.contains("`store`"), "{message}");
}

#[test]
fn two_policies_of_one_name_are_refused_at_the_second() {
    let (line, key, message) = problem(&format!("{EXAMPLE}{EXAMPLE}"));
    assert_eq!((line, key.as_str()), (11, "policy[1].name"));
    assert!(message.contains("policy[0]"), "{message}");
}

#[test]
fn all_problems_of_a_document_are_told_at_once() {
    let text = format!(
        "{}{}",
        with("store", "store = \"x\"\nstor = 1"),
        with("schedule", "schedule = \"x\"")
    );
    let error = read(&text).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
    assert_eq!(error.to_string().lines().count(), 2);
    assert!(
        error.to_string().starts_with("policies.toml:7: policy[0]"),
        "{error}"
    );
}

#[test]
fn what_is_no_policy_document_is_refused() {
    for (text, line, says) in [
        ("", 1, "[[policy]]"),
        ("[policy]\nname = \"a\"", 1, "[[policy]]"),
        ("\n[[polcy]]\nname = \"a\"", 2, "[[policy]]"),
        ("[[policy]]\nname = ", 2, ""),
        ("x", 1, ""),
    ] {
        let (found, _, message) = problem(text);
        assert_eq!(found, line, "{text:?}: {message}");
        assert!(message.contains(says), "{text:?}: {message}");
        assert!(!message.is_empty());
    }
}

#[test]
fn a_policy_survives_the_catalog() {
    let sources = [
        "source = { files = { paths = ['/srv'] } }",
        "source = { postgres = { connection = 'c', method = 'logical', globals = false } }",
        "source = { postgres = { connection = 'c', method = 'physical', fast_checkpoint = true } }",
        "source = { redis = { connection = 'c' } }",
    ];
    for source in sources {
        let policy = read(&with("source", source)).unwrap().remove(0);
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    }
}

/// Of 400 KB each, and worse than any that somebody means.
#[test]
fn long_documents_take_no_more_than_their_length() {
    // Each element of a list below a long key: paths would take 15 GB.
    let key = "k".repeat(200_000);
    let error = read(&format!("{key} = [{}]\n", "0,".repeat(100_000))).unwrap_err();
    assert_eq!(error.problems.len(), 1);
    assert!(error.to_string().len() < 10_000, "nobody reads more");

    // A mistake in each of very many policies: each would look for its line.
    let policy = with("store", "store = 'nowhere'");
    let many = policy.repeat(900);
    let error = read(&many).unwrap_err();
    assert_eq!((error.problems.len(), error.more), (50, 900 * 2 - 1 - 50));
    assert!(error.to_string().ends_with("and 1749 more"), "{error}");
    let error = read(&policy.repeat(1001)).unwrap_err();
    assert!(error.to_string().contains("at most 1000"), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = read(&text);
        let _ = read(&format!("[[policy]]\n{text}"));
    }
}
