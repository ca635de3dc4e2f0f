//! `GET /agents`

use axum::extract::State;

use crate::http::{
    auth::Caller,
    dto::Agents,
    paging::{Page, PageQuery},
    problem::Problem,
    state::SharedState,
};

/// Agents, the last enrolled first; without what they find at their connections.
#[utoipa::path(get, path = "/agents", tag = "agents", params(PageQuery), responses(
    (status = 200, body = Agents, description = "A page of agents"),
))]
pub async fn list_agents(
    _caller: Caller,
    State(state): State<SharedState>,
    query: PageQuery,
) -> Result<Page<Agents>, Problem> {
    let all = state.catalog.agents().await?;
    let (page, next_before) = query.cut(all, |it| (it.enrolled_at, it.id.to_string()))?;
    let presence = state.presence().await?;
    let mut agents = Vec::new();
    for agent in page {
        agents.push(super::outline(&state, &presence, agent).await?);
    }
    let next = next_before.clone();
    Ok(Page(
        Agents {
            agents,
            next_before,
        },
        next,
    ))
}
