//! `GET /snapshots`

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    catalog::{SnapshotCursor, SnapshotFilter},
    http::{
        auth::Caller,
        extract::Parameters,
        problem::Problem,
        shape::Snapshots,
        state::SharedState,
        v1::{MAX_LIMIT, default_limit, recovery},
    },
};

/// Which snapshots.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotsQuery {
    /// How many at most, up to 1,000.
    #[serde(default = "default_limit")]
    limit: u32,
    /// Only of this policy.
    policy: Option<String>,
    /// Only of this agent: name or id.
    agent: Option<String>,
    /// Only in this repository.
    repository: Option<String>,
    /// Only snapshots taken before this time, or behind this `next_before`.
    #[param(value_type = Option<String>)]
    before: Option<SnapshotCursor>,
}

/// Snapshots, newest first.
#[utoipa::path(get, path = "/api/v1/snapshots", tag = "snapshots", params(SnapshotsQuery),
    responses(
        (status = 200, body = Snapshots),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
    Parameters(query): Parameters<SnapshotsQuery>,
) -> Result<Json<Snapshots>, Problem> {
    let agent = match query.agent {
        Some(agent) => Some(state.catalog.find_agent(&agent).await?.id),
        None => None,
    };
    let filter = SnapshotFilter {
        policy: query.policy,
        agent,
        dataset: None,
        repository: query.repository,
        there: false,
        before: query.before,
    };
    let page = state
        .catalog
        .snapshots(&filter, query.limit.clamp(1, MAX_LIMIT))
        .await?;
    let clusters: BTreeSet<_> = page
        .items
        .iter()
        .filter(|it| it.result.cluster.is_some())
        .map(|it| it.dataset.clone())
        .collect();
    Ok(Json(Snapshots {
        recovery: recovery::of_datasets(&state.catalog, clusters).await?,
        snapshots: page.items.into_iter().map(super::shape).collect(),
        next_before: page.next.map(|cursor| cursor.to_string()),
    }))
}
