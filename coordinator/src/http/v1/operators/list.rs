//! `GET /operators`

use axum::{Json, extract::State};

use crate::http::{auth::Caller, problem::Problem, shape::Operators, state::SharedState};

/// Every operator, revoked ones too, by name.
#[utoipa::path(get, path = "/api/v1/operators", tag = "operators", responses(
    (status = 200, body = Operators),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
) -> Result<Json<Operators>, Problem> {
    let operators = state.catalog.operators().await?;
    Ok(Json(Operators {
        operators: operators.into_iter().map(super::shape).collect(),
    }))
}
