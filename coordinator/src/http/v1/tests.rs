//! The endpoints, over a catalog of their own.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use strongroom_layout::ObjectId;
use strongroom_runtime::clock::Clock;
use strongroom_spec::{UploadFormat, UploadSpec};
use strongroom_wire::session::Progress;
use tokio::time::{Duration, timeout};
use uuid::Uuid;

use crate::{http::testing::TestApi, model::Actor};

#[tokio::test]
async fn an_invitation_holds_a_token_that_names_the_ca() {
    let api = TestApi::new().await;
    let invitation = api
        .ok(
            "POST",
            "/agents/invite",
            json!({ "name": "db-1", "labels": { "role": "db" }, "ttl_seconds": 600 }),
        )
        .await;
    let token: strongroom_wire::identity::JoinToken =
        invitation["token"].as_str().unwrap().parse().unwrap();
    assert_eq!(token.ca_fingerprint, [7; 32]);
    assert_eq!(invitation["token_id"], token.id);
    assert_eq!(invitation["coordinator"], "backup.example:7443");
    assert_eq!(invitation["expires_at"], "2026-11-21T12:10:00Z");
    assert_eq!(api.catalog.join_tokens().await.unwrap()[0].id, token.id);

    for ttl in [0, 31 * 86_400] {
        let (message, _) = api
            .refused(
                "invalid",
                "POST",
                "/agents/invite",
                json!({ "ttl_seconds": ttl }),
            )
            .await;
        assert!(message.contains("30 days"), "{message}");
    }
    api.refused(
        "invalid",
        "POST",
        "/agents/invite",
        json!({ "name": "a b" }),
    )
    .await;
}

#[tokio::test]
async fn agents_are_shown_by_name_or_id_with_their_state() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    assert_eq!(api.get("/agents/web-1").await["state"], "away");
    api.live.connect(agent.id);
    let shown = api.get(&format!("/agents/{}", agent.id)).await;
    assert_eq!(shown["state"], "connected");
    assert_eq!(shown["certificate_expires_at"], "2026-11-21T13:00:00Z");
    assert_eq!(api.get("/agents").await["agents"][0], shown);

    assert!(shown["clock_skew_seconds"].is_null(), "not known");
    api.live.set_clock(agent.id, 9);
    assert_eq!(api.get("/agents/web-1").await["clock_skew_seconds"], 9);
    assert_eq!(api.get("/status").await["clocks"], json!([]));
    api.live.set_clock(agent.id, -3_600);
    let clocks = json!([{ "agent": "web-1", "skew_seconds": -3_600 }]);
    assert_eq!(api.get("/status").await["clocks"], clocks);

    let change = json!({ "set": { "role": "db", "zone": "a" } });
    let labelled = api.ok("POST", "/agents/web-1/label", change).await;
    assert_eq!(labelled["labels"]["role"], "db");
    assert_eq!(api.audited().await[0], "operator:admin agent.label");
    let gone = json!({ "remove": ["zone"] });
    let labelled = api.ok("POST", "/agents/web-1/label", gone).await;
    assert!(labelled["labels"].get("zone").is_none());
    for (code, change) in [
        ("conflict", json!({ "remove": ["zone"] })),
        (
            "invalid",
            json!({ "remove": ["role"], "set": { "role": "x" } }),
        ),
        ("invalid", json!({ "set": { "a b": "x" } })),
    ] {
        api.refused(code, "POST", "/agents/web-1/label", change)
            .await;
    }

    let revoked = api.ok("POST", "/agents/web-1/revoke", Value::Null).await;
    assert_eq!(revoked["state"], "revoked");
    assert_eq!(revoked["revoked_at"], "2026-11-21T12:00:00Z");
    assert_eq!(api.audited().await[0], "operator:admin agent.revoke");

    let (message, hint) = api
        .refused("not-found", "GET", "/agents/nobody", Value::Null)
        .await;
    assert!(message.contains("nobody") && hint.contains("agents list"));
}

