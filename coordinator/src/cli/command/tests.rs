//! How results look to people, word for word.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    cli::render::job,
    http::dto::{Agent, Agents, Applied, AuditEntries, Job, Jobs, Listing, Snapshots, Status},
};

const NOW: &str = "2026-11-21T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub(super) fn backup_job() -> serde_json::Value {
    json!({
        "id": "0b8f4f3e-0000-7000-8000-000000000001",
        "kind": "backup", "state": "succeeded", "revision": "9",
        "agent": {"id": "a", "name": "web-1"},
        "policy": "web", "dataset": "web@web-1", "repository": "web-1",
        "snapshot": "ab".repeat(32), "requested_by": "operator:admin",
        "created_at": "2026-11-21T11:57:00Z", "started_at": "2026-11-21T11:57:01Z",
        "finished_at": "2026-11-21T11:58:31Z", "not_before": null,
        "progress": null, "failure": null,
        "result": {"backup": {
            "snapshot": "ab".repeat(32), "files": 1234, "directories": 1,
            "files_unmodified": 1200, "bytes_read": 2048, "bytes_total": 5_000_000,
            "bytes_new": 2048, "bytes_stored": 1024
        }},
        "warning_count": 1,
        "warnings": [{"path": {"text": "/srv/a\u{1b}[2J", "base64": null}, "cause": "vanished", "code": "unreadable", "accepted": false}],
        "attempts": [], "attempts_allowed": 3, "duration_ms": 90_000,
        "peak_resident_bytes": null, "cancel_requested": false, "trace_id": "cd".repeat(16)
    })
}

#[test]
fn a_job_shows_everything_and_no_control_character() {
    let job: Job = serde_json::from_value(backup_job()).unwrap();
    let text = job::one(&job, now());
    // The moment depends on the reader's time zone.
    let lines: Vec<_> = text.lines().filter(|l| !l.starts_with("created")).collect();
    assert_eq!(
        lines,
        [
            "job           0b8f4f3e-0000-7000-8000-000000000001",
            "kind          backup",
            "state         succeeded with 1 warning",
            "agent         web-1",
            "dataset       web@web-1",
            "requested by  operator:admin",
            "took          1 min",
            &format!("snapshot      {}", "ab".repeat(32)),
            "files         1,234 in 1 directory, 1,200 unchanged",
            "size          4.77 MiB",
            "read          2.00 KiB",
            "new           2.00 KiB, stored as 1.00 KiB",
            &format!("trace         {}", "cd".repeat(16)),
            "warning: /srv/a\\u{1b}[2J: vanished [unreadable]",
        ]
    );
}

#[test]
fn jobs_are_rows() {
    let jobs: Jobs = serde_json::from_value(json!({ "jobs": [backup_job()] })).unwrap();
    assert_eq!(
        job::list(&jobs, now()),
        "ID        KIND    DATASET    AGENT  STATE                     CREATED    TOOK\n\
         00000001  backup  web@web-1  web-1  succeeded with 1 warning  3 min ago  1 min"
    );
    let jobs = |next_before| Jobs {
        jobs: vec![],
        next_before,
    };
    assert_eq!(job::list(&jobs(None), now()), "no jobs");
    let cut = job::list(&jobs(Some("0b8f".into())), now());
    assert!(
        cut.contains("`strongroom jobs list --before 0b8f` goes on"),
        "{cut}"
    );
}

