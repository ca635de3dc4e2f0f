//! `strongroom events`

use std::fmt::Write as _;

use serde_json::Value;

use super::Context;
use crate::{
    cli::{
        args::EventsArgs,
        client::{Client, ClientError, MAX_PAGE, page_limit},
        error::{CliError, Exit},
        render::format,
    },
    http::dto::{Event, Events},
};

/// How long one request waits for an event, seconds.
const WAIT_SECONDS: u32 = 30;

pub(super) async fn run(context: &Context, args: EventsArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let mut query = vec![page_limit(args.limit, MAX_PAGE)];
    query.extend(args.after.map(|after| ("after", after.to_string())));
    let mut events: Events = client.get(&["events"], &query).await?;
    context.renderer.show(&events, list)?;
    if !args.follow {
        return Ok(Exit::Done);
    }
    loop {
        tokio::select! {
            next = next(&client, &events, args.limit) => events = next?,
            Ok(()) = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
        if events.gap || !events.events.is_empty() {
            context.renderer.show(&events, list)?;
        }
    }
}

async fn next(client: &Client, events: &Events, limit: u32) -> Result<Events, ClientError> {
    let query = [
        page_limit(limit, MAX_PAGE),
        ("after", events.next_after.to_string()),
        ("wait", WAIT_SECONDS.to_string()),
    ];
    client.get(&["events"], &query).await
}

/// A line for each.
pub(super) fn list(events: &Events) -> String {
    let mut text = String::new();
    if events.gap {
        text.push_str("some events are missing here: they are kept for thirty days\n");
    }
    for event in &events.events {
        let _ = writeln!(
            text,
            "{}  {:>6}  {:<24}  {}",
            format::moment(event.at),
            event.seq,
            format::printable(&event.kind),
            format::printable(&facts(event))
        );
    }
    text
}

/// What it concerns, and what is said of that.
fn facts(event: &Event) -> String {
    let agent = event.detail["agent"].as_str();
    let names = [
        event.dataset.as_deref(),
        agent.filter(|_| event.dataset.is_none()),
        event.policy.as_deref().filter(|_| event.dataset.is_none()),
        event
            .repository
            .as_deref()
            .filter(|_| event.dataset.is_none()),
    ];
    let mut facts: Vec<String> = names.into_iter().flatten().map(str::to_owned).collect();
    let job = event.job.as_deref().map(format::short_job);
    facts.extend(job.map(|id| format!("job={id}")));
    let snapshot = event.snapshot.as_deref().map(format::short);
    facts.extend(snapshot.map(|id| format!("snapshot={id}")));
    let detail = event.detail.as_object().into_iter().flatten();
    facts.extend(detail.filter_map(|(key, value)| fact(key, value)));
    facts.join(" ")
}

/// `key=value`, of what has a value and was not said yet.
fn fact(key: &str, value: &Value) -> Option<String> {
    match value {
        _ if key == "agent" => None,
        Value::Null => None,
        Value::String(text) => Some(format!("{key}={text}")),
        // Of a failure, what people read.
        Value::Object(parts) if key == "failure" => {
            let message = parts.get("message").and_then(Value::as_str);
            Some(format!("{key}={}", message.unwrap_or_default()))
        }
        other => Some(format!("{key}={other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_that_says_what_it_concerns() {
        let events: Events = serde_json::from_value(json!({
            "events": [{
                "seq": 7, "at": "2026-11-21T12:00:00Z", "kind": "job.failed",
                "job": "0b8f4f3e-0000-7000-8000-000000000001", "agent": "a",
                "dataset": "web@web-1", "policy": "web", "repository": "primary/web-1",
                "snapshot": null, "trace_id": null,
                "detail": {
                    "agent": "web-1", "kind": "backup", "attempt": 3, "warnings": 0,
                    "failure": {"code": "store", "message": "no\nroom", "retryable": true},
                },
            }, {
                "seq": 8, "at": "2026-11-21T12:00:00Z", "kind": "agent.revoked", "job": null,
                "agent": "a", "dataset": null, "policy": null, "repository": null,
                "snapshot": null, "trace_id": null, "detail": {"agent": "web-1"},
            }],
            "next_after": 8, "last": 8, "gap": false,
        }))
        .unwrap();
        let text = list(&events);
        let lines: Vec<_> = text.lines().collect();
        let [failed, revoked] = lines[..] else {
            panic!("{text}");
        };
        assert!(failed.contains("      7  job.failed"), "{text}");
        assert!(failed.contains("web@web-1 job=00000001"), "{text}");
        assert!(failed.contains("kind=backup"), "{text}");
        assert!(
            failed.contains("failure=no\\nroom") || failed.contains("failure=no room"),
            "{text}"
        );
        assert!(
            revoked.ends_with("agent.revoked             web-1"),
            "{text}"
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let events = Events {
            events: Vec::new(),
            next_after: 0,
            last: 0,
            gap: true,
        };
        assert!(list(&events).starts_with("some events are missing"));
    }
}
