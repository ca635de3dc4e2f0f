//! `strongroom audit`

use serde_json::Value;

use super::Context;
use crate::{
    cli::{
        args::AuditArgs,
        error::{CliError, Exit},
        render::{Table, format},
    },
    http::shape::AuditEntries,
};

pub(super) async fn run(context: &Context, args: AuditArgs) -> Result<Exit, CliError> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.action.map(|action| ("action", action)));
    query.extend(args.before.map(|before| ("before", before)));
    let entries: AuditEntries = context.client()?.get(&["audit"], &query).await?;
    context.renderer.show(&entries, list)?;
    Ok(Exit::Done)
}

pub(super) fn list(entries: &AuditEntries) -> String {
    let mut table = Table::new(
        "nothing that matches",
        &[
            "time", "actor", "action", "object", "outcome", "detail", "trace",
        ],
    );
    for entry in &entries.entries {
        table.row(&[
            format::moment(entry.at),
            entry.actor.clone(),
            entry.action.clone(),
            entry.object.clone(),
            entry.outcome.clone(),
            detail(&entry.detail),
            entry
                .trace_id
                .as_deref()
                .map_or_else(format::dash, |id| format::short(id).to_owned()),
        ]);
    }
    let text = table.render();
    match &entries.next_before {
        Some(before) => format!("{text}\nolder entries: strongroom audit --before {before}"),
        None => text,
    }
}

/// `key=value` pairs; anything else as JSON.
fn detail(detail: &Value) -> String {
    match detail {
        Value::Null => format::dash(),
        Value::Object(pairs) if pairs.is_empty() => format::dash(),
        Value::Object(pairs) => {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(key, value)| match value {
                    Value::String(text) => format!("{key}={text}"),
                    other => format!("{key}={other}"),
                })
                .collect();
            pairs.join(" ")
        }
        other => other.to_string(),
    }
}
