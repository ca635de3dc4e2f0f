//! `POST /policies/{policy}/runs`

use axum::extract::State;
use url::form_urlencoded;

use crate::{
    http::{
        answer::{Started, location},
        auth::Caller,
        dto::{RunRequest, StartedJobs},
        extract::{Body, Segment},
        idempotency::IdempotencyKey,
        problem::{Code, Problem},
        state::SharedState,
        v1::jobs,
    },
    jobs::request,
    policy::Dataset,
};

/// Starts a policy now, on one of its agents or on all.
///
/// A dataset that is at work already is left alone; when all are, that is a
/// conflict.
#[utoipa::path(post, path = "/policies/{policy}/runs", tag = "policies",
    params(IdempotencyKey, ("policy" = String, Path, description = "Name")),
    request_body = RunRequest,
    responses(
        (status = 202, body = StartedJobs, description = "The jobs that were started"),
))]
pub async fn run_policy(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
    Body(request): Body<RunRequest>,
) -> Result<Started<StartedJobs>, Problem> {
    let policy = state.catalog.policy(&name).await?.policy;
    let mut datasets = state.catalog.datasets().await?;
    datasets.retain(|it| it.name.policy == name);
    if let Some(agent) = &request.agent {
        let agent = state.catalog.find_agent(agent).await?;
        datasets.retain(|it| it.agent.id == agent.id);
        if datasets.is_empty() {
            return Err(Problem::new(
                Code::Conflict,
                format!("policy {name} does not select agent {}", agent.name),
            )
            .hint("change the policy's `agents`, or run it on one of its own"));
        }
    }
    if datasets.is_empty() {
        return Err(
            Problem::new(Code::Conflict, format!("policy {name} selects no agent"))
                .hint("`strongroom agents list` shows names and labels to select by"),
        );
    }
    let (busy, free): (Vec<_>, Vec<_>) = datasets.into_iter().partition(|it| it.busy);
    if free.is_empty() {
        return Err(Problem::new(Code::Conflict, already(&busy)).hint(
            "one dataset is backed up once at a time: `strongroom jobs list` shows the job",
        ));
    }
    let mut started = StartedJobs {
        jobs: Vec::new(),
        notes: Vec::new(),
    };
    if !busy.is_empty() {
        started.notes.push(already(&busy));
    }
    let new = free.iter().map(|dataset| {
        let by = caller.actor.clone();
        request::backup(&policy, &dataset.agent, by)
    });
    let made = state.catalog.create_jobs(&new.collect::<Vec<_>>()).await?;
    let presence = state.presence().await?;
    for (dataset, job) in free.iter().zip(made) {
        if !presence.is_connected(dataset.agent.id) {
            started.notes.push(format!(
                "agent {} is not connected: its job waits for it",
                dataset.agent.name
            ));
        }
        started.jobs.push(jobs::made(&state, job));
    }
    let at = match &started.jobs[..] {
        [job] => location("jobs", &job.id),
        _ => jobs_of(&name),
    };
    Ok(Started(at, started))
}

/// Where the jobs of a policy are listed.
fn jobs_of(policy: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("policy", policy)
        .append_pair("kind", "backup")
        .finish();
    format!("/api/v1/jobs?{query}")
}

fn already(busy: &[Dataset]) -> String {
    let names: Vec<_> = busy.iter().map(|it| it.name.to_string()).collect();
    format!("already at work: {}", names.join(", "))
}
