//! `POST /operators/{operator}/revoke`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::http::{
    auth::Caller,
    problem::{Code, Problem},
    shape::Operator,
    state::SharedState,
};

/// Refuses an operator's token from now on. The last token cannot be revoked:
/// nobody could get in any more.
#[utoipa::path(post, path = "/api/v1/operators/{operator}/revoke", tag = "operators",
    params(("operator" = String, Path, description = "Name")),
    responses(
        (status = 200, body = Operator),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    caller: Caller,
    State(state): State<SharedState>,
    Path(name): Path<String>,
) -> Result<Json<Operator>, Problem> {
    let operators = state.catalog.operators().await?;
    let now = state.catalog.clock().now();
    let mut active = operators.iter().filter(|it| it.is_valid(now));
    if let (Some(only), None) = (active.next(), active.next())
        && only.name == name
    {
        return Err(
            Problem::new(Code::Conflict, format!("{name} is the last operator")).hint(
                "make another token first (`strongroom operators create`), and revoke with that",
            ),
        );
    }
    state.catalog.revoke_operator(&name, &caller.actor).await?;
    state
        .catalog
        .operators()
        .await?
        .into_iter()
        .filter(|it| it.name == name)
        .max_by_key(|it| it.revoked_at)
        .map(|operator| Json(super::shape(operator)))
        .ok_or_else(|| Problem::not_found("operator", &name, "operators list"))
}
