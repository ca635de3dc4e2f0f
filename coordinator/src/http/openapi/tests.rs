//! The document keeps to OpenAPI 3.1, as far as that can be said here: a
//! validator reads it in the end-to-end tests.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document;

/// What is said of each operation: where, and the operation.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with('/'), "{path}");
        for (method, operation) in operations.as_object().unwrap() {
            all.push((format!("{method} {path}"), operation));
        }
    }
    all
}

fn said<'a>(value: &'a Value, what: &str) -> &'a str {
    let text = value.as_str().unwrap_or_default();
    assert!(!text.trim().is_empty(), "{what} is not said");
    text
}

#[test]
fn it_is_one_of_3_1_and_says_what_it_is_of() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    for key in ["title", "version", "description"] {
        said(&document["info"][key], key);
    }
    assert!(document["components"]["securitySchemes"]["token"]["description"].is_string());
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_it_does() {
    let document = document();
    let tags = document["tags"].as_array().unwrap().iter();
    let tags: BTreeSet<_> = tags
        .filter(|tag| tag["description"].is_string())
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut names = BTreeSet::new();
    for (place, operation) in operations(&document) {
        let name = said(&operation["operationId"], &place);
        assert!(names.insert(name.to_owned()), "{name} stands twice");
        assert!(name.contains('_'), "{name} says what, but not of what");
        let summary = said(&operation["summary"], &place);
        assert!(summary.ends_with('.'), "{place}: {summary:?}");
        assert!(summary.len() <= 100, "{place}: {summary:?}");
        let used = operation["tags"].as_array().unwrap();
        assert_eq!(used.len(), 1, "{place}");
        assert!(
            tags.contains(used[0].as_str().unwrap()),
            "{place}: {used:?}"
        );
    }
}

#[test]
fn every_parameter_and_answer_is_described() {
    let document = document();
    for (place, operation) in operations(&document) {
        let mut named = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let what = format!("{place}: {}", parameter["name"]);
            said(&parameter["description"], &what);
            assert!(parameter["schema"].is_object(), "{what}");
            if parameter["in"] == "path" {
                assert_eq!(parameter["required"], true, "{what}");
                named.insert(parameter["name"].as_str().unwrap());
            }
        }
        let placeholders = place.split(['{', '}']).skip(1).step_by(2);
        assert_eq!(placeholders.collect::<BTreeSet<_>>(), named, "{place}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(
            answers.keys().any(|status| status.starts_with('2')),
            "{place}"
        );
        assert!(
            answers.contains_key("400") && answers.contains_key("500"),
            "{place}"
        );
        for (status, answer) in answers {
            said(&answer["description"], &format!("{place}: {status}"));
            let made = ["201", "202"].contains(&status.as_str());
            let located = answer["headers"]["Location"].is_object();
            assert_eq!(made, located, "{place}: {status}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_field_is_described() {
    fn look(document: &Value, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                for (key, value) in map {
                    assert!(!value.is_null() || key == "default", "{key} is null");
                    look(document, value);
                }
            }
            Value::Array(items) => items.iter().for_each(|it| look(document, it)),
            _ => {}
        }
    }
    let document = document();
    look(&document, &document);
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        said(&schema["description"], name);
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            // What may be null or something else is described beside that.
            let one_of = schema["oneOf"].as_array().into_iter().flatten();
            let mut described = one_of.filter(|it| it["description"].is_string());
            let description = described.next_back().unwrap_or(schema);
            said(&description["description"], &format!("{name}.{field}"));
        }
    }
}
