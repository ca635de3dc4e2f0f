//! Snapshots.

pub mod list;
pub mod ls;
pub mod pin;
pub mod show;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    catalog::Catalog,
    http::{
        dto::Snapshot,
        problem::{Code, Problem},
        state::SharedState,
    },
    model,
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_snapshots))
        .routes(routes!(show::show_snapshot))
        .routes(routes!(ls::list_entries))
        .routes(routes!(pin::pin_snapshot, pin::unpin_snapshot))
}

/// A snapshot that can be read, by its id or the beginning of it.
pub(super) async fn find(catalog: &Catalog, id: &str) -> Result<model::Snapshot, Problem> {
    let snapshot = catalog.find_snapshot(id).await?;
    match snapshot.lost_at {
        None => Ok(snapshot),
        Some(at) => Err(Problem::new(
            Code::Conflict,
            format!(
                "the file of snapshot {} is gone from its store; that was noticed at {at}",
                snapshot.id.short()
            ),
        )
        .hint(format!(
            "choose another: `strongroom snapshots list`. If it was put back, \
             `strongroom repositories losses {} --compare` finds it",
            snapshot.repository
        ))),
    }
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
