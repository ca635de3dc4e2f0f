//! `POST /operators/{operator}/revoke`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller,
    dto::Operator,
    extract::Segment,
    problem::{Code, Problem},
    state::SharedState,
};

/// Refuses an operator's token from now on.
///
/// The last token cannot be revoked:
/// nobody could get in any more.
#[utoipa::path(post, path = "/operators/{operator}/revoke", tag = "operators",
    params(("operator" = String, Path, description = "Name")),
    responses(
        (status = 200, body = Operator, description = "The operator, revoked"),
))]
pub async fn revoke_operator(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
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
    super::find(&state, &name).await.map(Json)
}