#[tokio::test]
async fn a_policy_file_is_applied_whole_or_not_at_all() {
    let api = TestApi::new().await;
    let file = |second: &str| {
        json!({ "file": "web.toml", "toml": format!(
            "[[policy]]\nname = \"a\"\nagents = {{ names = [\"web-1\"] }}\n\
             source = {{ files = {{ paths = [\"/srv\"] }} }}\nstore = \"primary\"\n\
             [[policy]]\n{second}\n"
        )})
    };
    let good = "name = \"b\"\nagents = { names = [\"nobody\"] }\nsource = { command = { name = \"dump\" } }\n\
                store = \"primary\"\nschedule = \"hourly\"";
    for (bad, expected) in [
        (good.replace("store", "stor"), "web.toml:10: policy[1].stor"),
        (good.replace("primary", "other"), "primary"),
        (good.replace("\"b\"", "\"a\""), "\"a\""),
        (good.replace("hourly", "sometimes"), "web.toml:11"),
    ] {
        let (message, hint) = api
            .refused("invalid", "POST", "/policies/apply", file(&bad))
            .await;
        assert!(message.contains(expected), "{message}");
        assert!(hint.contains("nothing was changed"));
    }
    assert_eq!(api.get("/policies").await["policies"], json!([]));

    let mut request = file(good);
    request["dry_run"] = true.into();
    let applied = api.ok("POST", "/policies/apply", request.clone()).await;
    assert_eq!(applied["changes"][1]["action"], "create");
    assert!(
        applied["warnings"][0]
            .as_str()
            .unwrap()
            .contains("not enrolled")
    );
    assert_eq!(api.get("/policies").await["policies"], json!([]));

    request["dry_run"] = false.into();
    api.ok("POST", "/policies/apply", request.clone()).await;
    let again = api.ok("POST", "/policies/apply", request).await;
    assert_eq!(again["changes"][0]["action"], "unchanged");
    let changed = api
        .ok(
            "POST",
            "/policies/apply",
            file(&good.replace("hourly", "daily")),
        )
        .await;
    assert_eq!(
        changed["changes"][1]["differences"],
        json!([{ "key": "schedule", "before": "hourly", "after": "daily" }])
    );
}

#[tokio::test]
async fn a_policy_is_shown_as_the_file_that_would_make_it() {
    let api = TestApi::new().await;
    api.agent("web-1").await;
    api.web_policy().await;
    let policy = api.get("/policies/web").await;
    assert_eq!(policy["schedule"], "daily");
    assert_eq!(policy["agents"][0]["name"], "web-1");
    assert!(policy["next_run_at"].is_string());
    assert_eq!(policy["limits"]["attempts"], 3);
    assert_eq!(policy["limits"]["threads"], Value::Null);
    let request = json!({ "toml": policy["toml"] });
    let applied = api.ok("POST", "/policies/apply", request).await;
    assert_eq!(applied["changes"][0]["action"], "unchanged");

    let limits = "[policy.limits]\nattempts = 3\nthreads = 2\nread = \"1MiB/s\"\n";
    let toml = policy["toml"].as_str().unwrap();
    let head = toml.split("[policy.limits]").next().unwrap();
    let request = json!({ "toml": format!("{head}{limits}"), "dry_run": true });
    let applied = api.ok("POST", "/policies/apply", request).await;
    assert_eq!(
        applied["changes"][0]["differences"],
        json!([
            { "key": "limits.read", "before": null, "after": "1MiB/s" },
            { "key": "limits.threads", "before": null, "after": 2 },
        ])
    );

    api.ok("DELETE", "/policies/web", Value::Null).await;
    api.refused("not-found", "GET", "/policies/web", Value::Null)
        .await;
    assert_eq!(api.audited().await[0], "operator:admin policy.delete");
}

