//! `strongroom operators …`

use std::path::Path;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::Context;
use crate::{
    cli::{
        args::OperatorsCommand,
        error::{CliError, Exit},
        profile::Profile,
        render::{Table, format},
    },
    http::shape::{CreateOperator, NewOperator, Operator, Operators},
};

pub(super) async fn run(context: &Context, command: OperatorsCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        OperatorsCommand::Create { name, write } => {
            let new: NewOperator = client
                .post(&["operators"], &CreateOperator { name })
                .await?;
            match write {
                Some(path) => save(context, new, &path)?,
                None => context.renderer.show(&new, |new| {
                    format!(
                        "The token of {}, shown this once:\n\n  {}\n",
                        new.name, new.token
                    )
                })?,
            }
        }
        OperatorsCommand::List => {
            let operators: Operators = client.get(&["operators"], &[]).await?;
            context
                .renderer
                .show(&operators, |operators| list(operators, now))?;
        }
        OperatorsCommand::Revoke { name } => {
            let operator: Operator = client.post(&["operators", &name, "revoke"], &()).await?;
            context.renderer.show(&operator, |operator| {
                format!("{}'s token is refused from now on.", operator.name)
            })?;
        }
    }
    Ok(Exit::Done)
}

fn save(context: &Context, new: NewOperator, path: &Path) -> Result<(), CliError> {
    let profile = Profile {
        url: context.profile()?.url,
        operator: new.name,
        token: Zeroizing::new(new.token),
        ca_certificate: new.ca_certificate,
    };
    profile.save(path)?;
    let written = serde_json::json!({ "operator": profile.operator, "profile": path });
    context.renderer.show(&written, |_| {
        format!(
            "{} holds the profile of {}. Hand it over by a safe way.",
            path.display(),
            profile.operator
        )
    })?;
    Ok(())
}

pub(super) fn list(operators: &Operators, now: Timestamp) -> String {
    let mut table = Table::new("no operators", &["name", "state", "created", "last used"]);
    for operator in &operators.operators {
        table.row(&[
            operator.name.clone(),
            match operator.revoked_at {
                Some(at) => format!("revoked {}", format::relative(at, now)),
                None => "active".into(),
            },
            format::relative(operator.created_at, now),
            operator
                .last_used_at
                .map_or_else(|| "never".into(), |at| format::relative(at, now)),
        ]);
    }
    table.render()
}
