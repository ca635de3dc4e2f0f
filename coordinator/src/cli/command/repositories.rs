//! `strongroom repositories …`

use jiff::Timestamp;

use super::Context;
use crate::{
    cli::{
        args::RepositoriesCommand,
        error::{CliError, Exit},
        render::{Table, format},
    },
    http::shape::{Repositories, RepositoryPassword},
};

pub(super) async fn run(context: &Context, command: RepositoriesCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        RepositoriesCommand::List => {
            let repositories: Repositories = client.get(&["repositories"], &[]).await?;
            context
                .renderer
                .show(&repositories, |repositories| list(repositories, now))?;
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