#[test]
fn agents_show_their_state_and_labels() {
    let agent = Agent {
        id: "a".into(),
        name: "db-1".into(),
        labels: BTreeMap::from([("role".into(), "db".into())]),
        state: crate::http::dto::AgentState::Away,
        contest: None,
        hostname: None,
        os: None,
        architecture: None,
        version: Some("0.1.0".into()),
        enrolled_at: now(),
        last_seen_at: Some("2026-11-21T10:00:00Z".parse().unwrap()),
        clock_skew_seconds: None,
        certificate_expires_at: None,
        revoked_at: None,
        consent: None,
        connections: Vec::new(),
    };
    let gone = |name: &str| Agent {
        name: name.into(),
        state: crate::http::dto::AgentState::Revoked,
        ..agent.clone()
    };
    let (old, older) = (gone("old"), gone("older"));
    let mut agents = Agents {
        next_before: None,
        agents: vec![agent],
    };
    assert_eq!(
        agents::list(&agents, false, now()),
        "NAME  STATE  LAST SEEN  LABELS   HOST  VERSION\n\
         db-1  away   2 h ago    role=db  -     0.1.0"
    );
    let ahead = Agent {
        state: crate::http::dto::AgentState::Connected,
        clock_skew_seconds: Some(3_600),
        ..agents.agents[0].clone()
    };
    let shown = agents::one(&ahead, now());
    let clock = "clock             1 h ahead of the coordinator's\n";
    assert!(shown.contains(clock), "{shown}");
    let listed = Agents {
        next_before: None,
        agents: vec![ahead],
    };
    let text = agents::list(&listed, false, now());
    let state = "connected, its clock 1 h ahead of the coordinator's";
    assert!(text.contains(state), "{text}");
    agents.agents.extend([old, older]);
    let text = agents::list(&agents, false, now());
    assert!(text.ends_with("0.1.0\n2 agents are not listed: --all lists revoked ones, too"));
    let text = agents::list(&agents, true, now());
    assert!(text.contains("older  revoked"), "{text}");
    assert_eq!(text.lines().count(), 4);
}

#[test]
fn a_job_says_that_its_store_is_away() {
    let mut job = backup_job();
    job["store_outage"] = json!({
        "since": "2026-11-21T11:59:00Z", "until": null, "problem": "no\u{7}answer",
    });
    let job: Job = serde_json::from_value(job).unwrap();
    let text = job::one(&job, now());
    assert!(text.contains("AWAY since"), "{text}");
    assert!(!text.contains('\u{7}'), "{text}");
    let text = crate::cli::render::progress::describe(&job);
    assert!(text.contains("its store is away: no"), "{text}");
}

#[test]
fn a_job_shows_what_it_may_take_of_its_host() {
    let mut job = backup_job();
    job["limits"] = json!({
        "timeout_seconds": null, "attempts": 3,
        "upload_bytes_per_second": 50 << 20, "download_bytes_per_second": null,
        "read_bytes_per_second": 1_000_000, "threads": 2, "memory_bytes": 64 << 20,
    });
    let job: Job = serde_json::from_value(job).unwrap();
    let text = job::one(&job, now());
    assert!(
        text.contains("limits        upload 50MiB/s, read 1MB/s, threads 2, memory 64MiB\n"),
        "{text}"
    );
}

#[test]
fn an_apply_shows_what_changes() {
    let applied: Applied = serde_json::from_value(json!({
        "dry_run": true,
        "changes": [
            {"policy": "web", "action": "update", "differences": [
                {"key": "schedule", "before": "daily", "after": "hourly"},
                {"key": "limits.timeout", "before": null, "after": "1h"},
            ]},
            {"policy": "db", "action": "create", "differences": []},
        ],
        "warnings": ["policy db selects no agent"],
    }))
    .unwrap();
    assert_eq!(
        policies::changes(&applied),
        "update web\n  schedule: daily -> hourly\n  limits.timeout: + 1h\ncreate db\n\
         warning: policy db selects no agent\ndry run: nothing was changed\n"
    );
}

#[test]
fn a_listing_looks_like_ls_and_says_how_to_go_on() {
    let listing: Listing = serde_json::from_value(json!({
        "entries": [{
            "path": {"text": "/srv/l", "base64": null}, "type": "symlink", "mode": 0o777,
            "uid": 0, "gid": 0, "size": 0, "modified": "not a time",
            "link_target": {"text": "x", "base64": null},
        }],
        "truncated": true, "next_after": "/srv/l",
    }))
    .unwrap();
    assert_eq!(
        snapshots::entries(&listing),
        "MODE        UID  GID  SIZE  MODIFIED    PATH\n\
         lrwxrwxrwx    0    0     -  not a time  /srv/l -> x\n\
         there is more: --after '/srv/l' continues, --limit N shows more at once"
    );
}

