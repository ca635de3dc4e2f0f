//! What holds for every endpoint.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};

use super::{openapi, testing::TestApi};

/// Every method and path of the OpenAPI document, parameters filled in.
fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path: Vec<_> = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect();
        for method in methods.as_object().unwrap().keys() {
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
    for (method, path) in [("GET", "/nowhere"), ("PUT", "/api/v1/status")] {
        let (status, body) = api.raw(request(method, path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(body["code"], "not-found");
    }
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let api = TestApi::new().await;
    let (message, _) = api
        .refused("invalid", "POST", "/operators", json!({ "nam": "x" }))
        .await;
    assert!(message.contains("nam"), "{message}");
    let (message, _) = api
        .refused("invalid", "GET", "/jobs?stat=pending", Value::Null)
        .await;
    assert!(message.contains("stat"), "{message}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let api = TestApi::new().await;
    let huge = json!({ "toml": "#".repeat(2 << 20) });
    api.refused("too-large", "POST", "/policies/apply", huge)
        .await;
}

#[test]
fn the_document_names_the_shape_of_every_answer() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            assert!(answer["$ref"].is_string(), "{method} {path}: {operation}");
        }
    }
    let content_type =
        &document["paths"]["/api/v1/status"]["get"]["responses"]["default"]["content"];
    assert!(content_type["application/problem+json"].is_object());
}
