//! `POST /restores`

use axum::extract::State;
use strongroom_spec::RestoreRequest;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::jobs;

use crate::{
    http::{
        answer::Started,
        auth::Caller,
        dto::Job,
        extract::Body,
        idempotency::IdempotencyKey,
        problem::{Code, Problem},
        state::SharedState,
    },
    restores::{self, RestoreError},
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new().routes(routes!(restore_snapshot))
}

/// Restores a snapshot, or a dataset at a moment, as a job.
///
/// It goes into a directory, a PostgreSQL server or a Redis server of an agent's
/// host.
///
/// What replaces data of a server is preceded by a safety backup: a job of its
/// own, which the restore waits for and names as `after`.
#[utoipa::path(post, path = "/restores", tag = "restores", params(IdempotencyKey),
    request_body = RestoreRequest,
    responses(
        (status = 202, body = Job, description = "The job that restores"),
))]
pub async fn restore_snapshot(
    caller: Caller,
    State(state): State<SharedState>,
    Body(request): Body<RestoreRequest>,
) -> Result<Started<Job>, Problem> {
    let job = restores::begin(&state.catalog, request, caller.actor).await?;
    Ok(jobs::started(&state, job))
}

impl From<RestoreError> for Problem {
    fn from(error: RestoreError) -> Self {
        let (code, invalid) = match error {
            RestoreError::Invalid(invalid) => (Code::Invalid, invalid),
            RestoreError::NotFound(invalid) => (Code::NotFound, invalid),
            RestoreError::Lost(invalid) => (Code::Conflict, invalid),
            RestoreError::Catalog(error) => return error.into(),
        };
        let problem = Self::new(code, invalid.message);
        if invalid.hint.is_empty() {
            return problem;
        }
        problem.hint(invalid.hint)
    }
}
