//! `GET /snapshots`

use std::collections::BTreeSet;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    catalog::{SnapshotCursor, SnapshotFilter},
    http::{
        auth::Caller,
        dto::Snapshots,
        extract::Parameters,
        paging::{Page, PageQuery},
        problem::Problem,
        state::SharedState,
        v1::recovery,
    },
};

/// Which snapshots.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SnapshotsQuery {
    /// Only of this policy.
    policy: Option<String>,
    /// Only of this agent: name or id.
    agent: Option<String>,
    /// Only in this repository.
    repository: Option<String>,
}

/// Snapshots, newest first.
#[utoipa::path(get, path = "/snapshots", tag = "snapshots", params(SnapshotsQuery, PageQuery),
    responses(
        (status = 200, body = Snapshots, description = "A page of snapshots"),
))]
pub async fn list_snapshots(
    _caller: Caller,
    State(state): State<SharedState>,
    Parameters(query): Parameters<SnapshotsQuery>,
    page: PageQuery,
) -> Result<Page<Snapshots>, Problem> {
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
        since: page.since,
        until: page.until,
        before: page.before::<SnapshotCursor>()?,
    };
    let page = state.catalog.snapshots(&filter, page.limit).await?;
    let clusters: BTreeSet<_> = page
        .items
        .iter()
        .filter(|it| it.result.cluster.is_some())
        .map(|it| it.dataset.clone())
        .collect();
    let next_before = page.next.map(|cursor| cursor.to_string());
    let next = next_before.clone();
    let snapshots = Snapshots {
        recovery: recovery::of_datasets(&state.catalog, clusters).await?,
        snapshots: page.items.into_iter().map(super::shape).collect(),
        next_before,
    };
    Ok(Page(snapshots, next))
}
