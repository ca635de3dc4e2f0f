//! `GET /repositories/{repository}/losses`, and what an operator does about them.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};

use crate::{
    http::{
        auth::Caller,
        problem::{Code, Problem},
        shape::{LostObject, RepositoryLosses},
        state::{ApiState, SharedState},
        v1::snapshots,
    },
    model::RepositoryState,
};

/// Snapshots that are named.
const MOST_SNAPSHOTS: u32 = 100;

/// What the repository's store held and holds no more.
#[utoipa::path(get, path = "/api/v1/repositories/{repository}/losses", tag = "repositories",
    operation_id = "losses",
    params(("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 200, body = RepositoryLosses),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show(
    _caller: Caller,
    State(state): State<SharedState>,
    Path(name): Path<String>,
) -> Result<Json<RepositoryLosses>, Problem> {
    Ok(Json(shape(&state, &name).await?))
}

/// Has the repository's store compared with the catalog soon, instead of once a day:
/// `compared_at` is `null` until that is done.
#[utoipa::path(post, path = "/api/v1/repositories/{repository}/compare", tag = "repositories",
    operation_id = "compare",
    params(("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 202, body = RepositoryLosses),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn compare(
    _caller: Caller,
    State(state): State<SharedState>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<RepositoryLosses>), Problem> {
    let repository = state.catalog.repository(&name).await?;
    if state.checked.get(&repository.store).is_none() {
        let store = &repository.store;
        let message = format!("store {store} of repository {name} is not configured");
        return Err(Problem::new(Code::Unavailable, message)
            .hint("add it to the coordinator's configuration again"));
    }
    if !matches!(repository.state, RepositoryState::Ready { .. }) {
        let message = format!("repository {name} does not exist in its store yet");
        return Err(
            Problem::new(Code::Conflict, message).hint("the first backup that succeeds makes it")
        );
    }
    state.catalog.ask_for_comparison(&repository.name).await?;
    Ok((StatusCode::ACCEPTED, Json(shape(&state, &name).await?)))
}

/// The losses are no alarm any more; they stay listed. Audited.
#[utoipa::path(post, path = "/api/v1/repositories/{repository}/losses/accept",
    tag = "repositories", operation_id = "accept_losses",
    params(("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 200, body = RepositoryLosses),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn accept(
    caller: Caller,
    State(state): State<SharedState>,
    Path(name): Path<String>,
) -> Result<Json<RepositoryLosses>, Problem> {
    let repository = state.catalog.repository(&name).await?;
    state
        .catalog
        .accept_losses(&repository.name, &caller.actor)
        .await?;
    Ok(Json(shape(&state, &name).await?))
}

async fn shape(state: &ApiState, name: &str) -> Result<RepositoryLosses, Problem> {
    let repository = state.catalog.repository(name).await?;
    let compared = state.catalog.last_comparison(&repository.name).await?;
    let objects = state.catalog.lost_objects(&repository.name).await?;
    let in_need = state
        .catalog
        .snapshots_in_need(&repository.name, MOST_SNAPSHOTS)
        .await?;
    let objects: Vec<_> = objects
        .into_iter()
        .map(|lost| LostObject {
            path: lost.path,
            kind: lost.kind.as_str().to_owned(),
            length: lost.length,
            found: lost.found,
            written_at: lost.granted_at,
            noticed_at: lost.noticed_at,
            accepted_at: lost.accepted_at,
        })
        .collect();
    Ok(RepositoryLosses {
        repository: repository.name,
        compared_at: compared.map(|(at, _)| at),
        lost: compared.map_or(0, |(_, lost)| lost),
        objects,
        snapshots: in_need.into_iter().map(snapshots::shape).collect(),
    })
}