#[tokio::test]
async fn a_run_makes_a_job_per_agent_and_none_twice() {
    let api = TestApi::new().await;
    api.web_policy().await;
    let (message, _) = api
        .refused("conflict", "POST", "/policies/web/runs", json!({}))
        .await;
    assert!(message.contains("selects no agent"), "{message}");

    let first = api.agent("web-1").await;
    api.live.connect(first.id);
    api.agent("web-2").await;
    let runs = api
        .ok("POST", "/policies/web/runs", json!({ "agent": "web-1" }))
        .await;
    assert_eq!(runs["jobs"][0]["dataset"], "web@web-1");
    assert_eq!(runs["jobs"][0]["requested_by"], "operator:admin");
    assert_eq!(runs["notes"], json!([]));

    let runs = api.ok("POST", "/policies/web/runs", json!({})).await;
    assert_eq!(runs["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(runs["jobs"][0]["agent"]["name"], "web-2");
    assert_eq!(
        runs["notes"],
        json!([
            "already at work: web@web-1",
            "agent web-2 is not connected: its job waits for it"
        ])
    );
    api.refused("conflict", "POST", "/policies/web/runs", json!({}))
        .await;
}

#[tokio::test]
async fn jobs_are_found_filtered_and_cancelled() {
    let api = TestApi::new().await;
    api.agent("web-1").await;
    api.web_policy().await;
    let runs = api.ok("POST", "/policies/web/runs", json!({})).await;
    let id = runs["jobs"][0]["id"].as_str().unwrap().to_owned();

    for (query, found) in [
        ("?policy=web&agent=web-1&state=pending&kind=backup", 1),
        ("?state=running", 0),
        ("?kind=restore", 0),
        ("?policy=other", 0),
    ] {
        let jobs = api.get(&format!("/jobs{query}")).await;
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), found, "{query}");
    }
    let ending = &id[id.len() - 8..];
    let job = api.get(&format!("/jobs/{ending}")).await;
    assert_eq!(job["id"], *id);
    let waits = &job["waits_for"];
    assert_eq!(waits["what"], "agent");
    let message = waits["message"].as_str().unwrap();
    assert_eq!(message, "agent web-1, which has never connected");
    assert_eq!(waits["since"], "2026-11-21T12:00:00Z");
    assert_eq!(job["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(job["attempts_allowed"], 3);

    let job = api
        .ok("POST", &format!("/jobs/{id}/cancel"), Value::Null)
        .await;
    assert_eq!(job["state"], "cancelled");
    assert_eq!(job["failure"]["message"], "cancelled by operator:admin");
    api.refused(
        "conflict",
        "POST",
        &format!("/jobs/{id}/cancel"),
        Value::Null,
    )
    .await;
}

#[tokio::test]
async fn a_long_poll_answers_on_change_and_only_then() {
    let api = TestApi::new().await;
    api.agent("web-1").await;
    api.web_policy().await;
    let runs = api.ok("POST", "/policies/web/runs", json!({})).await;
    let id = runs["jobs"][0]["id"].as_str().unwrap().to_owned();
    let job = api.get(&format!("/jobs/{id}")).await;
    let poll = format!(
        "/jobs/{id}?wait=60&since={}",
        job["revision"].as_str().unwrap()
    );

    let waiting = api.get(&poll);
    tokio::pin!(waiting);
    assert!(
        timeout(Duration::from_millis(300), &mut waiting)
            .await
            .is_err()
    );
    let cancel = format!("/jobs/{id}/cancel");
    let (changed, _) = tokio::join!(waiting, api.ok("POST", &cancel, Value::Null));
    assert_eq!(changed["state"], "cancelled");
    assert_ne!(changed["revision"], job["revision"]);

    let revision = changed["revision"].as_str().unwrap();
    let poll = format!("/jobs/{id}?wait=60&since={revision}");
    api.shutdown.cancel();
    let answer = timeout(Duration::from_secs(5), api.get(&poll)).await;
    assert_eq!(
        answer.unwrap()["revision"],
        revision,
        "the end ends long polls"
    );
}

#[tokio::test]
async fn progress_is_shown_while_an_attempt_is_at_work() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    let attempt = api.running_backup(&agent).await;
    api.live.report(Progress {
        attempt,
        stage: "backing up".into(),
        files: 3,
        bytes: 4096,
        total_files: None,
        total_bytes: Some(8192),
        bytes_stored: 100,
        warnings: 0,
    });
    let job = api.get(&format!("/jobs/{}", attempt.job)).await;
    assert_eq!(job["state"], "running");
    assert_eq!(job["progress"]["stage"], "backing up");
    assert_eq!(job["progress"]["total_bytes"], 8192);
    assert_eq!(job["attempts"][0]["number"], 1);
}

#[tokio::test]
async fn a_finished_backup_is_a_job_with_figures_and_a_snapshot() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    let snapshot = api.finished_backup(&agent).await;

    let job = api.get("/jobs").await["jobs"][0].clone();
    let job = api
        .get(&format!("/jobs/{}", job["id"].as_str().unwrap()))
        .await;
    assert_eq!(job["state"], "succeeded");
    assert_eq!(job["snapshot"], snapshot);
    assert_eq!(job["result"]["backup"]["files"], 7);
    assert_eq!(job["warning_count"], 1);
    assert_eq!(job["warnings"][0]["path"]["base64"], "L3Nydi///w==");
    assert_eq!(job["peak_resident_bytes"], 1 << 20);

    let mut shown = api.get(&format!("/snapshots/{}", &snapshot[..8])).await;
    assert_eq!(shown["dataset"], "web@web-1");
    assert_eq!(shown["job"], job["id"]);
    assert_eq!(shown["warnings"], job["warnings"]);
    // A list does without.
    shown["warnings"] = json!([]);
    assert_eq!(
        api.get("/snapshots?policy=web&agent=web-1").await["snapshots"],
        json!([shown])
    );
    assert_eq!(
        api.get("/snapshots?policy=db").await["snapshots"],
        json!([])
    );

    let pin = format!("/snapshots/{snapshot}/pin");
    assert_eq!(api.ok("POST", &pin, Value::Null).await["pinned"], true);
    assert_eq!(api.ok("DELETE", &pin, Value::Null).await["pinned"], false);
    assert_eq!(api.audited().await[0], "operator:admin snapshot.unpin");

    let status = api.get("/status").await;
    assert_eq!(status["counts"]["snapshots"], 1);
    assert_eq!(status["datasets"][0]["last_snapshot"], snapshot);
    assert_eq!(status["datasets"][0]["last_job_state"], "succeeded");
    assert_eq!(status["datasets"][0]["warning_count"], 1);
    assert_eq!(status["datasets"][0]["last_restore_at"], Value::Null);
}

