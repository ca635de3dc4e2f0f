//! `GET /repositories/{repository}/losses`, and what an operator does about them.

use axum::{
    Json,
    extract::{Path, State},
};

use crate::{
    http::{
        auth::Caller,
        problem::{Code, Problem},
        shape::{LostObject, RepositoryLosses},
        state::{ApiState, SharedState},
        v1::snapshots,
    },
    losses::{self, CompareError},
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

/// Compares the repository's store with the catalog now, instead of once a day.
#[utoipa::path(post, path = "/api/v1/repositories/{repository}/compare", tag = "repositories",
    operation_id = "compare",
    params(("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 200, body = RepositoryLosses),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn compare(
    _caller: Caller,
    State(state): State<SharedState>,
    Path(name): Path<String>,
) -> Result<Json<RepositoryLosses>, Problem> {
    let repository = state.catalog.repository(&name).await?;
    let store = state.checked.get(&repository.store).ok_or_else(|| {
        let store = &repository.store;
        Problem::new(
            Code::Unavailable,
            format!("store {store} of repository {name} is not configured"),
        )
        .hint("add it to the coordinator's configuration again")
    })?;
    match losses::compare(&state.catalog, &store.client, &repository).await {
        Ok(_) => Ok(Json(shape(&state, &name).await?)),
        Err(CompareError::Catalog(error)) => Err(error.into()),
        Err(CompareError::Store(error)) => {
            Err(Problem::new(Code::Unavailable, error.to_string())
                .hint("see `strongroom stores show`"))
        }
    }
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
