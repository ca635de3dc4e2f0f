//! `GET /jobs/{job}`

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Deserialize;
use strongroom_layout::JobId;
use utoipa::IntoParams;

use crate::http::{
    auth::Caller,
    dto::Job,
    extract::{Parameters, Segment},
    problem::Problem,
    state::{ApiState, SharedState},
    waiting::{Waiting, patience},
};

/// Whether to wait for a change.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// How long to wait for a revision other than `since`: seconds, up to 60.
    #[param(minimum = 0, maximum = 60)]
    wait: u64,
    /// A revision that is known already.
    since: Option<String>,
}

/// One job with its progress, attempts, result and warnings.
///
/// With `wait` and `since` it answers when something has changed, or when the time is over:
/// nobody needs to ask again and again.
#[utoipa::path(get, path = "/jobs/{job}", tag = "jobs",
    params(
        ("job" = String, Path, description = "Id, or a unique beginning or ending of one"),
        WaitQuery,
    ),
    responses(
        (status = 200, body = Job, description = "The job"),
))]
pub async fn show_job(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(job): Segment,
    Parameters(query): Parameters<WaitQuery>,
) -> Result<Json<Job>, Problem> {
    let id = state.catalog.find_job(&job).await?.id;
    let wait = patience(query.wait)?;
    let known = query.since.as_deref();
    let mut job = wait_until(&state, id, wait, |job| Some(&*job.revision) != known).await?;
    // Not part of the revision: it would be asked for at each change of anything.
    job.waits_for = super::waits_for(&state, id).await?;
    Ok(Json(job))
}

/// The job as soon as it is `enough`, or as it is when `wait` is over or the
/// coordinator ends.
pub(in crate::http::v1) async fn wait_until(
    state: &ApiState,
    id: JobId,
    wait: Duration,
    enough: impl Fn(&Job) -> bool,
) -> Result<Job, Problem> {
    let mut waiting = Waiting::new(state, wait).or_progress();
    loop {
        let job = super::detailed(state, state.catalog.job_detail(id).await?).await?;
        if enough(&job) || !waiting.again().await {
            return Ok(job);
        }
    }
}
