//! `GET /snapshots/{snapshot}/entries`

use std::time::Duration;

use axum::{extract::State, response::Response};
use strongroom_spec::{ListSpec, Outcome};

use crate::{
    http::{
        auth::Caller,
        dto::{Job, JobState, ListQuery, Listing},
        extract::{Parameters, Segment},
        guard::NextPage,
        paging,
        problem::{Code, Problem},
        state::SharedState,
        v1::jobs,
    },
    jobs::request,
    restores,
};

/// Entries of one answer at most.
const MAX_ENTRIES: u32 = 10_000;
/// How long the agent may take.
const WAIT: Duration = Duration::from_mins(1);

/// What is in a directory of a snapshot.
///
/// The coordinator cannot decrypt it:
/// an agent lists it as a job, and this waits for the answer.
#[utoipa::path(get, path = "/snapshots/{snapshot}/entries", tag = "snapshots",
    params(
        ("snapshot" = String, Path, description = "Id or unique prefix"),
        ListQuery,
    ),
    responses(
        (status = 200, body = Listing, description = "A page of entries"),
        (status = 502, body = Problem, content_type = "application/problem+json",
            description = "The agent could not list them"),
))]
pub async fn list_entries(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(snapshot): Segment,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Problem> {
    paging::check_limit(query.limit, MAX_ENTRIES)?;
    // No agent understands such a job, and none would answer it.
    if query.path.is_empty() {
        return Err(Problem::new(Code::Invalid, "`path` is empty")
            .hint("name a directory, such as /, or leave it out"));
    }
    let snapshot = restores::readable(&state.catalog, &snapshot).await?;
    let agent = match &query.agent {
        Some(agent) => state.catalog.find_agent(agent).await?,
        None => state.catalog.agent(snapshot.agent).await?,
    };
    if !state.presence().await?.is_connected(agent.id) {
        return Err(Problem::new(
            Code::Unavailable,
            format!("agent {} is not connected", agent.name),
        )
        .hint(
            "only an agent can decrypt a snapshot: start that one, or name another that may read \
             it with --agent",
        ));
    }
    let store = state.catalog.repository(&snapshot.repository).await?.store;
    let work = ListSpec {
        snapshot: snapshot.id,
        path: query.path,
        recursive: query.recursive,
        limit: query.limit,
        after: query.after,
    };
    let new = request::list(&snapshot, &store, &agent, work, caller.actor);
    let job = state.catalog.create_job(&new).await?.job;
    let job = jobs::show::wait_until(&state, job.id, WAIT, |job| job.state.is_final()).await?;
    let listing = answer(job)?;
    let next = listing.next_after.clone();
    let next = next.map(|value| NextPage {
        key: "after",
        value,
    });
    Ok(paging::page(listing, next))
}

fn answer(job: Job) -> Result<Listing, Problem> {
    match (job.state, job.result, job.failure) {
        (JobState::Succeeded, Some(Outcome::List(found)), _) => Ok(jobs::listing(found)),
        (JobState::Failed, _, Some(failure)) if failure.code == "not-found" => {
            Err(Problem::new(Code::NotFound, failure.message))
        }
        (JobState::Failed | JobState::Cancelled, _, Some(failure)) => Err(Problem::new(
            Code::JobFailed,
            format!(
                "agent {} could not list it: {}",
                job.agent.name, failure.message
            ),
        )
        .hint(format!("`strongroom jobs show {}` says more", job.id))),
        (state, ..) => Err(Problem::new(
            Code::Unavailable,
            format!(
                "agent {} has not answered yet (job {state})",
                job.agent.name
            ),
        )
        .hint(format!("`strongroom jobs show {}` follows it", job.id))),
    }
}
