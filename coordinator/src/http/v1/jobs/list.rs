//! `GET /jobs`

use axum::extract::State;
use serde::Deserialize;
use strongroom_layout::JobId;
use strongroom_spec::JobKind;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    catalog::JobFilter,
    http::{
        auth::Caller,
        dto::{JobState, Jobs},
        extract::Parameters,
        paging::{Page, PageQuery},
        problem::Problem,
        state::SharedState,
    },
    model,
};

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// Only in this state.
    state: Option<JobState>,
    /// Only of this kind.
    kind: Option<JobKind>,
    /// Only of this policy.
    policy: Option<String>,
    /// Only of this agent: name or id.
    agent: Option<String>,
}

/// Jobs, newest first; their times are those when they were asked for.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(JobsQuery, PageQuery), responses(
    (status = 200, body = Jobs, description = "A page of jobs"),
))]
pub async fn list_jobs(
    _caller: Caller,
    State(state): State<SharedState>,
    Parameters(query): Parameters<JobsQuery>,
    page: PageQuery,
) -> Result<Page<Jobs>, Problem> {
    let agent = match query.agent {
        Some(agent) => Some(state.catalog.find_agent(&agent).await?.id),
        None => None,
    };
    let filter = JobFilter {
        state: query.state.map(state_word),
        kind: query.kind,
        policy: query.policy,
        agent,
        since: page.since,
        until: page.until,
        before: page.before::<Uuid>()?.map(JobId),
        ..JobFilter::default()
    };
    let page = state.catalog.jobs(&filter, page.limit).await?;
    let jobs = super::listed(&state, page.items).await?;
    let next_before = page.next.map(|id| id.to_string());
    let next = next_before.clone();
    Ok(Page(Jobs { jobs, next_before }, next))
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