#[tokio::test]
async fn a_restore_is_a_job_of_the_agent_that_writes() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    let snapshot = api.finished_backup(&agent).await;
    api.agent("spare").await;
    let job = api
        .ok(
            "POST",
            "/restores",
            json!({ "snapshot": &snapshot[..10], "agent": "spare", "target": { "directory": {
                "directory": "/restore", "paths": ["/srv/a"], "overwrite": "if-changed",
            }}}),
        )
        .await;
    assert_eq!(job["kind"], "restore");
    assert_eq!(job["agent"]["name"], "spare");
    assert_eq!(job["snapshot"], snapshot);
    let (message, _) = api
        .refused(
            "invalid",
            "POST",
            "/restores",
            json!({ "snapshot": snapshot, "agent": "spare",
                    "target": { "directory": { "directory": "restore" } } }),
        )
        .await;
    assert!(message.contains("absolute"), "{message}");
}

#[tokio::test]
async fn a_listing_needs_an_agent_that_is_there() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    let snapshot = api.finished_backup(&agent).await;
    let path = format!("/snapshots/{snapshot}/entries?path=/srv");
    let (message, hint) = api.refused("unavailable", "GET", &path, Value::Null).await;
    assert!(message.contains("web-1") && hint.contains("--agent"));

    api.live.connect(agent.id);
    let (listing, ()) = tokio::join!(api.get(&path), api.answer_listing(&agent));
    assert_eq!(listing["truncated"], false);
    assert_eq!(listing["entries"][0]["path"]["text"], "/srv/a");
    assert_eq!(listing["entries"][0]["type"], "file");
}

