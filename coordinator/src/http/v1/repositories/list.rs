//! `GET /repositories`

use std::collections::HashMap;

use axum::extract::State;

use crate::{
    http::{
        auth::Caller,
        dto::{Repositories, Repository},
        paging::{Page, PageQuery},
        problem::Problem,
        state::SharedState,
    },
    model::RepositoryState,
};

/// Repositories, the newest first.
#[utoipa::path(get, path = "/repositories", tag = "repositories", params(PageQuery), responses(
    (status = 200, body = Repositories, description = "A page of repositories"),
))]
pub async fn list_repositories(
    _caller: Caller,
    State(state): State<SharedState>,
    query: PageQuery,
) -> Result<Page<Repositories>, Problem> {
    let agents = state.catalog.agents().await?;
    let names: HashMap<_, _> = agents.iter().map(|it| (it.id, &it.name)).collect();
    let withheld = state.catalog.withheld_counts().await?;
    let all = state.catalog.repositories().await?;
    let (page, next_before) = query.cut(all, |it| (it.created_at, it.name.clone()))?;
    let repositories = page
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
    let next = next_before.clone();
    Ok(Page(
        Repositories {
            repositories,
            next_before,
        },
        next,
    ))
}
