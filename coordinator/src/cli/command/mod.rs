//! What each client command does.

mod agents;
mod audit;
mod events;
mod jobs;
mod operators;
mod policies;
mod repositories;
mod restore;
mod snapshots;
mod status;
mod stores;
#[cfg(test)]
mod tests;
mod transfers;

use std::path::PathBuf;

use super::{
    args::ClientCommand,
    client::Client,
    error::{CliError, Exit},
    render::Renderer,
};
use crate::profile::Profile;

/// What every client command needs.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) profile: Option<PathBuf>,
    pub(super) renderer: Renderer,
}

impl Context {
    fn profile(&self) -> Result<Profile, CliError> {
        Ok(Profile::find(self.profile.as_deref())?)
    }

    fn client(&self) -> Result<Client, CliError> {
        Ok(Client::new(&self.profile()?)?)
    }
}

/// Runs one client command to its end.
pub(super) async fn run(context: &Context, command: ClientCommand) -> Result<Exit, CliError> {
    match command {
        ClientCommand::Status(args) => status::run(context, &args).await,
        ClientCommand::Agents(command) => agents::run(context, command).await,
        ClientCommand::Apply(args) => policies::apply(context, args).await,
        ClientCommand::Policies(command) => policies::run(context, command).await,
        ClientCommand::Run(args) => jobs::start(context, args).await,
        ClientCommand::Jobs(command) => jobs::run(context, command).await,
        ClientCommand::Snapshots(command) => snapshots::run(context, command).await,
        ClientCommand::Restore(args) => restore::run(context, *args).await,
        ClientCommand::Repositories(command) => repositories::run(context, command).await,
        ClientCommand::Stores(command) => stores::run(context, command).await,
        ClientCommand::Operators(command) => operators::run(context, command).await,
        ClientCommand::Audit(args) => audit::run(context, args).await,
        ClientCommand::Events(args) => events::run(context, args).await,
    }
}
