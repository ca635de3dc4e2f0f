//! `strongroom repositories …`

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::Context;
use crate::{
    cli::{
        args::RepositoriesCommand,
        error::{CliError, Exit},
        render::{Table, format},
    },
    http::dto::{LostObject, Repositories, RepositoryLosses, RepositoryPassword},
};

/// Whether a comparison has ended is asked so often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(context: &Context, command: RepositoriesCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        RepositoriesCommand::List => {
            let repositories: Repositories = client.all(&["repositories"]).await?;
            context
                .renderer
                .show(&repositories, |repositories| list(repositories, now))?;
        }
        RepositoriesCommand::Losses {
            repository,
            compare,
            accept,
        } => {
            let path = ["repositories", &repository];
            let at = |last: &[&'static str]| [&path[..], last].concat();
            if compare {
                let _asked: RepositoryLosses = client.post_keyed(&at(&["compare"]), &()).await?;
            }
            let mut losses: RepositoryLosses = client.get(&at(&["losses"]), &[]).await?;
            while compare && losses.compared_at.is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
                losses = client.get(&at(&["losses"]), &[]).await?;
            }
            if accept {
                losses = client.post(&at(&["losses", "accept"]), &()).await?;
            }
            context.renderer.show(&losses, |losses| lost(losses, now))?;
        }
        RepositoriesCommand::Password { repository } => {
            let password: RepositoryPassword = client
                .post(&["repositories", &repository, "password"], &())
                .await?;
            // The bare password, so that it can go into a file or a pipe.
            context
                .renderer
                .show(&password, |password| password.password.clone())?;
        }
    }
    Ok(Exit::Done)
}

pub(super) fn list(repositories: &Repositories, now: Timestamp) -> String {
    let mut table = Table::new(
        "no repositories yet: the first backup of an agent makes one",
        &[
            "name",
            "agent",
            "store",
            "restic location",
            "since",
            "withheld indexes",
        ],
    );
    for repository in &repositories.repositories {
        table.row(&[
            repository.name.clone(),
            repository.agent.clone().unwrap_or_else(format::dash),
            repository.store.clone(),
            repository.location.clone(),
            format::relative(repository.created_at, now),
            repository.withheld_indexes.to_string(),
        ]);
    }
    table.render()
}

pub(super) fn lost(losses: &RepositoryLosses, now: Timestamp) -> String {
    let compared = losses.compared_at.map_or_else(
        || "not compared with its store yet".to_owned(),
        |at| format!("compared with its store {}", format::relative(at, now)),
    );
    let mut table = Table::new(
        "the store has lost nothing",
        &["object", "kind", "written", "of bytes", "noticed", ""],
    );
    for lost in &losses.objects {
        table.row(&[
            lost.path.clone(),
            lost.kind.clone(),
            format::relative(lost.written_at, now),
            there_of(lost),
            format::relative(lost.noticed_at, now),
            lost.accepted_at.map_or("", |_| "accepted").to_owned(),
        ]);
    }
    let mut text = format!("{}: {compared}\n\n{}", losses.repository, table.render());
    let unlisted = losses.lost.saturating_sub(losses.objects.len() as u64);
    if unlisted > 0 {
        let _ = writeln!(text, "and {} more", format::count(unlisted));
    }
    if !losses.snapshots.is_empty() {
        let _ = writeln!(
            text,
            "\nSnapshots that may need them, taken before it was noticed; the next backup stores \
             again what live data still has:"
        );
    }
    for snapshot in &losses.snapshots {
        let _ = writeln!(
            text,
            "  {} {} {}",
            format::short(&snapshot.id),
            snapshot.dataset,
            format::relative(snapshot.time, now)
        );
    }
    text
}

/// How much is left of how much.
fn there_of(lost: &LostObject) -> String {
    let length = format::count(lost.length);
    match lost.found {
        None => format!("0 of {length}"),
        Some(found) => format!("{} of {length}", format::count(found)),
    }
}
