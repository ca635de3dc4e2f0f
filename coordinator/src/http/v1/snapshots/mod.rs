//! Snapshots.

pub mod list;
pub mod ls;
pub mod pin;
pub mod show;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{dto::Snapshot, state::SharedState},
    model,
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_snapshots))
        .routes(routes!(show::show_snapshot))
        .routes(routes!(ls::list_entries))
        .routes(routes!(pin::pin_snapshot, pin::unpin_snapshot))
}

pub(super) fn shape(snapshot: model::Snapshot) -> Snapshot {
    Snapshot {
        id: snapshot.id.to_string(),
        dataset: snapshot.dataset.to_string(),
        repository: snapshot.repository,
        job: Some(snapshot.attempt.job.to_string()),
        time: snapshot.time,
        pinned: snapshot.pinned,
        files: snapshot.result.files,
        directories: snapshot.result.directories,
        bytes_total: snapshot.result.bytes_total,
        bytes_stored: snapshot.result.bytes_stored,
        warning_count: snapshot.warning_count,
        warnings: Vec::new(),
        partial: snapshot.result.partial,
        lost_at: snapshot.lost_at,
    }
}
