//! `/api/v1`: a folder per subject, a file per endpoint.
//!
//! To add an endpoint: a file with its handler, OpenAPI annotation and tests;
//! its handler in the subject's `routes`, which makes it part of the document.
//! What is the same for all, [`super::openapi`] adds.

pub mod agents;
pub mod audit;
pub mod events;
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

use utoipa_axum::router::OpenApiRouter;

use super::state::SharedState;

/// All routes, below `/api/v1`.
pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .merge(agents::routes())
        .merge(audit::routes())
        .merge(events::routes())
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
