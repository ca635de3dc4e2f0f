//! `strongroom audit`

use serde_json::Value;

use super::Context;
use crate::{
    cli::{
        args::AuditArgs,
        client::{MAX_PAGE, page_limit},
        error::{CliError, Exit},
        render::{Table, format},
    },
    http::dto::AuditEntries,
};

pub(super) async fn run(context: &Context, args: AuditArgs) -> Result<Exit, CliError> {
    let mut query = vec![page_limit(args.limit, MAX_PAGE)];
    query.extend(args.action.map(|action| ("action", action)));
    query.extend(args.actor.map(|actor| ("actor", actor)));
    query.extend(args.object.map(|object| ("object", object)));
    query.extend(args.since.map(|since| ("since", since.to_string())));
    query.extend(args.until.map(|until| ("until", until.to_string())));
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
            match entry.actor.split_once(':') {
                Some(("agent", id)) => format!("agent:{}", named(entries, id)),
                _ => entry.actor.clone(),
            },
            entry.action.clone(),
            named(entries, &entry.object).to_owned(),
            entry.outcome.clone(),
            detail(&entry.detail),
            entry
                .trace_id
                .as_deref()
                .map_or_else(format::dash, |id| format::short(id).to_owned()),
        ]);
    }
    table.render_page("strongroom audit", entries.next_before.as_deref())
}

/// An agent's name in the place of its id.
fn named<'e>(entries: &'e AuditEntries, id: &'e str) -> &'e str {
    entries.agents.get(id).map_or(id, String::as_str)
}

/// `key=value` pairs, without those that have no value; anything else as JSON.
fn detail(detail: &Value) -> String {
    match detail {
        Value::Null => format::dash(),
        Value::Object(pairs) if pairs.values().all(Value::is_null) => format::dash(),
        Value::Object(pairs) => {
            let pairs: Vec<_> = pairs
                .iter()
                .filter(|(_, value)| !value.is_null())
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