#[test]
fn names_of_a_snapshot_do_nothing_to_a_terminal_nor_to_a_shell() {
    let listing = |name: &str| -> Listing {
        serde_json::from_value(json!({
            "entries": [{
                "path": {"text": name, "base64": null}, "type": name, "mode": 0o777,
                "uid": 0, "gid": 0, "size": 0, "modified": name,
                "link_target": {"text": name, "base64": null},
            }],
            "truncated": true, "next_after": name,
        }))
        .unwrap()
    };
    let text = snapshots::entries(&listing("/a\u{1b}[2J\u{202e}\nb"));
    let bad = |c| c != '\n' && strongroom_runtime::printable::is_treacherous(c);
    assert!(!text.contains(bad), "{text:?}");
    assert!(text.contains(r"/a\u{1b}[2J\u{202e}\nb"), "{text}");
    assert!(text.contains("--after with next_after of --output json"));
    let text = snapshots::entries(&listing("/it's $(reboot)"));
    assert!(
        text.contains(r"--after '/it'\''s $(reboot)' continues"),
        "{text}"
    );
}

#[test]
fn stores_show_what_they_let_happen() {
    let store: crate::http::dto::Store = serde_json::from_value(json!({
        "name": "primary", "endpoint": "https://s3.example", "bucket": "b", "prefix": "",
        "state": "unsafe", "checked_at": "2026-11-21T11:00:00Z", "problem": "it is unsafe",
        "risks": ["unsigned-acl"], "accepted_risks": [],
        "findings": [{"probe": "acl", "risk": "unsigned-acl", "verdict": "accepted",
                      "answer": "200\u{1b}"}],
    }))
    .unwrap();
    let text = stores::one(&store, now());
    assert!(text.contains("state         UNSAFE\n"), "{text}");
    assert!(text.contains("problem       it is unsafe\n"), "{text}");
    assert!(
        text.contains(r"acl     accepted  unsigned-acl  200\u{1b}"),
        "{text}"
    );
    let listed = crate::http::dto::Stores {
        next_before: None,
        stores: vec![store],
    };
    let text = stores::list(&listed, now());
    assert!(text.contains("primary  UNSAFE  1 h ago"), "{text}");
    assert!(text.ends_with("\n\nstore primary: it is unsafe"), "{text}");
}

#[test]
fn snapshots_show_sizes_and_notes() {
    let snapshots: Snapshots = serde_json::from_value(json!({ "snapshots": [{
        "id": "ab".repeat(32), "dataset": "web@web-1", "repository": "web-1", "job": null,
        "time": "2026-11-20T12:00:00Z", "pinned": true, "files": 10, "directories": 1,
        "bytes_total": 1024, "bytes_stored": 10, "warning_count": 2,
    }]}))
    .unwrap();
    let text = snapshots::list(&snapshots, now());
    assert!(text.contains("abababab"), "{text}");
    assert!(
        text.ends_with("24 h ago     10  1.00 KiB    10 B  pinned, 2 warnings"),
        "{text}"
    );
}

#[test]
fn audit_entries_show_their_details() {
    let entries: AuditEntries = serde_json::from_value(json!({
        "entries": [{
            "id": "7", "at": NOW, "actor": "operator:admin", "action": "policy.create",
            "object": "web", "outcome": "ok",
            "detail": {"action": "create", "n": 1, "failure": null}, "trace_id": null,
        }, {
            "id": "6", "at": NOW, "actor": "agent:01", "action": "agent.hello",
            "object": "01", "outcome": "ok", "detail": {"failure": null}, "trace_id": null,
        }],
        "next_before": "7", "agents": {"01": "db-1"},
    }))
    .unwrap();
    let text = audit::list(&entries);
    assert!(text.contains("action=create n=1"), "{text}");
    assert!(!text.contains("failure"), "{text}");
    let words: Vec<_> = text.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(
        words[3..],
        ["agent:db-1", "agent.hello", "db-1", "ok", "-", "-"]
    );
    assert!(
        text.contains("`strongroom audit --before 7` goes on"),
        "{text}"
    );
}

