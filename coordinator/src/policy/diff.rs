//! What an apply would change: pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Policy;

/// What becomes of one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyChange {
    /// The policy's name.
    pub name: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub change: Change,
}

/// See [`PolicyChange`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change", content = "fields")]
pub enum Change {
    /// It is new.
    Created,
    /// These fields differ.
    Changed(Vec<FieldChange>),
    /// It stays as it is.
    Unchanged,
}

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Its path, like `schedule.cron`.
    pub field: String,
    /// As it is; `None` when it is not there.
    pub from: Option<Value>,
    /// As it is to be; `None` when it goes away.
    pub to: Option<Value>,
}

/// What becomes of each of the `wanted` policies, in their order. Policies
/// that are not named stay as they are.
pub fn diff(current: &[Policy], wanted: &[Policy]) -> Vec<PolicyChange> {
    let current: BTreeMap<_, _> = current.iter().map(|it| (&it.name, it)).collect();
    wanted
        .iter()
        .map(|policy| PolicyChange {
            name: policy.name.clone(),
            change: match current.get(&policy.name) {
                None => Change::Created,
                Some(same) if *same == policy => Change::Unchanged,
                Some(other) => Change::Changed(field_changes(other, policy)),
            },
        })
        .collect()
}

fn field_changes(from: &Policy, to: &Policy) -> Vec<FieldChange> {
    let mut from = fields(from);
    let mut changes: Vec<_> = fields(to)
        .into_iter()
        .filter_map(|(field, to)| {
            let from = from.remove(&field);
            (from.as_ref() != Some(&to)).then_some(FieldChange {
                field,
                from,
                to: Some(to),
            })
        })
        .collect();
    changes.extend(from.into_iter().map(|(field, from)| FieldChange {
        field,
        from: Some(from),
        to: None,
    }));
    changes.sort_by(|a, b| a.field.cmp(&b.field));
    changes
}

/// Every value by its path; lists are one value.
fn fields(policy: &Policy) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let value = serde_json::to_value(policy).expect("a policy has text keys only");
    flatten(String::new(), value, &mut found);
    found
}

fn flatten(path: String, value: Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                };
                flatten(path, value, found);
            }
        }
        value => {
            found.insert(path, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        serde_json::from_str(json).unwrap()
    }

    fn web() -> Policy {
        policy(
            r#"{"name": "web", "agents": {"names": ["web-1"]}, "store": "primary",
                "source": {"files": {"paths": ["/srv"]}}, "schedule": "daily"}"#,
        )
    }

    #[test]
    fn unnamed_policies_stay_and_named_ones_are_told_apart() {
        let other = Policy {
            name: "other".into(),
            ..web()
        };
        let new = Policy {
            name: "new".into(),
            ..web()
        };
        let changes = diff(&[other, web()], &[web(), new]);
        let changes: Vec<_> = changes
            .iter()
            .map(|it| (it.name.as_str(), &it.change))
            .collect();
        assert_eq!(
            changes,
            [("web", &Change::Unchanged), ("new", &Change::Created)]
        );
    }

    #[test]
    fn a_change_names_its_fields() {
        let mut changed = web();
        changed.store = "offsite".into();
        changed.schedule = None;
        changed.limits.timeout = "1h".parse().ok();
        changed.limits.threads = Some(2);
        changed.limits.memory = "64MiB".parse().ok();
        changed.limits.download = "1MB/s".parse().ok();
        let change = diff(&[web()], &[changed]).remove(0).change;
        let Change::Changed(fields) = change else {
            panic!("{change:?}");
        };
        let fields: Vec<_> = fields
            .into_iter()
            .map(|it| (it.field, it.from, it.to))
            .collect();
        let text = |text: &str| Some(Value::from(text));
        assert_eq!(
            fields,
            [
                ("limits.download".into(), None, text("1MB/s")),
                ("limits.memory".into(), None, text("64MiB")),
                ("limits.threads".into(), None, Some(2.into())),
                ("limits.timeout".into(), None, text("1h")),
                ("schedule".into(), text("daily"), None),
                ("store".into(), text("primary"), text("offsite")),
            ]
        );
    }
}
