//! `GET /repositories`

use std::collections::HashMap;

use axum::{Json, extract::State};

use crate::{
    http::{
        auth::Caller,
        problem::Problem,
        shape::{Repositories, Repository},
        state::SharedState,
    },
    model::RepositoryState,
};

/// Every repository, by name.
#[utoipa::path(get, path = "/api/v1/repositories", tag = "repositories", responses(
    (status = 200, body = Repositories),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
) -> Result<Json<Repositories>, Problem> {
    let agents = state.catalog.agents().await?;
    let names: HashMap<_, _> = agents.iter().map(|it| (it.id, &it.name)).collect();
    let withheld = state.catalog.withheld_counts().await?;
    let repositories = state.catalog.repositories().await?;
    let repositories = repositories
        .into_iter()
        .map(|repository| Repository {
            agent: names.get(&repository.agent).map(|name| (*name).clone()),
            location: super::location(&state, &repository),
            withheld_indexes: withheld.get(&repository.name).copied().unwrap_or(0),
            created: matches!(repository.state, RepositoryState::Ready { .. }),
            name: repository.name,
            store: repository.store,
            prefix: repository.prefix,
            created_at: repository.created_at,
        })
        .collect();
    Ok(Json(Repositories { repositories }))
}
