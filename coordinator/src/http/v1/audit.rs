//! `GET /audit`

use std::collections::BTreeMap;

use axum::{Json, Router, extract::State, routing::get};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{MAX_LIMIT, default_limit};
use crate::{
    catalog::AuditFilter,
    http::{
        auth::Caller,
        extract::Parameters,
        problem::{Code, Problem},
        shape::{AuditEntries, AuditEntry},
        state::{ApiState, SharedState},
    },
    model::{Actor, AuditRow},
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
    /// Only of this actor: `operator:NAME`, `agent:NAME` or `agent:ID`,
    /// `coordinator`.
    actor: Option<String>,
    /// Only from this moment on.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
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
    let actor = match query.actor {
        Some(actor) => Some(find_actor(&state, &actor).await?),
        None => None,
    };
    let filter = AuditFilter {
        actor,
        since: query.since,
        until: query.until,
        action: query.action,
        object: query.object,
        before: query.before,
    };
    let page = state
        .catalog
        .audit_log(&filter, query.limit.clamp(1, MAX_LIMIT))
        .await?;
    let agents = names(&state, &page.items).await?;
    Ok(Json(AuditEntries {
        entries: page.items.into_iter().map(shape).collect(),
        next_before: page.next.map(|id| id.to_string()),
        agents,
    }))
}

/// Who is meant: agents may be called by their names.
async fn find_actor(state: &ApiState, text: &str) -> Result<Actor, Problem> {
    match text.split_once(':') {
        Some(("agent", agent)) => Ok(Actor::Agent(state.catalog.find_agent(agent).await?.id)),
        _ => text.parse().map_err(|_| {
            Problem::new(Code::Invalid, format!("{text:?} is no actor"))
                .hint("actors are operator:NAME, agent:NAME and coordinator")
        }),
    }
}

/// The names of the agents that entries are by or about, by id.
async fn names(
    state: &ApiState,
    entries: &[AuditRow],
) -> Result<BTreeMap<String, String>, Problem> {
    let mentioned = |id: &str| {
        entries.iter().any(|entry| {
            entry.object == id || matches!(&entry.actor, Actor::Agent(by) if by.to_string() == id)
        })
    };
    let agents = state.catalog.agents().await?.into_iter();
    Ok(agents
        .map(|agent| (agent.id.to_string(), agent.name))
        .filter(|(id, _)| mentioned(id))
        .collect())
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