#[tokio::test]
async fn an_upload_shows_how_far_it_is_to_whoever_began_it() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    api.finished_backup(&agent).await;
    let work = UploadSpec {
        dataset: "upload-x@web-1".into(),
        transfer: Uuid::nil(),
        manifest: ObjectId([0; 32]),
        tags: Vec::new(),
        file_name: "x".into(),
        format: UploadFormat::File,
        database: String::new(),
    };
    let by = Actor::Operator("admin".into());
    let begun = api
        .catalog
        .create_upload("primary/web-1", agent.id, work, by.clone())
        .await
        .unwrap();
    let path = format!("/uploads/{}", begun.id);
    let shown = api.get(&path).await;
    assert_eq!(shown["dataset"], "upload-x@web-1");
    assert_eq!(shown["job"], Value::Null);
    assert_eq!(shown["ended_at"], Value::Null);
    api.catalog.end_transfer(begun.id, &by).await.unwrap();
    assert!(api.get(&path).await["ended_at"].is_string());

    let other = api.ok("POST", "/operators", json!({ "name": "bot" })).await;
    let token = other["token"].as_str().unwrap();
    let (status, _) = api.send_as(token, "GET", &path, Value::Null).await;
    assert_eq!(status.as_u16(), 404);
}

#[tokio::test]
async fn policies_that_change_between_two_pages_are_not_missed() {
    let api = TestApi::new().await;
    let apply = async |name: &str, schedule: &str| {
        let toml = format!(
            "[[policy]]\nname = \"{name}\"\nagents = {{ names = [\"web-1\"] }}\n\
             source = {{ files = {{ paths = [\"/srv\"] }} }}\nstore = \"primary\"\n\
             schedule = \"{schedule}\"\n"
        );
        api.clock.advance(SignedDuration::from_secs(1));
        api.ok("POST", "/policies/apply", json!({ "toml": toml }))
            .await;
    };
    for name in ["a", "b", "c"] {
        apply(name, "daily").await;
    }
    let mut path = "/policies?limit=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = api.get(&path).await;
        seen.push(page["policies"][0]["name"].as_str().unwrap().to_owned());
        let Some(next) = page["next_before"].as_str() else {
            break;
        };
        path = format!("/policies?limit=1&before={next}");
        apply("a", ["hourly", "weekly"][seen.len() - 1]).await;
    }
    assert_eq!(seen, ["c", "b", "a"]);
}

#[tokio::test]
async fn a_password_is_shown_and_audited() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    api.finished_backup(&agent).await;
    let repository = api.get("/repositories").await["repositories"][0].clone();
    assert_eq!(repository["name"], "primary/web-1");
    assert_eq!(repository["agent"], "web-1");
    assert_eq!(
        repository["location"],
        "s3:https://s3.example/bucket/agents/web-1"
    );
    let password = api
        .ok(
            "POST",
            "/repositories/primary%2Fweb-1/password",
            Value::Null,
        )
        .await;
    assert_eq!(password["password"], "opened sealed");
    assert_eq!(password["location"], repository["location"]);
    assert_eq!(api.audited().await[0], "operator:admin repository.password");
    let audit = api.get("/audit?limit=500").await.to_string();
    assert!(!audit.contains("opened sealed"));
}

#[tokio::test]
async fn operators_come_and_go_but_never_the_last() {
    let api = TestApi::new().await;
    api.refused("conflict", "POST", "/operators/admin/revoke", Value::Null)
        .await;
    let new = api.ok("POST", "/operators", json!({ "name": "eve" })).await;
    assert!(new["token"].as_str().unwrap().starts_with("sro_"));
    assert_eq!(new["ca_certificate"], "the CA");
    api.refused("conflict", "POST", "/operators", json!({ "name": "eve" }))
        .await;
    api.refused("invalid", "POST", "/operators", json!({ "name": "e v e" }))
        .await;
    let listed = api.get("/operators").await.to_string();
    assert!(!listed.contains(new["token"].as_str().unwrap()));
    let revoked = api.ok("POST", "/operators/eve/revoke", Value::Null).await;
    assert_eq!(revoked["revoked_at"], "2026-11-21T12:00:00Z");
    api.refused("not-found", "POST", "/operators/eve/revoke", Value::Null)
        .await;
}

