//! `GET /jobs`

use axum::{Json, extract::State};
use serde::Deserialize;
use strongroom_layout::JobId;
use utoipa::IntoParams;

use crate::{
    catalog::JobFilter,
    http::{
        auth::Caller,
        extract::Parameters,
        problem::Problem,
        shape::{JobKind, JobState, Jobs},
        state::SharedState,
        v1::{MAX_LIMIT, default_limit},
    },
    model,
};

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// How many at most, up to 1,000.
    #[serde(default = "default_limit")]
    limit: u32,
    /// Only in this state.
    state: Option<JobState>,
    /// Only of this kind.
    kind: Option<JobKind>,
    /// Only of this policy.
    policy: Option<String>,
    /// Only of this agent: name or id.
    agent: Option<String>,
    /// Only jobs older than this one.
    #[param(value_type = Option<String>)]
    before: Option<JobId>,
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(JobsQuery), responses(
    (status = 200, body = Jobs),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn handler(
    _caller: Caller,
    State(state): State<SharedState>,
    Parameters(query): Parameters<JobsQuery>,
) -> Result<Json<Jobs>, Problem> {
    let agent = match query.agent {
        Some(agent) => Some(state.catalog.find_agent(&agent).await?.id),
        None => None,
    };
    let filter = JobFilter {
        state: query.state.map(state_word),
        kind: query.kind.map(kind),
        policy: query.policy,
        agent,
        before: query.before,
        ..JobFilter::default()
    };
    let page = state
        .catalog
        .jobs(&filter, query.limit.clamp(1, MAX_LIMIT))
        .await?;
    let jobs = page
        .items
        .into_iter()
        .map(|job| super::brief(&state, job))
        .collect();
    Ok(Json(Jobs {
        jobs,
        next_before: page.next.map(|id| id.to_string()),
    }))
}

fn state_word(state: JobState) -> model::StateWord {
    match state {
        JobState::Pending => model::StateWord::Pending,
        JobState::Dispatched => model::StateWord::Dispatched,
        JobState::Running => model::StateWord::Running,
        JobState::Succeeded => model::StateWord::Succeeded,
        JobState::Failed => model::StateWord::Failed,
        JobState::Cancelled => model::StateWord::Cancelled,
    }
}

fn kind(kind: JobKind) -> model::JobKind {
    match kind {
        JobKind::Backup => model::JobKind::Backup,
        JobKind::Restore => model::JobKind::Restore,
        JobKind::List => model::JobKind::List,
        JobKind::Download => model::JobKind::Download,
        JobKind::Wal => model::JobKind::Wal,
    }
}