#[test]
fn the_status_leads_with_the_counts() {
    let status: Status = serde_json::from_value(json!({
        "version": "0.1.0", "started_at": "2026-11-21T11:00:00Z",
        "counts": {"agents": 2, "agents_connected": 1, "policies": 1, "jobs_pending": 0,
                   "jobs_running": 1, "snapshots": 3},
        "datasets": [{
            "dataset": "web@web-1", "last_snapshot": null, "last_snapshot_at": null,
            "last_job_state": "failed", "last_job": "x", "warning_count": 0,
            "last_restore_at": null, "next_run_at": "2026-11-21T13:00:00Z",
        }],
    }))
    .unwrap();
    let text = status::overview(&status, now());
    assert!(
        text.starts_with(
            "coordinator 0.1.0, started 1 h ago\n\
             1 of 2 agents connected, 1 policy, 3 snapshots, 1 job at work, 0 waiting\n"
        ),
        "{text}"
    );
    assert!(text.contains("failed") && text.contains("in 1 h"), "{text}");

    // A clock that is wrong is said; a store that is away, once.
    let mut status = status;
    status.clocks = vec![crate::http::dto::AgentClock {
        agent: "web-1".into(),
        skew_seconds: 7_200,
    }];
    status.stores = serde_json::from_value(json!([{
        "name": "primary", "state": "unchecked", "problem": "not checked: no answer",
        "outage": {"since": "2026-11-21T11:59:00Z", "until": null, "problem": "no answer"},
    }]))
    .unwrap();
    let text = status::overview(&status, now());
    let clock = "agent web-1: its clock is 2 h ahead of the coordinator's\n";
    assert!(text.contains(clock), "{text}");
    assert!(
        text.contains("store primary: unchecked, AWAY since"),
        "{text}"
    );
    assert_eq!(text.matches("no answer").count(), 1, "{text}");
}

#[test]
fn scripts_are_told_by_the_exit_code_how_it_stands() {
    let verdict = |change: serde_json::Value| {
        let mut status = json!({
            "version": "0.1.0", "started_at": NOW,
            "counts": {"agents": 1, "agents_connected": 1, "policies": 1, "jobs_pending": 0,
                       "jobs_running": 0, "snapshots": 1},
            "datasets": [],
        });
        for (key, value) in change.as_object().unwrap() {
            status[key] = value.clone();
        }
        status::verdict(
            &serde_json::from_value(status).unwrap(),
            NOW.parse().unwrap(),
        )
    };
    let dataset = |state: &str, warnings: u64, alarm: Option<&str>| {
        json!({
            "dataset": "web@web-1", "last_snapshot": null, "last_snapshot_at": null,
            "last_job_state": state, "last_job": "x", "warning_count": warnings, "alarm": alarm,
            "last_restore_at": null, "next_run_at": null,
        })
    };
    let datasets = |datasets: &[serde_json::Value]| verdict(json!({ "datasets": datasets }));
    let store = |state: &str| {
        verdict(json!({"stores": [{"name": "primary", "state": state, "problem": null}]}))
    };
    let fine = dataset("succeeded", 0, None);
    assert_eq!(datasets(&[]), Exit::Done);
    assert_eq!(datasets(std::slice::from_ref(&fine)), Exit::Done);
    let warned = dataset("succeeded", 1, None);
    assert_eq!(datasets(&[warned.clone(), fine.clone()]), Exit::Warnings);
    assert_eq!(
        datasets(&[dataset("failed", 0, None), warned]),
        Exit::Failed
    );
    assert_eq!(
        datasets(&[dataset("succeeded", 0, Some("odd")), fine]),
        Exit::Failed
    );
    assert_eq!(store("safe"), Exit::Done);
    assert_eq!(store("risk-accepted"), Exit::Done);
    assert_eq!(store("unsafe"), Exit::Failed);
    assert_eq!(store("unchecked"), Exit::Failed);
    let contest = json!({"at": NOW, "sign": "two sessions", "holders": []});
    let clocks = json!([{"agent": "db-1", "skew_seconds": -60}]);
    assert_eq!(verdict(json!({ "clocks": clocks })), Exit::Warnings);
    let contested = json!([{"agent": "db-1", "contest": contest}]);
    assert_eq!(verdict(json!({ "contested": contested })), Exit::Failed);
    let lost = json!([{"repository": "primary/db-1", "objects": 1, "snapshots": 0, "since": NOW}]);
    assert_eq!(verdict(json!({ "losses": lost })), Exit::Failed);
    let away = |until: Option<&str>| {
        let outage = json!({"since": NOW, "until": until, "problem": "no answer"});
        verdict(json!({"stores": [
            {"name": "primary", "state": "safe", "problem": null, "outage": outage}
        ]}))
    };
    assert_eq!(away(None), Exit::Failed);
    assert_eq!(away(Some(NOW)), Exit::Done);
    let counts = json!({"agents": 2, "agents_connected": 1, "policies": 1, "jobs_pending": 0,
                        "jobs_running": 0, "snapshots": 1});
    assert_eq!(verdict(json!({ "counts": counts })), Exit::Warnings);
}

