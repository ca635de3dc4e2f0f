//! Repositories.

pub mod list;
pub mod losses;
pub mod password;

use axum::{
    Router,
    routing::{get, post},
};

use crate::{
    http::state::{ApiState, SharedState},
    model,
};

pub(super) fn routes() -> Router<SharedState> {
    Router::new()
        .route("/repositories", get(list::handler))
        .route("/repositories/{repository}/compare", post(losses::compare))
        .route("/repositories/{repository}/losses", get(losses::show))
        .route(
            "/repositories/{repository}/losses/accept",
            post(losses::accept),
        )
        .route(
            "/repositories/{repository}/password",
            post(password::handler),
        )
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
