//! `GET /policies`

use axum::extract::State;

use crate::http::{
    auth::Caller,
    dto::Policies,
    paging::{Page, PageQuery},
    problem::Problem,
    state::SharedState,
};

/// Policies, the last made first.
///
/// `since` and `until` are of when they were first applied.
#[utoipa::path(get, path = "/policies", tag = "policies", params(PageQuery), responses(
    (status = 200, body = Policies, description = "A page of policies"),
))]
pub async fn list_policies(
    _caller: Caller,
    State(state): State<SharedState>,
    query: PageQuery,
) -> Result<Page<Policies>, Problem> {
    let datasets = state.catalog.datasets().await?;
    let now = state.catalog.clock().now();
    let all = state.catalog.policies().await?;
    // By what does not change: one that did between two pages would be missed.
    let (page, next_before) = query.cut(all, |it| (it.created_at, it.policy.name.clone()))?;
    let policies = page
        .into_iter()
        .map(|stored| super::shape(stored, &datasets, now))
        .collect::<Result<_, _>>()?;
    let next = next_before.clone();
    Ok(Page(
        Policies {
            policies,
            next_before,
        },
        next,
    ))
}
