//! What holds for every operation, said once.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::http::problem::Code;

/// The header by which a request that starts something is known again.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// No text of a request holds a NUL: [`extract`](crate::http::extract) sees to it.
const NO_NUL: &str = r"^[^\u0000]*$";
/// Longer names and ids there are none.
const MAX_SEGMENT: usize = 255;

const SCHEMAS: &str = "#/components/schemas/";

/// Adds the problems that operations may answer with, the headers of their
/// answers, and the bounds of texts.
pub(super) fn complete(document: &mut Value) {
    let mut asked = BTreeSet::new();
    if let Some(paths) = document["paths"].as_object_mut() {
        let operations = paths.values_mut().filter_map(Value::as_object_mut);
        for operation in operations.flat_map(Map::values_mut) {
            answers(operation);
            // A paragraph of a comment is one line here.
            if let Some(summary) = operation["summary"].as_str() {
                operation["summary"] = summary.replace('\n', " ").into();
            }
            let parameters = operation
                .get_mut("parameters")
                .and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                present(&mut parameter["schema"]);
                bound(parameter);
            }
            references(&operation["requestBody"], &mut asked);
        }
    }
    let mut all = BTreeSet::new();
    while let Some(name) = asked.pop_first() {
        if all.insert(name.clone()) {
            references(&document["components"]["schemas"][&name], &mut asked);
        }
    }
    for name in all {
        texts(&mut document["components"]["schemas"][name]);
    }
}

/// The problems that an operation may answer with, and what accompanies its
/// successes.
fn answers(operation: &mut Value) {
    let open = operation.get("security").is_some();
    let has = |place: &str| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|it| it["in"] == place)
    };
    let (names, asks, has_key) = (has("path"), has("query"), has("header"));
    let has_body = operation.get("requestBody").is_some();
    let mut codes = vec![Code::Invalid, Code::Internal, Code::Unavailable];
    if !open {
        codes.extend([Code::Unauthorised, Code::TooMany]);
    }
    if names || (!open && (has_body || asks)) {
        codes.extend([Code::NotFound, Code::Conflict]);
    }
    if has_body {
        codes.extend([Code::TooLarge, Code::UnsupportedMediaType]);
    }
    if has_key {
        codes.extend([Code::Conflict, Code::TooLarge, Code::IdempotencyKeyReused]);
    }
    for code in codes {
        let status = code.status().as_u16().to_string();
        if operation["responses"].get(&status).is_none() {
            operation["responses"][status] = problem(code);
        }
    }
    let pages = operation["parameters"].as_array().into_iter().flatten();
    if pages.into_iter().any(|it| it["name"] == "limit") {
        operation["responses"]["200"]["headers"]["Link"] = json!({
            "description": "`rel=next`: the next page; absent at the end",
            "schema": { "type": "string" },
        });
    }
    for status in ["201", "202"] {
        if let Some(answer) = operation["responses"].get_mut(status) {
            answer["headers"]["Location"] = json!({
                "description": "Where it is",
                "required": true,
                "schema": { "type": "string", "format": "uri-reference" },
            });
        }
    }
}

fn problem(code: Code) -> Value {
    let mut answer = json!({
        "description": code.title(),
        "content": { "application/problem+json": {
            "schema": { "$ref": format!("{SCHEMAS}Problem") },
        } },
    });
    match code {
        Code::Unauthorised => {
            answer["headers"]["WWW-Authenticate"] = json!({
                "description": "Bearer", "required": true, "schema": { "type": "string" },
            });
        }
        Code::TooMany => {
            answer["headers"]["Retry-After"] = json!({
                "description": "After how many seconds it may go better",
                "schema": { "type": "integer", "minimum": 1 },
            });
        }
        _ => {}
    }
    answer
}

/// A parameter that is not given is absent, and never `null`.
fn present(schema: &mut Value) {
    let is_null = |kind: &Value| kind == "null" || kind["type"] == "null";
    for key in ["type", "oneOf"] {
        let Some(kinds) = schema.get_mut(key).and_then(Value::as_array_mut) else {
            continue;
        };
        kinds.retain(|kind| !is_null(kind));
        if kinds.len() != 1 {
            continue;
        }
        match kinds.pop() {
            Some(only) if key == "type" => schema["type"] = only,
            Some(only) => *schema = only,
            None => {}
        }
    }
}

/// A text of the path names something: it is not empty.
fn bound(parameter: &mut Value) {
    if parameter["in"] == "path" {
        let schema = &mut parameter["schema"];
        schema["minLength"] = 1.into();
        schema["maxLength"] = MAX_SEGMENT.into();
    }
    texts(&mut parameter["schema"]);
}

/// What a schema refers to, through all that is in it.
fn references(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.extend(name.strip_prefix(SCHEMAS).map(str::to_owned));
            }
            map.values().for_each(|it| references(it, found));
        }
        Value::Array(items) => items.iter().for_each(|it| references(it, found)),
        _ => {}
    }
}

/// Says of every text in a schema that has no closer bounds what none may hold.
fn texts(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let text = match map.get("type") {
                Some(Value::String(kind)) => kind == "string",
                Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
                _ => false,
            };
            let closer = ["pattern", "format", "enum", "const"];
            if text && !closer.iter().any(|key| map.contains_key(*key)) {
                map.insert("pattern".into(), NO_NUL.into());
            }
            map.values_mut().for_each(texts);
        }
        Value::Array(items) => items.iter_mut().for_each(texts),
        _ => {}
    }
}
