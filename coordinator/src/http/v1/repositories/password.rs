//! `POST /repositories/{repository}/password`

use axum::{
    Json,
    extract::{Path, State},
};

use crate::{
    http::{auth::Caller, problem::Problem, shape::RepositoryPassword, state::SharedState},
    model::NewAudit,
};

/// What opens a repository with plain restic. The audit log holds who asked,
/// and does so before anybody sees the password.
#[utoipa::path(post, path = "/api/v1/repositories/{repository}/password", tag = "repositories",
    params(("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 200, body = RepositoryPassword),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    caller: Caller,
    State(state): State<SharedState>,
    Path(name): Path<String>,
) -> Result<Json<RepositoryPassword>, Problem> {
    let repository = state.catalog.repository(&name).await?;
    let password = state.passwords.open(&repository)?;
    state
        .catalog
        .audit(NewAudit::ok(caller.actor, "repository.password", &name))
        .await?;
    Ok(Json(RepositoryPassword {
        location: super::location(&state, &repository),
        repository: repository.name,
        password: password.to_string(),
    }))
}