#[tokio::test]
async fn the_audit_log_is_read_in_pages_and_by_action() {
    let api = TestApi::new().await;
    for name in ["a", "b"] {
        api.ok("POST", "/operators", json!({ "name": name })).await;
    }
    api.agent("web-1").await;
    let first = api.get("/audit?limit=1&action=operator").await;
    assert_eq!(first["entries"][0]["object"], "b");
    assert_eq!(first["entries"][0]["outcome"], "ok");
    let before = first["next_before"].as_str().unwrap();
    let second = api
        .get(&format!(
            "/audit?limit=1&action=operator.create&before={before}"
        ))
        .await;
    assert_eq!(second["entries"][0]["object"], "a");
}

#[tokio::test]
async fn the_audit_log_is_read_by_actor_and_by_time() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    let later = Clock::now(&*api.clock) + SignedDuration::from_secs(60);
    api.clock.advance(SignedDuration::from_secs(60));
    api.ok("POST", "/operators", json!({ "name": "b" })).await;
    let actions = |audit: &serde_json::Value| -> Vec<String> {
        let entries = audit["entries"].as_array().unwrap().iter();
        entries
            .map(|it| it["action"].as_str().unwrap().into())
            .collect()
    };
    let since = actions(&api.get(&format!("/audit?since={later}")).await);
    assert_eq!(since, ["operator.create"]);
    let until = api.get(&format!("/audit?until={later}&limit=500")).await;
    let until = until["entries"].as_array().unwrap();
    assert!(!until.is_empty());
    for entry in until {
        let at: Timestamp = entry["at"].as_str().unwrap().parse().unwrap();
        assert!(at < later, "{entry:#}");
    }
    let by_admin = api
        .get(&format!("/audit?actor=operator:admin&since={later}"))
        .await;
    assert_eq!(actions(&by_admin), ["operator.create"]);
    let by_agent = api.get("/audit?actor=agent:web-1").await;
    for entry in by_agent["entries"].as_array().unwrap() {
        assert_eq!(entry["actor"], format!("agent:{}", agent.id));
    }
    let about = api.get(&format!("/audit?object={}", agent.id)).await;
    assert_eq!(about["agents"][agent.id.to_string()], "web-1", "{about:#}");
    for (code, actor) in [("invalid", "nobody"), ("not-found", "agent:nobody")] {
        api.refused(code, "GET", &format!("/audit?actor={actor}"), json!({}))
            .await;
    }
}

#[tokio::test]
async fn transfers_answer_only_to_whom_they_belong() {
    let api = TestApi::new().await;
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    for path in ["downloads", "uploads"] {
        let pieces = format!("/{path}/{unknown}/pieces");
        let (status, problem) = api.send("POST", &pieces, json!({ "pieces": [] })).await;
        assert_eq!(status.as_u16(), 404, "{problem}");
        let message = problem["detail"].as_str().unwrap();
        assert!(message.contains("of yours"), "{message}");
    }
    let body = json!({ "snapshot": "ab", "path": "/", "public_key": "none" });
    let (status, problem) = api.send("POST", "/downloads", body).await;
    assert_eq!(status.as_u16(), 400, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("public_key"));
}

#[tokio::test]
async fn whoever_refuses_a_safety_backup_is_audited() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    let snapshot = api.finished_backup(&agent).await;
    let restore = async |refused: bool, dry_run: bool| {
        let request = json!({
            "snapshot": snapshot, "agent": "web-1", "dry_run": dry_run, "confirm": "sessions",
            "target": { "redis": { "connection": "sessions" } }, "safety_backup": !refused,
        });
        api.ok("POST", "/restores", request).await;
    };
    restore(false, false).await;
    restore(true, true).await;
    let filter = crate::catalog::AuditFilter {
        action: Some("restore.unguarded".into()),
        ..crate::catalog::AuditFilter::default()
    };
    let audited = async || api.catalog.audit_log(&filter, 10).await.unwrap().items;
    assert_eq!(audited().await, []);
    restore(true, false).await;
    let log = audited().await;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].object, snapshot);
    assert_eq!(log[0].detail["connection"], "sessions");
}
