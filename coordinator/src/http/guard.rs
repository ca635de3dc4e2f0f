//! What every request must keep to before its endpoint sees it: a query has no
//! keys but those that the document names, and no text holds a NUL.
//!
//! It comes before the token is looked at, which tells a stranger no more than
//! the document does.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use url::form_urlencoded;

use super::{
    extract::no_nul,
    openapi::IDEMPOTENCY_KEY,
    problem::{Code, Problem},
};

/// What the document says of each operation.
#[derive(Debug, Default)]
pub(super) struct Rules(HashMap<String, HashMap<String, Rule>>);

/// What the document says of one.
#[derive(Debug, Default)]
struct Rule {
    /// Keys that its query may have.
    query: BTreeSet<String>,
    /// It may be sent again under an idempotency key.
    keyed: bool,
}

impl Rules {
    pub(super) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let rules = paths.map(|(path, operations)| {
            let operations = operations.as_object().into_iter().flatten();
            let rules = operations.map(|(method, it)| (method.to_uppercase(), rule(it)));
            (path.clone(), rules.collect())
        });
        Self(rules.collect())
    }

    fn of_request(&self, request: &Request) -> Option<&Rule> {
        let method = match request.method() {
            &Method::HEAD => &Method::GET,
            method => method,
        };
        let path = request.extensions().get::<MatchedPath>()?;
        self.0.get(path.as_str())?.get(method.as_str())
    }

    /// Whether the request may be sent again under an idempotency key.
    pub(super) fn is_keyed(&self, request: &Request) -> bool {
        self.of_request(request).is_some_and(|rule| rule.keyed)
    }
}

fn rule(operation: &Value) -> Rule {
    let mut rule = Rule::default();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        match parameter["in"].as_str() {
            Some("query") => {
                rule.query.insert(name.to_owned());
            }
            Some("header") => rule.keyed |= name == IDEMPOTENCY_KEY,
            _ => {}
        }
    }
    rule
}

/// Refuses what no endpoint would understand.
pub(super) async fn check(
    State(rules): State<Arc<Rules>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(problem) = understood(&rules, &request) {
        return problem.into_response();
    }
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    if let Some(NextPage { key, value }) = response.extensions_mut().remove() {
        let others = uri.query().unwrap_or_default();
        let others = form_urlencoded::parse(others.as_bytes()).filter(|it| it.0 != key);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair(key, &value)
            .finish();
        let link = format!("<{}?{query}>; rel=\"next\"", uri.path());
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

/// Of a response that is a page: by which key and value of the query the next
/// one is asked for.
#[derive(Debug, Clone)]
pub(super) struct NextPage {
    pub(super) key: &'static str,
    pub(super) value: String,
}

fn understood(rules: &Rules, request: &Request) -> Result<(), Problem> {
    let uri = request.uri();
    let Some(rule) = rules.of_request(request) else {
        return Ok(());
    };
    if uri.path().contains("%00") {
        return Err(no_nul("the path"));
    }
    let query = uri.query().unwrap_or_default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        if !rule.query.contains(&*key) {
            return Err(unknown(&key, &rule.query));
        }
        if value.contains('\0') {
            return Err(no_nul(&format!("`{key}`")));
        }
    }
    Ok(())
}

fn unknown(key: &str, known: &BTreeSet<String>) -> Problem {
    let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
    let problem = Problem::new(Code::Invalid, format!("the query has no key {key:?}"));
    if known.is_empty() {
        problem.hint("this request takes no query")
    } else {
        problem.hint(format!("it takes {}", known.join(", ")))
    }
}