#[test]
fn scripts_are_told_of_a_log_that_needs_somebody() {
    let verdict = |change: serde_json::Value| {
        let mut archiving = json!({
            "job": "x", "job_state": "running", "problem": null, "as_of": NOW,
            "next_attempt": null,
        });
        let mut cluster = json!({
            "dataset": "db@db-1", "system": "1", "line": 0, "ended": null, "gaps": [],
            "windows": [{"from": NOW, "to": NOW, "open": true, "timeline": 1, "end_lsn": "0/1",
                         "snapshots": []}],
        });
        for (key, value) in change.as_object().unwrap() {
            let of_cluster = ["ended", "windows"].contains(&key.as_str());
            let changed = if of_cluster {
                &mut cluster
            } else {
                &mut archiving
            };
            changed[key] = value.clone();
        }
        cluster["archiving"] = archiving;
        let status = json!({
            "version": "0.1.0", "started_at": NOW, "datasets": [], "recovery": [cluster],
            "counts": {"agents": 1, "agents_connected": 1, "policies": 1, "jobs_pending": 0,
                       "jobs_running": 0, "snapshots": 1},
        });
        status::verdict(
            &serde_json::from_value(status).unwrap(),
            NOW.parse().unwrap(),
        )
    };
    assert_eq!(verdict(json!({})), Exit::Done);
    for wrong in [
        json!({"problem": "the slot is lost"}),
        json!({"job_state": "pending"}),
        json!({"job_state": "failed"}),
        json!({"as_of": "2020-01-01T00:00:00Z"}),
        json!({"ended": {"at": NOW, "timeline": 1, "lsn": "0/1", "cause": "other content"}}),
    ] {
        assert_eq!(verdict(wrong.clone()), Exit::Failed, "{wrong}");
    }
}

#[test]
fn a_contested_agent_is_an_alarm_with_its_holders_and_what_to_do() {
    let contest = json!({
        "at": "2026-11-21T11:57:00Z",
        "sign": "two sessions at once under its certificate",
        "holders": [
            {"address": "192.0.2.1", "serial": "0a", "boot": "b1", "version": "0.1.0\u{1b}[2J"},
            {"address": "192.0.2.2", "serial": "0a", "boot": null, "version": null},
        ],
    });
    let status: Status = serde_json::from_value(json!({
        "version": "0.1.0", "started_at": NOW, "datasets": [],
        "counts": {
            "agents": 1, "agents_connected": 0, "policies": 0, "jobs_pending": 0,
            "jobs_running": 0, "snapshots": 0,
        },
        "contested": [{"agent": "db-1", "contest": contest}],
    }))
    .unwrap();
    let text = status::overview(&status, now());
    assert!(
        text.contains("CONTESTED agent db-1 3 min ago: two sessions"),
        "{text}"
    );
    assert!(text.contains("strongroom agents show db-1"), "{text}");

    let text = agents::contested("db-1", &serde_json::from_value(contest).unwrap(), now());
    for part in [
        "192.0.2.1  0a           b1",
        "192.0.2.2  0a           -",
        "strongroom agents trust db-1",
        "strongroom agents revoke db-1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}
