//! `GET /repositories/{repository}/losses`, and what an operator does about them.

use axum::{Json, extract::State};

use crate::{
    http::{
        answer::{Started, location},
        auth::Caller,
        dto::{LostObject, RepositoryLosses},
        extract::Segment,
        idempotency::IdempotencyKey,
        problem::{Code, Problem},
        state::{ApiState, SharedState},
        v1::snapshots,
    },
    model::RepositoryState,
};

/// Snapshots that are named.
const MOST_SNAPSHOTS: u32 = 100;

/// What the repository's store held and holds no more.
#[utoipa::path(get, path = "/repositories/{repository}/losses", tag = "repositories",
    params(("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 200, body = RepositoryLosses, description = "What is gone"),
))]
pub async fn show_losses(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
) -> Result<Json<RepositoryLosses>, Problem> {
    Ok(Json(shape(&state, &name).await?))
}

/// Has the repository's store compared with the catalog soon, instead of once a day.
///
/// `compared_at` is `null` until that is done.
#[utoipa::path(post, path = "/repositories/{repository}/compare", tag = "repositories",
    params(IdempotencyKey, ("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 202, body = RepositoryLosses, description = "The comparison is asked for"),
))]
pub async fn compare_repository(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
) -> Result<Started<RepositoryLosses>, Problem> {
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
    let at = format!("{}/losses", location("repositories", &repository.name));
    Ok(Started(at, shape(&state, &name).await?))
}

/// The losses are no alarm any more; they stay listed.
///
/// Audited.
#[utoipa::path(post, path = "/repositories/{repository}/losses/accept",
    tag = "repositories",
    params(("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 200, body = RepositoryLosses, description = "What is gone, and accepted"),
))]
pub async fn accept_losses(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
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
