//! `strongroom apply` and `strongroom policies …`

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _},
};

use jiff::Timestamp;
use serde_json::Value;

use super::Context;
use crate::{
    cli::{
        args::{ApplyArgs, PoliciesCommand},
        error::{CliError, Exit},
        render::{Table, format},
    },
    http::dto::{AgentRef, Applied, ApplyRequest, Policies, Policy, PolicyDifference},
};

pub(super) async fn apply(context: &Context, args: ApplyArgs) -> Result<Exit, CliError> {
    let toml = if args.file.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(&args.file)
    }
    .map_err(|source| CliError::Read {
        path: args.file.clone(),
        source,
    })?;
    let request = ApplyRequest {
        toml,
        file: Some(args.file.display().to_string()),
        dry_run: args.dry_run,
    };
    let applied: Applied = context
        .client()?
        .post_keyed(&["policies", "apply"], &request)
        .await?;
    context.renderer.show(&applied, changes)?;
    if args.exit_code && applied.changes.iter().any(|it| it.action != "unchanged") {
        return Ok(Exit::Warnings);
    }
    Ok(Exit::Done)
}

pub(super) async fn run(context: &Context, command: PoliciesCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        PoliciesCommand::List => {
            let policies: Policies = client.all(&["policies"]).await?;
            context
                .renderer
                .show(&policies, |policies| list(policies, now))?;
        }
        PoliciesCommand::Show { policy } => {
            let policy: Policy = client.get(&["policies", &policy], &[]).await?;
            context.renderer.show(&policy, |policy| one(policy, now))?;
        }
        PoliciesCommand::Delete { policy, sure } => {
            sure.ask(&format!(
                "Delete policy {}? Nothing is backed up by it any more; its snapshots stay.",
                format::printable(&policy)
            ))?;
            let policy: Policy = client.delete(&["policies", &policy]).await?;
            context.renderer.show(&policy, |policy| {
                format!("{} is deleted; its snapshots stay.", policy.name)
            })?;
        }
    }
    Ok(Exit::Done)
}

pub(super) fn changes(applied: &Applied) -> String {
    let mut text = String::new();
    for change in &applied.changes {
        let _ = writeln!(text, "{} {}", change.action, change.policy);
        for difference in &change.differences {
            let _ = writeln!(text, "  {}", line(difference));
        }
    }
    for warning in &applied.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    if applied.dry_run {
        text.push_str("dry run: nothing was changed\n");
    }
    text
}

fn line(difference: &PolicyDifference) -> String {
    let PolicyDifference { key, before, after } = difference;
    match (before, after) {
        (Value::Null, after) => format!("{key}: + {}", words(after)),
        (before, Value::Null) => format!("{key}: - {}", words(before)),
        (before, after) => format!("{key}: {} -> {}", words(before), words(after)),
    }
}

/// A text as it is, anything else as JSON.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn list(policies: &Policies, now: Timestamp) -> String {
    let mut table = Table::new(
        "no policies yet: `strongroom apply -f FILE` applies some",
        &["name", "source", "store", "schedule", "next run", "agents"],
    );
    for policy in &policies.policies {
        table.row(&[
            policy.name.clone(),
            policy.source.clone(),
            policy.store.clone(),
            policy.schedule.clone().unwrap_or_else(|| "by hand".into()),
            format::distance(policy.next_run_at, now),
            agents(&policy.agents),
        ]);
    }
    table.render()
}

fn agents(agents: &[AgentRef]) -> String {
    match agents {
        [] => "none".into(),
        few if few.len() <= 3 => {
            let names: Vec<_> = few.iter().map(|agent| agent.name.as_str()).collect();
            names.join(", ")
        }
        many => format::plural(many.len() as u64, "agent"),
    }
}

/// A policy file again, with what is known beyond it as comments.
pub(super) fn one(policy: &Policy, now: Timestamp) -> String {
    let mut text = format!("# agents now: {}\n", agents(&policy.agents));
    if policy.next_run_at.is_some() {
        let _ = writeln!(
            text,
            "# next run: {}",
            format::moment_and_distance(policy.next_run_at, now)
        );
    }
    text.push_str(&policy.toml);
    text
}
