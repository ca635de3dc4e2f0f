//! `POST /repositories/{repository}/password`

use axum::{Json, extract::State};

use crate::{
    http::{
        auth::Caller, dto::RepositoryPassword, extract::Segment, problem::Problem,
        state::SharedState,
    },
    model::NewAudit,
};

/// What opens a repository with plain restic.
///
/// The audit log holds who asked,
/// and does so before anybody sees the password.
#[utoipa::path(post, path = "/repositories/{repository}/password", tag = "repositories",
    params(("repository" = String, Path, description = "Name, escaped: primary%2Fweb-1")),
    responses(
        (status = 200, body = RepositoryPassword, description = "The password"),
))]
pub async fn show_repository_password(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
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
