//! Repositories.

pub mod list;
pub mod losses;
pub mod password;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::state::{ApiState, SharedState},
    model,
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_repositories))
        .routes(routes!(losses::compare_repository))
        .routes(routes!(losses::show_losses))
        .routes(routes!(losses::accept_losses))
        .routes(routes!(password::show_repository_password))
}

/// How plain `restic -r` names a repository; empty when its store is not in
/// the configuration any more.
fn location(state: &ApiState, repository: &model::Repository) -> String {
    state
        .stores
        .get(&repository.store)
        .map(|store| store.location(&repository.prefix))
        .unwrap_or_default()
}
