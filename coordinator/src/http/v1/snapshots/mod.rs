//! Snapshots.

pub mod list;
pub mod ls;
pub mod pin;
pub mod show;

use axum::{
    Router,
    routing::{get, post},
};

use crate::{
    http::{shape::Snapshot, state::SharedState},
    model,
};

pub(super) fn routes() -> Router<SharedState> {
    Router::new()
        .route("/snapshots", get(list::handler))
        .route("/snapshots/{snapshot}", get(show::handler))
        .route("/snapshots/{snapshot}/entries", get(ls::handler))
        .route(
            "/snapshots/{snapshot}/pin",
            post(pin::pin).delete(pin::unpin),
        )
}

fn shape(snapshot: model::Snapshot) -> Snapshot {
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
        partial: snapshot.result.partial,
    }
}
