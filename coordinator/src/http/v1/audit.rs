//! `GET /audit`

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    catalog::AuditFilter,
    http::{
        auth::Caller,
        dto::{AuditEntries, AuditEntry},
        extract::Parameters,
        paging::{Page, PageQuery},
        problem::{Code, Problem},
        state::{ApiState, SharedState},
    },
    model::{Actor, AuditRow},
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new().routes(routes!(list_audit_entries))
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only actions that begin with this.
    action: Option<String>,
    /// Only of this object.
    object: Option<String>,
    /// Only of this actor: `operator:NAME`, `agent:NAME` or `agent:ID`,
    /// `coordinator`.
    actor: Option<String>,
}

/// Who did what, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery, PageQuery), responses(
    (status = 200, body = AuditEntries, description = "A page of the audit log"),
))]
pub async fn list_audit_entries(
    _caller: Caller,
    State(state): State<SharedState>,
    Parameters(query): Parameters<AuditQuery>,
    page: PageQuery,
) -> Result<Page<AuditEntries>, Problem> {
    let actor = match query.actor {
        Some(actor) => Some(find_actor(&state, &actor).await?),
        None => None,
    };
    let filter = AuditFilter {
        actor,
        since: page.since,
        until: page.until,
        action: query.action,
        object: query.object,
        before: page.before::<Uuid>()?,
    };
    let page = state.catalog.audit_log(&filter, page.limit).await?;
    let agents = names(&state, &page.items).await?;
    let next_before = page.next.map(|id| id.to_string());
    let next = next_before.clone();
    let entries = page.items.into_iter().map(shape).collect();
    Ok(Page(
        AuditEntries {
            entries,
            next_before,
            agents,
        },
        next,
    ))
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
