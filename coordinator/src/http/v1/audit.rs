//! `GET /audit`

use axum::{Json, Router, extract::State, routing::get};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{MAX_LIMIT, default_limit};
use crate::{
    catalog::AuditFilter,
    http::{
        auth::Caller,
        extract::Parameters,
        problem::Problem,
        shape::{AuditEntries, AuditEntry},
        state::SharedState,
    },
    model::AuditRow,
};

pub(super) fn routes() -> Router<SharedState> {
    Router::new().route("/audit", get(handler))
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// How many at most, up to 1,000.
    #[serde(default = "default_limit")]
    limit: u32,
    /// Only actions that begin with this.
    action: Option<String>,
    /// Only of this object.
    object: Option<String>,
    /// Only entries older than this one.
    #[param(value_type = Option<String>)]
    before: Option<Uuid>,
}

/// Who did what, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditQuery), responses(
    (status = 200, body = AuditEntries),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
    Parameters(query): Parameters<AuditQuery>,
) -> Result<Json<AuditEntries>, Problem> {
    let filter = AuditFilter {
        actor: None,
        action: query.action,
        object: query.object,
        before: query.before,
    };
    let page = state
        .catalog
        .audit_log(&filter, query.limit.clamp(1, MAX_LIMIT))
        .await?;
    Ok(Json(AuditEntries {
        entries: page.items.into_iter().map(shape).collect(),
        next_before: page.next.map(|id| id.to_string()),
    }))
}

fn shape(row: AuditRow) -> AuditEntry {
    AuditEntry {
        id: row.id.to_string(),
        at: row.at,
        actor: row.actor.to_string(),
        action: row.action,
        object: row.object,
        outcome: row.outcome.as_str().into(),
        detail: row.detail,
        trace_id: row.trace_id,
    }
}
