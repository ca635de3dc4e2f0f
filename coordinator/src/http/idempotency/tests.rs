//! Requests under a key, against an API in process.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderValue, Request},
    middleware,
    response::{IntoResponse as _, Response},
    routing,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::once;
use crate::http::{
    answer::Started,
    guard::Rules,
    problem::{Code, Problem},
    testing::TestApi,
};

fn keyed(api: &TestApi, key: &str, path: &str, body: &Value) -> Request<Body> {
    let mut request = TestApi::request(api.token(), "POST", path, body);
    let key = HeaderValue::from_bytes(key.as_bytes()).unwrap();
    request.headers_mut().insert("idempotency-key", key);
    request
}

async fn body(response: Response) -> Value {
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn refused(api: &TestApi, request: Request<Body>, status: u16, code: &str) -> String {
    let response = api.answer(request).await;
    assert_eq!(response.status().as_u16(), status);
    let problem = body(response).await;
    assert_eq!(problem["code"], code);
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_same_request_under_the_same_key_happens_once() {
    let api = TestApi::new().await;
    let agent = api.agent("web-1").await;
    api.web_policy().await;
    let snapshot = api.finished_backup(&agent).await;
    let to = |directory: &str| json!({ "directory": { "directory": directory } });
    let restore = json!({ "snapshot": snapshot, "agent": "web-1", "target": to("/r") });
    let first = api
        .answer(keyed(&api, "a key", "/restores", &restore))
        .await;
    assert_eq!(
        first.status().as_u16(),
        400,
        "a space is no visible character"
    );

    let first = api.answer(keyed(&api, "k", "/restores", &restore)).await;
    let again = api.answer(keyed(&api, "k", "/restores", &restore)).await;
    assert_eq!(first.status().as_u16(), 202);
    assert_eq!(again.status(), first.status());
    for header in ["location", "content-type"] {
        assert_eq!(again.headers()[header], first.headers()[header]);
    }
    assert_eq!(body(again).await, body(first).await);
    let jobs = api.get("/jobs?kind=restore").await;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);

    // Another request, or another operator's, is another one.
    let other = json!({ "snapshot": snapshot, "agent": "web-1", "target": to("/other") });
    let code = "idempotency-key-reused";
    refused(&api, keyed(&api, "k", "/restores", &other), 422, code).await;
    let new = api.ok("POST", "/operators", json!({ "name": "bot" })).await;
    let mut request = TestApi::request(
        new["token"].as_str().unwrap(),
        "POST",
        "/restores",
        &restore,
    );
    let key = HeaderValue::from_static("k");
    request.headers_mut().insert("idempotency-key", key);
    assert_eq!(api.answer(request).await.status().as_u16(), 202);

    api.clock.advance(SignedDuration::from_hours(25));
    let later = api.answer(keyed(&api, "k", "/restores", &restore)).await;
    assert_eq!(later.status().as_u16(), 202);
    let jobs = api.get("/jobs?kind=restore").await;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_was_refused_may_be_asked_for_again_under_its_key() {
    let api = TestApi::new().await;
    let run = || keyed(&api, "k", "/policies/web/runs", &json!({}));
    refused(&api, run(), 404, "not-found").await;
    api.agent("web-1").await;
    api.web_policy().await;
    assert_eq!(api.answer(run()).await.status().as_u16(), 202);
    assert_eq!(api.answer(run()).await.status().as_u16(), 202);
}

#[tokio::test]
async fn an_answer_with_a_secret_is_not_given_twice() {
    let api = TestApi::new().await;
    for (path, request, at) in [
        ("/agents/invite", json!({}), "/api/v1/invitations/"),
        (
            "/operators",
            json!({ "name": "bot" }),
            "/api/v1/operators/bot",
        ),
        ("/operators/bot/renew", json!({}), "secret"),
    ] {
        let made = api.answer(keyed(&api, path, path, &request)).await;
        assert!(made.status().is_success(), "{path}");
        let token = body(made).await["token"].as_str().unwrap().to_owned();
        let detail = refused(&api, keyed(&api, path, path, &request), 409, "conflict").await;
        assert!(detail.contains(at), "{detail}");
        assert!(!detail.contains(&token));
    }
    assert_eq!(api.catalog.join_tokens().await.unwrap().len(), 1);
}

#[tokio::test]
async fn while_the_first_is_under_way_the_second_is_told_so() {
    let api = TestApi::new().await;
    let request = crate::model::KeyedRequest {
        sender: crate::model::Actor::Operator("admin".into()),
        key: "k".into(),
        hash: super::hash(
            &keyed(&api, "k", "/agents/invite", &json!({}))
                .into_parts()
                .0,
            b"{}",
        ),
    };
    api.catalog.begin_request(&request).await.unwrap();
    let invite = || keyed(&api, "k", "/agents/invite", &json!({}));
    let detail = refused(&api, invite(), 409, "conflict").await;
    assert!(detail.contains("under way"), "{detail}");
    let told = api.answer(invite()).await;
    assert_eq!(told.headers()["retry-after"], "1");
}

#[tokio::test]
async fn a_client_that_goes_away_at_any_moment_leaves_no_key_under_way() {
    let api = TestApi::new().await;
    for polls in 1..12 {
        let key = polls.to_string();
        let invite = || keyed(&api, &key, "/agents/invite", &json!({}));
        let mut asked = Box::pin(api.answer(invite()));
        for _ in 0..polls {
            if futures::poll!(asked.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(asked);
        api.state.tasks.close();
        api.state.tasks.wait().await;
        api.state.tasks.reopen();
        let again = api.answer(invite()).await;
        if !again.status().is_success() {
            let problem = body(again).await;
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("has succeeded"), "{detail}");
        }
    }
    assert_eq!(api.catalog.join_tokens().await.unwrap().len(), 11);
}

/// An operation of its own that answers the same each time; counts how often it
/// is done.
fn operation(api: &TestApi, answer: fn() -> Response) -> (Router, Arc<AtomicUsize>) {
    let document = json!({ "paths": { "/api/v1/made": { "post": {
        "parameters": [{ "name": super::IDEMPOTENCY_KEY, "in": "header" }],
    } } } });
    let rules = Arc::new(Rules::of(&document));
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let handler = async move || {
        count.fetch_add(1, Ordering::SeqCst);
        answer()
    };
    let router = Router::new()
        .route("/api/v1/made", routing::post(handler))
        .layer(middleware::from_fn_with_state(
            (Arc::clone(&api.state), rules),
            once,
        ));
    (router, done)
}

#[tokio::test]
async fn what_broke_in_the_middle_is_not_done_again() {
    let api = TestApi::new().await;
    let breaks: [fn() -> Response; 3] = [
        || Problem::new(Code::Internal, "no").into_response(),
        || Problem::new(Code::Unavailable, "no").into_response(),
        || panic!("this test's handler panics"),
    ];
    for (number, answer) in breaks.into_iter().enumerate() {
        let (router, done) = operation(&api, answer);
        let ask = || keyed(&api, &number.to_string(), "/made", &json!({}));
        let first = router.clone().oneshot(ask()).await.unwrap();
        assert!(first.status().is_server_error());
        let again = router.clone().oneshot(ask()).await.unwrap();
        assert_eq!(again.status().as_u16(), 409);
        assert!(again.headers().get("retry-after").is_none());
        let problem = body(again).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("not known whether"), "{detail}");
        assert!(problem["hint"].as_str().unwrap().contains("another key"));
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn of_a_long_answer_is_kept_where_to_look() {
    let api = TestApi::new().await;
    let (router, done) = operation(&api, || {
        Started("/api/v1/jobs?policy=web".into(), "x".repeat(65 << 10)).into_response()
    });
    let ask = || keyed(&api, "k", "/made", &json!({}));
    let first = router.clone().oneshot(ask()).await.unwrap();
    assert_eq!(first.status().as_u16(), 202);
    assert_eq!(body(first).await.as_str().unwrap().len(), 65 << 10);
    let again = router.clone().oneshot(ask()).await.unwrap();
    assert_eq!(again.status().as_u16(), 409);
    let problem = body(again).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("/api/v1/jobs?policy=web"), "{detail}");
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_dry_run_leaves_its_key_free() {
    let api = TestApi::new().await;
    let toml = "[[policy]]\nname = \"web\"\nagents = { names = [\"web-1\"] }\n\
                source = { files = { paths = [\"/srv\"] } }\nstore = \"primary\"\n";
    let request = |dry_run: bool| {
        let request = json!({ "toml": toml, "dry_run": dry_run });
        keyed(&api, "k", "/policies/apply", &request)
    };
    assert_eq!(api.answer(request(true)).await.status().as_u16(), 200);
    assert_eq!(api.answer(request(false)).await.status().as_u16(), 200);
    let again = body(api.answer(request(false)).await).await;
    assert_eq!(again["changes"][0]["action"], "create");
}

#[tokio::test]
async fn a_request_goes_on_when_whoever_asked_is_gone() {
    let api = TestApi::new().await;
    let invite = || keyed(&api, "k", "/agents/invite", &json!({}));
    // Dropped where it waits for the first time.
    let mut asked = Box::pin(api.answer(invite()));
    while api.state.tasks.is_empty() {
        assert!(futures::poll!(asked.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    drop(asked);
    api.state.tasks.close();
    api.state.tasks.wait().await;
    assert_eq!(api.catalog.join_tokens().await.unwrap().len(), 1);
    refused(&api, invite(), 409, "conflict").await;
}
