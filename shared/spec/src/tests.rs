//! What is asked and what comes of it comes back from JSON as it went, and what a version
//! does not know is refused where it would matter.

use proptest::{prelude::*, strategy::ValueTree as _};
use serde_json::{Value, json};

use crate::*;

proptest! {
    #[test]
    fn specifications_come_back(spec in samples::spec()) {
        let read = JobSpec::from_json(spec.kind().as_str(), &spec.to_json());
        prop_assert_eq!(read, Ok(spec.clone()));
        // As catalogs keep them.
        let kept = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<JobSpec>(&kept).unwrap(), spec);
    }

    #[test]
    fn outcomes_come_back(outcome in samples::outcome()) {
        let read = Outcome::from_json(outcome.kind().as_str(), &outcome.to_json());
        prop_assert_eq!(read, Ok(outcome));
    }

    #[test]
    fn warnings_come_back(warning in samples::warning()) {
        let kept = serde_json::to_string(&warning).unwrap();
        prop_assert_eq!(serde_json::from_str::<Warning>(&kept).unwrap(), warning);
    }

    /// A version that says more of a job, and one that says more of what it reads.
    #[test]
    fn what_is_new_is_passed_over_or_refused(spec in samples::spec()) {
        let mut more: Value = serde_json::from_str(&spec.to_json()).unwrap();
        more["of_tomorrow"] = json!({ "any": [1, 2] });
        let read = JobSpec::from_json(spec.kind().as_str(), &more.to_string());
        prop_assert_eq!(read, Ok(spec.clone()));
        for place in ["source", "target"] {
            let Some(inner) = more.get_mut(place).and_then(Value::as_object_mut) else {
                continue;
            };
            for content in inner.values_mut() {
                content["of_tomorrow"] = json!(true);
            }
            let refused = JobSpec::from_json(spec.kind().as_str(), &more.to_string());
            let refused = refused.unwrap_err().to_string();
            prop_assert!(refused.contains("of_tomorrow"), "{}", refused);
        }
    }
}

#[test]
fn words_are_read_back_and_no_two_are_alike() {
    for kind in JobKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(*kind));
        assert_eq!(json!(kind), json!(kind.as_str()));
    }
    assert!(
        "copy-all"
            .parse::<JobKind>()
            .unwrap_err()
            .contains("restore")
    );
    for code in FailureCode::ALL {
        assert_eq!(json!(code), json!(code.as_str()));
    }
    for kind in SourceKind::ALL {
        assert_eq!(json!(kind), json!(kind.as_str()));
    }
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..50 {
        let target = samples::target().new_tree(&mut runner).unwrap().current();
        let said = json!(target);
        assert!(said.get(target.kind().as_str()).is_some(), "{said}");
    }
}

#[test]
fn what_is_usual_is_not_written() {
    let target = PostgresTarget {
        connection: "orders".into(),
        database: "shop".into(),
        ..PostgresTarget::default()
    };
    let said = json!({ "postgres": { "connection": "orders", "database": "shop" } });
    assert_eq!(json!(Target::from(target)), said);
    let target = DirectoryTarget {
        directory: "/restore".into(),
        ..DirectoryTarget::default()
    };
    let said = json!({ "directory": { "directory": "/restore" } });
    assert_eq!(json!(Target::from(target)), said);
}

