//! `strongroom operators …`

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use strongroom_runtime::clock::SystemClock;
use zeroize::Zeroizing;

use super::Context;
use crate::{
    cli::{
        args::OperatorsCommand,
        error::{CliError, Exit},
        render::{Table, format},
    },
    config::Config,
    http::dto::{CreateOperator, NewOperator, Operator, Operators, RenewOperator},
    profile::Profile,
    serve::{self, ResetError},
};

pub(super) async fn run(context: &Context, command: OperatorsCommand) -> Result<Exit, CliError> {
    if let OperatorsCommand::Reset {
        config,
        name,
        write,
        url,
    } = command
    {
        return reset(context, &config, &name, write, url).await;
    }
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        // Is done without a coordinator.
        OperatorsCommand::Reset { .. } => {}
        OperatorsCommand::Create { name, write, ttl } => {
            let ttl_seconds = ttl.map(|ttl| ttl.seconds().into());
            let request = CreateOperator { name, ttl_seconds };
            let new: NewOperator = client.post_keyed(&["operators"], &request).await?;
            hand_over(context, new, write.as_deref())?;
        }
        OperatorsCommand::Renew { name, write, ttl } => {
            let ttl_seconds = ttl.map(|ttl| ttl.seconds().into());
            let request = RenewOperator { ttl_seconds };
            let path = ["operators", &name, "renew"];
            let new: NewOperator = client.post_keyed(&path, &request).await?;
            hand_over(context, new, write.as_deref())?;
        }
        OperatorsCommand::List => {
            let operators: Operators = client.all(&["operators"]).await?;
            context
                .renderer
                .show(&operators, |operators| list(operators, now))?;
        }
        OperatorsCommand::Revoke { name, sure } => {
            sure.ask(&format!(
                "Refuse {}'s token for good?",
                format::printable(&name)
            ))?;
            let operator: Operator = client.post(&["operators", &name, "revoke"], &()).await?;
            context.renderer.show(&operator, |operator| {
                format!("{}'s token is refused from now on.", operator.name)
            })?;
        }
    }
    Ok(Exit::Done)
}

/// A token for who holds the coordinator's host.
async fn reset(
    context: &Context,
    config: &Path,
    name: &str,
    write: Option<PathBuf>,
    url: Option<String>,
) -> Result<Exit, CliError> {
    let config = Config::load(config).map_err(ResetError::from)?;
    if let Some(ended) = serve::as_owner(&config).await? {
        // It has said what there is to say.
        return Ok(if ended.success() {
            Exit::Done
        } else {
            Exit::Failed
        });
    }
    let reset = serve::reset(&config, SystemClock::shared(), name, write, url).await?;
    context.renderer.show(&reset, |reset| {
        let before = if reset.renewed {
            ", and the one before is refused"
        } else {
            ""
        };
        format!(
            "{} has a new token{before}. The profile that holds it:\n\n  export \
             STRONGROOM_PROFILE={}\n",
            reset.operator,
            format::printable(&reset.profile.display().to_string()),
        )
    })?;
    Ok(Exit::Done)
}

/// Shows a new token, or writes the profile that holds it.
fn hand_over(context: &Context, new: NewOperator, write: Option<&Path>) -> Result<(), CliError> {
    if let Some(path) = write {
        return save(context, new, path);
    }
    let now = context.renderer.now;
    context.renderer.show(&new, |new| {
        let end = new.expires_at.map_or_else(String::new, |end| {
            format!("\nIt ends {}.\n", format::relative(end, now))
        });
        format!(
            "The token of {}, shown this once:\n\n  {}\n{end}",
            new.name, new.token
        )
    })?;
    Ok(())
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
    let mut table = Table::new(
        "no operators",
        &["name", "state", "created", "last used", "ends"],
    );
    for operator in &operators.operators {
        table.row(&[
            operator.name.clone(),
            match (operator.revoked_at, operator.expires_at) {
                (Some(at), _) => format!("revoked {}", format::relative(at, now)),
                (None, Some(end)) if end <= now => "expired".into(),
                (None, _) => "active".into(),
            },
            format::relative(operator.created_at, now),
            operator
                .last_used_at
                .map_or_else(|| "never".into(), |at| format::relative(at, now)),
            operator
                .expires_at
                .map_or_else(|| "never".into(), |end| format::relative(end, now)),
        ]);
    }
    table.render()
}
