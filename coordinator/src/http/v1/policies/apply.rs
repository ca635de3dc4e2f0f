//! `POST /policies/apply`

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

use crate::{
    http::{
        auth::Caller,
        dto::{Applied, ApplyRequest, PolicyChange, PolicyDifference},
        extract::Body,
        idempotency::{Harmless, IdempotencyKey},
        problem::{Code, Problem},
        state::{ApiState, SharedState},
    },
    policy::{self, Change, Policy},
};

/// Applies a policy file: all of it or, with one bad line, nothing.
///
/// Policies that the file does not name stay as they are.
#[utoipa::path(post, path = "/policies/apply", tag = "policies", params(IdempotencyKey),
    request_body = ApplyRequest,
    responses(
        (status = 200, body = Applied, description = "What was changed, or would be"),
))]
pub async fn apply_policies(
    caller: Caller,
    State(state): State<SharedState>,
    Body(request): Body<ApplyRequest>,
) -> Result<Response, Problem> {
    let wanted = parse(&state, &request)?;
    let changes = if request.dry_run {
        let stored = state.catalog.policies().await?;
        let current: Vec<_> = stored.into_iter().map(|it| it.policy).collect();
        policy::diff(&current, &wanted)
    } else {
        state.catalog.apply_policies(&wanted, &caller.actor).await?
    };
    let agents = state.catalog.agents().await?;
    let concerned = policy::users_of_connections(&wanted, &agents);
    let connections = state.catalog.connections_of(&concerned).await?;
    let applied = Json(Applied {
        dry_run: request.dry_run,
        changes: changes.into_iter().map(change).collect(),
        warnings: policy::warnings(&wanted, &agents, &connections),
    });
    Ok(if request.dry_run {
        Harmless(applied).into_response()
    } else {
        applied.into_response()
    })
}

/// The file's policies; every mistake is named, not only the first.
fn parse(state: &ApiState, request: &ApplyRequest) -> Result<Vec<Policy>, Problem> {
    let file = request.file.as_deref().unwrap_or("policy file");
    let stores: Vec<_> = state.stores.keys().cloned().collect();
    policy::parse(file, &request.toml, &stores).map_err(|error| {
        Problem::new(Code::Invalid, error.to_string())
            .hint("nothing was changed: correct it and apply again")
    })
}

fn change(change: policy::PolicyChange) -> PolicyChange {
    let (action, differences) = match change.change {
        Change::Created => ("create", Vec::new()),
        Change::Unchanged => ("unchanged", Vec::new()),
        Change::Changed(fields) => (
            "update",
            fields
                .into_iter()
                .map(|field| PolicyDifference {
                    key: field.field,
                    before: field.from.unwrap_or(Value::Null),
                    after: field.to.unwrap_or(Value::Null),
                })
                .collect(),
        ),
    };
    PolicyChange {
        policy: change.name,
        action: action.into(),
        differences,
    }
}
