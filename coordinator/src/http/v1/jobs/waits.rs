//! What a pending job waits for, in words.

use jiff::Timestamp;
use strongroom_layout::JobId;

use crate::{
    http::{dto::WaitsFor, problem::Problem, state::ApiState},
    jobs::Hindrance,
    model::{Job, JobState},
    stores,
};

/// What a job waits for; `None` when it is not pending, or is handed out just now.
pub(super) async fn waits_for(state: &ApiState, id: JobId) -> Result<Option<WaitsFor>, Problem> {
    let job = state.catalog.job(id).await?;
    let JobState::Pending {
        not_before,
        failure,
    } = &job.state
    else {
        return Ok(None);
    };
    let limits = *state.limits.borrow();
    let live = state.presence().await?.live();
    let Some(hindrance) = state.catalog.waits_for(id, &live, limits).await? else {
        return Ok(None);
    };
    let ready = job.created_at.max(*not_before);
    let (what, message, since) = match hindrance {
        Hindrance::Job(first) => {
            let message = format!("job {first}, which must have succeeded before it");
            ("job", message, job.created_at)
        }
        Hindrance::Time => {
            if let Some(outage) = outage(state, &job) {
                let message = format!("its store {}, which is away: {}", job.store, outage.problem);
                ("store", message, outage.since)
            } else {
                let message = match failure {
                    Some(failure) => {
                        format!("its next attempt; the last one failed: {}", failure.message)
                    }
                    None => "its time".to_owned(),
                };
                ("time", message, last_end(state, &job).await?)
            }
        }
        Hindrance::Agent => agent(state, &job, ready).await?,
        Hindrance::PerAgent(at_work) => {
            let message = format!(
                "other jobs on {}: {at_work} of kind {} are at work there, as many as may \
                 ([limits] per_agent)",
                job.agent_name,
                job.kind.as_str()
            );
            ("agent-limit", message, ready)
        }
        Hindrance::PerStore(at_work) => {
            let message = format!(
                "other jobs with its store {}: {at_work} of kind {} are at work with it, as many \
                 as may ([limits] per_store)",
                job.store,
                job.kind.as_str()
            );
            ("store-limit", message, ready)
        }
        Hindrance::Global(at_work) => {
            let message = format!(
                "other jobs: {at_work} of kind {} are at work, as many as may ([limits] global)",
                job.kind.as_str()
            );
            ("global-limit", message, ready)
        }
        Hindrance::Dataset => {
            let dataset = job.dataset.as_ref().map(ToString::to_string);
            let message = format!(
                "the backup of {} that is at work",
                dataset.unwrap_or_default()
            );
            ("dataset", message, ready)
        }
        Hindrance::Repository => {
            let message = format!("the job that is creating repository {}", job.repository);
            ("repository", message, ready)
        }
    };
    Ok(Some(WaitsFor {
        what: what.to_owned(),
        message,
        since,
    }))
}

/// An agent without a session.
async fn agent(
    state: &ApiState,
    job: &Job,
    ready: Timestamp,
) -> Result<(&'static str, String, Timestamp), Problem> {
    let agent = state.catalog.agent(job.agent).await?;
    let seen = state.presence().await?.last_seen(&agent);
    let (message, away) = match (&agent.contest, seen) {
        (Some(contest), _) => {
            let message = format!(
                "an operator: agent {name} is contested, see `strongroom agents show {name}`",
                name = agent.name
            );
            (message, Some(contest.at))
        }
        (None, None) => {
            let message = format!("agent {}, which has never connected", agent.name);
            (message, Some(agent.enrolled_at))
        }
        (None, seen) => (
            format!("agent {}, which is not connected", agent.name),
            seen,
        ),
    };
    // What waits since it was made waits no longer than that for anybody.
    let since = away.map_or(ready, |away| away.max(job.created_at));
    Ok(("agent", message, since))
}

/// When its last attempt ended, or when it was made.
async fn last_end(state: &ApiState, job: &Job) -> Result<Timestamp, Problem> {
    let detail = state.catalog.job_detail(job.id).await?;
    let ends = detail.attempts.iter().filter_map(|it| it.ended_at);
    Ok(ends.max().unwrap_or(job.created_at))
}

fn outage(state: &ApiState, job: &Job) -> Option<stores::Outage> {
    let outage = state.checked.get(&job.store)?.outage()?;
    outage.until.is_none().then_some(outage)
}