#[test]
fn what_can_be_spelled_and_not_be_done_is_refused() {
    let snapshot = "ab".repeat(32);
    let recovery =
        |legs: Value| json!({ "system": "7", "legs": legs, "end": "0/0", "target": "latest" });
    let leg = |timeline: u32, until: Value| json!({ "timeline": timeline, "until": until });
    let cluster = json!({ "cluster": { "directory": "/t" } });
    for (spec, cause) in [
        (
            json!({ "target": { "directory": { "directory": "t" } } }),
            "absolute",
        ),
        (
            json!({ "target": { "redis": { "connection": "" } } }),
            "empty",
        ),
        (json!({ "target": { "nowhere": {} } }), "nowhere"),
        (
            json!({ "target": cluster, "recovery": recovery(json!([])) }),
            "do not lead",
        ),
        (
            json!({ "target": cluster, "recovery": recovery(json!([leg(1, json!("0/5"))])) }),
            "do not lead",
        ),
        (
            json!({ "target": cluster, "recovery": recovery(json!([
                leg(2, json!("0/5")), leg(1, json!(null)),
            ])) }),
            "do not lead",
        ),
        (
            json!({ "target": cluster, "recovery": recovery(json!([leg(0, json!(null))])) }),
            "count from 1",
        ),
        (
            json!({
                "target": { "redis": { "connection": "c" } },
                "recovery": recovery(json!([leg(1, json!(null))])),
            }),
            "only of a cluster",
        ),
    ] {
        let mut spec = spec;
        spec["snapshot"] = json!(snapshot);
        let refused = JobSpec::from_json("restore", &spec.to_string()).unwrap_err();
        assert!(refused.to_string().contains(cause), "{refused}");
    }
    for (kind, spec, cause) in [
        (
            "backup",
            json!({ "dataset": "d", "source": { "files": { "paths": [] } } }),
            "paths",
        ),
        (
            "backup",
            json!({ "dataset": "d", "source": { "command": { "name": "" } } }),
            "name",
        ),
        (
            "wal",
            json!({
                "dataset": "d", "connection": "c", "method": "push", "limit": 0, "drop": true,
            }),
            "limit",
        ),
    ] {
        let refused = JobSpec::from_json(kind, &spec.to_string()).unwrap_err();
        assert!(refused.to_string().contains(cause), "{refused}");
    }
    let backwards = json!({
        "snapshot": snapshot, "files": 0, "directories": 0, "files_unmodified": 0, "bytes_read": 0,
        "bytes_total": 0, "bytes_new": 0, "bytes_stored": 0, "blobs_new": 0, "packs_new": 0,
        "cluster": {
            "system": "7", "timeline": 1, "start": "0/9", "stop": "0/8", "segment": 1 << 24,
            "major": 17, "ended": "2026-11-30T00:00:00Z",
        },
    });
    let refused = Outcome::from_json("backup", &backwards.to_string()).unwrap_err();
    assert!(refused.to_string().contains("behind"), "{refused}");
}

#[test]
fn lists_and_figures_of_a_thief_end() {
    let action = PlannedAction {
        path: vec![b'p'; 100_000].into(),
        action: "a".repeat(1_000),
        bytes: u64::MAX,
    };
    let mut outcome = Outcome::Restore(RestoreOutcome {
        files: u64::MAX,
        plan: vec![action; MAX_WARNINGS + 1],
        notes: vec!["n".repeat(100_000); MAX_WARNINGS + 1],
        ..RestoreOutcome::default()
    });
    outcome.bound();
    let Outcome::Restore(kept) = outcome else {
        panic!("it is still a restore's");
    };
    assert_eq!(
        (kept.plan.len(), kept.notes.len()),
        (MAX_WARNINGS, MAX_WARNINGS)
    );
    let action = &kept.plan[0];
    assert_eq!(
        (action.path.len(), action.action.len(), action.bytes),
        (LINE, NAME, MAX_FIGURE)
    );
    assert_eq!((kept.files, kept.notes[0].len()), (MAX_FIGURE, LINE));
}

#[test]
fn lists_of_odd_names_still_fit_into_a_message() {
    let entry = |link_target: Option<RawPath>| Entry {
        // Six bytes each.
        path: vec![1; 1_000].into(),
        kind: "file".into(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        modified: String::new(),
        link_target,
    };
    let mut outcome = Outcome::List(ListOutcome {
        entries: vec![entry(None); 100],
        truncated: false,
    });
    outcome.fit(100_000);
    assert!(outcome.to_json().len() < 101_000);
    let Outcome::List(kept) = outcome else {
        panic!("it is still a listing");
    };
    assert!(kept.truncated && (10..20).contains(&kept.entries.len()));
    // As it was stored before.
    let mut stored = json!(entry(None));
    stored["link_target"] = json!([]);
    assert_eq!(
        serde_json::from_value::<Entry>(stored).unwrap(),
        entry(None)
    );
    let action = PlannedAction {
        path: vec![1; 1_000].into(),
        action: "create".into(),
        bytes: 0,
    };
    let mut outcome = Outcome::Restore(RestoreOutcome {
        plan: vec![action; 100],
        plan_count: 100,
        ..RestoreOutcome::default()
    });
    outcome.fit(100_000);
    assert!(outcome.to_json().len() < 51_000);
}

#[test]
fn what_gives_way_is_backed_up_by_its_own_source() {
    let all = PostgresTarget {
        connection: "orders".into(),
        all_databases: true,
        replace: true,
        ..PostgresTarget::default()
    };
    let replaced = Target::from(all.clone()).replaced().unwrap();
    assert_eq!((replaced.what, &*replaced.name), ("databases of", "orders"));
    let one = PostgresTarget {
        database: "shop".into(),
        all_databases: false,
        ..all
    };
    let replaced = Target::from(one.clone()).replaced().unwrap();
    assert_eq!((replaced.what, &*replaced.name), ("database", "shop"));
    let Source::Postgres(PostgresSource::Logical(safety)) = replaced.safety else {
        panic!("a dump");
    };
    assert_eq!(safety.databases, ["shop"]);
    let new = PostgresTarget {
        replace: false,
        ..one
    };
    assert_eq!(Target::from(new).replaced(), None);
}
