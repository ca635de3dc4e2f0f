//! What holds for every endpoint.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    openapi,
    problem::{Code, Problem},
    testing::TestApi,
};
use crate::door;

/// Every method and path of the OpenAPI document that asks for a token,
/// parameters filled in.
fn operations() -> Vec<(String, String)> {
    let document = openapi::document();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path: Vec<_> = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect();
        let methods = methods.as_object().unwrap().iter();
        for (method, _) in methods.filter(|it| it.1.get("security").is_none()) {
            operations.push((method.to_uppercase(), path.join("/")));
        }
    }
    operations
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn every_documented_operation_exists_and_asks_for_a_token() {
    let api = TestApi::new().await;
    let operations = operations();
    assert!(operations.len() >= 25, "{operations:?}");
    for (method, path) in operations {
        let (status, body) = api.raw(request(&method, &path)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}: {body}");
        assert_eq!(body["code"], "unauthorised", "{method} {path}");
    }
}

#[tokio::test]
async fn a_wrong_or_revoked_token_is_refused() {
    let api = TestApi::new().await;
    for token in ["", "sro_wrong", "sro_ wrong"] {
        let (status, _) = api.send_as(token, "GET", "/status", Value::Null).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token:?}");
    }
    let new = api.ok("POST", "/operators", json!({ "name": "bot" })).await;
    let token = new["token"].as_str().unwrap();
    let (status, _) = api.send_as(token, "GET", "/status", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    api.ok("POST", "/operators/bot/revoke", Value::Null).await;
    let (status, _) = api.send_as(token, "GET", "/status", Value::Null).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn health_and_the_document_need_no_token() {
    let api = TestApi::new().await;
    let (status, body) = api.raw(request("GET", "/healthz")).await;
    assert_eq!((status, body), (StatusCode::OK, json!("ok\n")));
    let (status, body) = api.raw(request("GET", "/api/v1/openapi.json")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body["openapi"].as_str().unwrap().starts_with("3."));
    assert!(body["components"]["securitySchemes"]["token"].is_object());
    let limits = &body["components"]["schemas"]["Limits"]["properties"];
    assert!(limits["memory_bytes"].is_object(), "{limits:#}");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let api = TestApi::new().await;
    for path in ["/nowhere", "/api/v1/nowhere", "/problems/nowhere", "/"] {
        let (status, body) = api.raw(request("GET", path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(body["code"], "not-found");
        assert_eq!(body["status"], 404);
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let api = TestApi::new().await;
    for (method, path, allowed) in [
        ("PUT", "/api/v1/status", "GET,HEAD"),
        ("PATCH", "/api/v1/policies/web", "GET,HEAD,DELETE"),
        ("POST", "/healthz", "GET,HEAD"),
    ] {
        let response = api.answer(request(method, path)).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()["allow"], allowed, "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
}

#[tokio::test]
async fn every_kind_of_problem_is_described_where_its_type_leads() {
    let api = TestApi::new().await;
    for code in Code::ALL {
        let problem = Problem::new(code, "");
        let (status, kind) = api.raw(request("GET", &problem.kind)).await;
        assert_eq!(status, StatusCode::OK, "{code:?}");
        assert_eq!(kind["type"], *problem.kind);
        assert_eq!(kind["title"], *problem.title);
        assert_eq!(kind["status"], problem.status);
        assert!(!kind["advice"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_query_key_that_means_nothing_is_refused_everywhere() {
    let api = TestApi::new().await;
    for (method, path) in operations() {
        let path = format!("{}?nonsense=1", &path["/api/v1".len()..]);
        let (message, hint) = api.refused("invalid", &method, &path, Value::Null).await;
        assert!(message.contains("nonsense"), "{method} {path}: {message}");
        assert!(!hint.is_empty());
    }
}

#[tokio::test]
async fn a_body_is_json_by_its_type_too() {
    let api = TestApi::new().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = Request::post("/api/v1/operators")
            .header("authorization", format!("Bearer {}", api.token()))
            .header("content-type", kind)
            .body(Body::from(json!({ "name": "bot" }).to_string()))
            .unwrap();
        let (status, body) = api.raw(request).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
        assert_eq!(body["code"], "unsupported-media-type");
    }
}

#[tokio::test]
async fn no_text_of_a_request_holds_a_nul() {
    let api = TestApi::new().await;
    for (method, path, body) in [
        ("GET", "/agents/a%00b", Value::Null),
        ("GET", "/jobs?policy=a%00b", Value::Null),
        ("POST", "/policies/web/runs", json!({ "agent": "a\0b" })),
    ] {
        let (message, _) = api.refused("invalid", method, path, body).await;
        assert!(message.contains("NUL"), "{message}");
    }
    // What only looks like one is none.
    let toml = json!({ "toml": "# \\u0000" });
    let (message, _) = api
        .refused("invalid", "POST", "/policies/apply", toml)
        .await;
    assert!(!message.contains("NUL"), "{message}");
}

#[tokio::test]
async fn what_was_made_or_started_is_at_its_location() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.agent("web-2").await;
    api.web_policy().await;
    let snapshot = api.finished_backup(&agent).await;
    let target = json!({ "directory": { "directory": "/r" } });
    let restore = json!({ "snapshot": snapshot, "agent": "web-1", "target": target });
    for (path, body, status) in [
        ("/operators", json!({ "name": "bot" }), 201),
        ("/agents/invite", json!({}), 201),
        ("/policies/web/runs", json!({ "agent": "web-1" }), 202),
        ("/policies/web/runs", json!({}), 202),
        ("/restores", restore, 202),
    ] {
        let response = api
            .answer(TestApi::request(api.token(), "POST", path, &body))
            .await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let location = response.headers()["location"].to_str().unwrap();
        let location = location.strip_prefix("/api/v1").unwrap();
        let there = api.get(location).await;
        assert!(there.is_object(), "{location}");
    }
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let api = TestApi::new().await;
    let (message, _) = api
        .refused("invalid", "POST", "/operators", json!({ "nam": "x" }))
        .await;
    assert!(message.contains("nam"), "{message}");
    api.ok("POST", "/operators", json!({ "name": "bot" })).await;
    let (message, _) = api
        .refused("invalid", "POST", "/operators/bot/renew", json!([]))
        .await;
    assert!(message.contains("an object is expected"), "{message}");
    let (message, _) = api
        .refused("invalid", "GET", "/jobs?stat=pending", Value::Null)
        .await;
    assert!(message.contains("stat"), "{message}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let api = TestApi::new().await;
    let huge = json!({ "toml": "#".repeat(2 << 20) });
    let (message, hint) = api
        .refused("too-large", "POST", "/policies/apply", huge)
        .await;
    assert!(message.contains("1024 KiB"), "{message}");
    assert!(hint.contains("in parts"), "{hint}");
}

#[test]
fn the_document_names_the_shape_of_every_answer() {
    let document = openapi::document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"].is_array() {
                continue;
            }
            let answers = &operation["responses"];
            let answer = ["200", "201", "202"].iter().find_map(|it| answers.get(it));
            let answer = answer.unwrap();
            let answer = &answer["content"]["application/json"]["schema"];
            assert!(answer["$ref"].is_string(), "{method} {path}: {operation}");
        }
    }
    let refused = &document["paths"]["/api/v1/status"]["get"]["responses"]["401"]["content"];
    assert!(refused["application/problem+json"].is_object());
}

#[tokio::test]
async fn every_list_is_paged_alike() {
    let document = openapi::document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let operation = &methods["get"];
        let name = operation["operationId"].as_str().unwrap_or_default();
        if !name.starts_with("list_") {
            continue;
        }
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let names: Vec<_> = parameters.map(|it| it["name"].as_str().unwrap()).collect();
        let wanted: &[&str] = match name {
            "list_entries" => &["limit", "after"],
            "list_stores" => &["limit", "before"],
            _ => &["limit", "before", "since", "until"],
        };
        assert!(
            wanted.iter().all(|it| names.contains(it)),
            "{path}: {names:?}"
        );
        let link = &operation["responses"]["200"]["headers"]["Link"];
        assert!(link.is_object(), "{path}");
    }
}

#[tokio::test]
async fn a_list_is_walked_by_its_links_newest_first() {
    let api = TestApi::new().await;
    for name in ["a", "b", "c"] {
        api.clock.advance(SignedDuration::from_secs(1));
        api.ok("POST", "/operators", json!({ "name": name })).await;
    }
    let mut names = Vec::new();
    let mut path = "/operators?limit=2".to_owned();
    loop {
        let request = TestApi::request(api.token(), "GET", &path, &Value::Null);
        let response = api.answer(request).await;
        let link = response.headers().get("link").cloned();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        let page: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        let operators = page["operators"].as_array().unwrap().iter();
        names.extend(operators.map(|it| it["name"].as_str().unwrap().to_owned()));
        assert_eq!(link.is_some(), page["next_before"].is_string());
        let Some(link) = link else { break };
        let link = link.to_str().unwrap().strip_prefix("</api/v1").unwrap();
        path = link.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        assert!(path.contains("limit=2"), "{path}");
    }
    assert_eq!(names, ["c", "b", "a", "admin"]);

    let page = api.get("/operators?since=2026-11-21T12:00:02Z").await;
    assert_eq!(page["operators"].as_array().unwrap().len(), 2);
    let page = api.get("/operators?until=2026-11-21T12:00:02Z").await;
    assert_eq!(page["operators"].as_array().unwrap().len(), 2);
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "since=yesterday",
        "before=x",
    ] {
        let path = format!("/operators?{query}");
        api.refused("invalid", "GET", &path, Value::Null).await;
    }
}

#[tokio::test]
async fn what_no_agent_would_understand_becomes_no_job() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.live.connect(agent.id);
    api.web_policy().await;
    let snapshot = api.finished_backup(&agent).await;
    let path = format!("/snapshots/{snapshot}/entries?path=");
    api.refused("invalid", "GET", &path, Value::Null).await;
    let moved = json!([{ "from": "", "to": "/t" }]);
    for request in [
        json!({ "target": { "cluster": { "directory": "/r", "tablespaces": moved } } }),
        json!({ "target": { "cluster": { "directory": "/r" } }, "until": { "restore-point": "" } }),
    ] {
        let mut request = request;
        request["snapshot"] = snapshot.clone().into();
        request["agent"] = "web-1".into();
        let (message, _) = api.refused("invalid", "POST", "/restores", request).await;
        assert!(message.contains("is empty"), "{message}");
    }
}

#[tokio::test]
async fn jobs_and_snapshots_are_found_by_their_time() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    api.finished_backup(&agent).await;
    for (list, key) in [("jobs", "created_at"), ("snapshots", "time")] {
        let all = api.get(&format!("/{list}")).await;
        let time = all[list][0][key].as_str().unwrap();
        for (query, found) in [("since", 1), ("until", 0)] {
            let page = api.get(&format!("/{list}?{query}={time}")).await;
            assert_eq!(
                page[list].as_array().unwrap().len(),
                found,
                "{list} {query}"
            );
        }
    }
}

/// A request from an address, with a token or without.
fn from(address: &str, token: Option<&str>) -> Request<Body> {
    let mut request = request("GET", "/api/v1/status");
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    let visit = door::testing::visit(address, door::Limits::of(16, 4));
    request.extensions_mut().insert(visit);
    request
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down_and_audited_once() {
    let api = TestApi::new().await;
    let (status, _) = api.raw(from("192.0.2.1", Some(api.token()))).await;
    assert_eq!(status, StatusCode::OK);
    for number in 0..20 {
        let guess = format!("sro_{number}");
        let (status, _) = api.raw(from("192.0.2.1", Some(&guess))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{number}");
    }
    for token in [Some("sro_another"), None] {
        let (status, body) = api.raw(from("192.0.2.1", token)).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
        assert_eq!(body["code"], "too-many");
        assert_eq!(body["retry_after_seconds"], 60);
    }
    // Another address, and who was good there before, are not held up.
    let (status, _) = api.raw(from("192.0.2.2", Some("sro_guess"))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) = api.raw(from("192.0.2.1", Some(api.token()))).await;
    assert_eq!(status, StatusCode::OK);

    let stop = CancellationToken::new();
    stop.cancel();
    api.state.sentry.report(api.catalog.clone(), stop).await;
    let audit = api.get("/audit?action=operator.refuse").await;
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{audit:#}");
    let told = |object: &str| entries.iter().find(|it| it["object"] == object).unwrap();
    assert_eq!(told("192.0.2.1")["detail"]["attempts"], 22);
    assert_eq!(told("192.0.2.2")["detail"]["attempts"], 1);
    assert_eq!(told("192.0.2.1")["outcome"], "refused");
}

#[tokio::test]
async fn a_token_ends_when_it_was_said_to_and_is_renewed() {
    let api = TestApi::new().await;
    let request = json!({ "name": "bot", "ttl_seconds": 60 });
    let new = api.ok("POST", "/operators", request).await;
    let token = new["token"].as_str().unwrap();
    let status = async |token: &str| api.send_as(token, "GET", "/status", Value::Null).await;
    assert_eq!(status(token).await.0, StatusCode::OK);
    api.clock.advance(SignedDuration::from_secs(60));
    let (code, body) = status(token).await;
    assert_eq!(code, StatusCode::UNAUTHORIZED);
    let message = body["detail"].as_str().unwrap();
    assert!(message.contains("the token of bot expired at"), "{message}");
    assert!(
        body["hint"]
            .as_str()
            .unwrap()
            .contains("operators renew bot")
    );

    // Who has expired does not count as one who could let others in.
    api.refused("conflict", "POST", "/operators/admin/revoke", Value::Null)
        .await;
    let again = api.ok("POST", "/operators/bot/renew", json!({})).await;
    assert_eq!(again["expires_at"], Value::Null);
    assert_eq!(status(token).await.0, StatusCode::UNAUTHORIZED);
    let renewed = again["token"].as_str().unwrap();
    assert_eq!(status(renewed).await.0, StatusCode::OK);
    api.ok("POST", "/operators/bot/renew", json!({ "ttl_seconds": 5 }))
        .await;
    assert_eq!(status(renewed).await.0, StatusCode::UNAUTHORIZED);
    api.refused(
        "invalid",
        "POST",
        "/operators/bot/renew",
        json!({ "ttl_seconds": 0 }),
    )
    .await;
    api.refused("not-found", "POST", "/operators/eve/renew", json!({}))
        .await;
    let audited = api.audited().await;
    assert!(audited.contains(&"operator:admin operator.renew".to_owned()));
}

#[tokio::test]
async fn whoever_has_no_token_is_refused_before_his_body_is_read() {
    let api = TestApi::new().await;
    for (method, path) in operations() {
        // It never comes.
        let body = futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
        let request = Request::builder()
            .method(method.as_str())
            .uri(&path)
            .header("content-type", "application/json")
            .body(Body::from_stream(body))
            .unwrap();
        let answer = tokio::time::timeout(std::time::Duration::from_secs(20), api.raw(request));
        let (status, body) = answer
            .await
            .unwrap_or_else(|_| panic!("{method} {path}: its body is waited for"));
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn a_coordinator_that_cannot_write_is_not_healthy() {
    let api = TestApi::new().await;
    api.catalog.close().await;
    let (status, body) = api.raw(request("GET", "/healthz")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.as_str().unwrap().contains("log says where"), "{body}");
}
