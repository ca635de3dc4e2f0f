//! `GET /jobs/{job}`

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Deserialize;
use strongroom_layout::JobId;
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::IntoParams;

use crate::http::{
    auth::Caller,
    dto::Job,
    extract::{Parameters, Segment},
    problem::{Code, Problem},
    state::{ApiState, SharedState},
};

/// A long poll may wait this long.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Progress is looked at this often at most.
const STEP: Duration = Duration::from_millis(100);
/// Another coordinator's changes are not announced here: look now and then.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

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
    let wait = Duration::from_secs(query.wait);
    if wait > MAX_WAIT {
        return Err(
            Problem::new(Code::Invalid, "nobody waits longer than 60 seconds at once")
                .hint("give a smaller `wait`, and ask again"),
        );
    }
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
    let deadline = Instant::now() + wait;
    let mut changes = state.catalog.changes();
    let mut progress = state.live.progress_changes();
    loop {
        let job = super::detailed(state, state.catalog.job_detail(id).await?);
        if enough(&job) || Instant::now() >= deadline || state.shutdown.is_cancelled() {
            return Ok(job);
        }
        let change = async {
            tokio::select! {
                () = changes.changed() => {}
                Ok(()) = progress.changed() => {}
                () = state.shutdown.cancelled() => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        };
        if timeout_at(deadline, change).await.is_ok() {
            sleep(STEP).await;
        }
    }
}
