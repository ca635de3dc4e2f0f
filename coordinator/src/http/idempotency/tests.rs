//! Requests under a key, against an API in process.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderValue, Request},
    response::Response,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::http::testing::TestApi;

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
    let restore = json!({ "snapshot": snapshot, "agent": "web-1", "target": "/r" });
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
    let other = json!({ "snapshot": snapshot, "agent": "web-1", "target": "/other" });
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
    let invite = keyed(&api, "k", "/agents/invite", &json!({}));
    let detail = refused(&api, invite, 409, "conflict").await;
    assert!(detail.contains("under way"), "{detail}");
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
