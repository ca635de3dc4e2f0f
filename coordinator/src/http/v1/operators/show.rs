//! `GET /operators/{operator}`

use axum::{Json, extract::State};

use crate::http::{
    auth::Caller, dto::Operator, extract::Segment, problem::Problem, state::SharedState,
};

/// One operator by name; of several that were called so, the last.
#[utoipa::path(get, path = "/operators/{operator}", tag = "operators",
    params(("operator" = String, Path, description = "Name")),
    responses(
        (status = 200, body = Operator, description = "The operator"),
))]
pub async fn show_operator(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
) -> Result<Json<Operator>, Problem> {
    super::find(&state, &name).await.map(Json)
}
