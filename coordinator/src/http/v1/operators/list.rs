//! `GET /operators`

use axum::extract::State;

use crate::http::{
    auth::Caller,
    dto::Operators,
    paging::{Page, PageQuery},
    problem::Problem,
    state::SharedState,
};

/// Operators, revoked ones too, the newest first.
#[utoipa::path(get, path = "/operators", tag = "operators", params(PageQuery), responses(
    (status = 200, body = Operators, description = "A page of operators"),
))]
pub async fn list_operators(
    _caller: Caller,
    State(state): State<SharedState>,
    query: PageQuery,
) -> Result<Page<Operators>, Problem> {
    let all = state.catalog.operators().await?;
    let (page, next_before) = query.cut(all, |it| (it.created_at, it.id.to_string()))?;
    let operators = page.into_iter().map(super::shape).collect();
    let next = next_before.clone();
    Ok(Page(
        Operators {
            operators,
            next_before,
        },
        next,
    ))
}
