//! `/api/v1`: a folder per subject, a file per endpoint.
//!
//! To add an endpoint: a file with its handler, OpenAPI annotation and tests;
//! its route in the subject's `routes`; its name in [`super::openapi`].

pub mod agents;
pub mod audit;
pub mod jobs;
mod limits;
pub mod operators;
pub mod policies;
mod recovery;
pub mod repositories;
pub mod restores;
pub mod snapshots;
pub mod status;
pub mod stores;
#[cfg(test)]
mod tests;
pub mod transfers;

use axum::Router;

use super::state::SharedState;

/// Most entries of one page.
const MAX_LIMIT: u32 = 1_000;

/// All routes, below `/api/v1`.
pub(super) fn routes() -> Router<SharedState> {
    Router::new()
        .merge(agents::routes())
        .merge(audit::routes())
        .merge(jobs::routes())
        .merge(operators::routes())
        .merge(policies::routes())
        .merge(repositories::routes())
        .merge(restores::routes())
        .merge(snapshots::routes())
        .merge(status::routes())
        .merge(stores::routes())
        .merge(transfers::routes())
}

fn default_limit() -> u32 {
    50
}
