//! Follows jobs to their end by long polls.

use futures::future;

use super::{
    client::{Client, ClientError},
    render::progress::{JobLine, ProgressView},
};
use crate::http::dto::Job;

/// How long one request waits for a change, seconds.
const WAIT_SECONDS: u32 = 30;

/// Shows the jobs' progress until each has come to its end; gives them as
/// they are then, in the order asked.
pub(crate) async fn until_done(
    client: &Client,
    jobs: Vec<Job>,
    view: &ProgressView,
) -> Result<Vec<Job>, ClientError> {
    let watched = jobs.into_iter().map(|job| {
        let line = view.line(label(&job));
        follow(client, job, line)
    });
    future::try_join_all(watched).await
}

fn label(job: &Job) -> String {
    match &job.dataset {
        Some(dataset) => format!("{} {dataset}", job.kind),
        None => format!("{} on {}", job.kind, job.agent.name),
    }
}

async fn follow(client: &Client, mut job: Job, mut line: JobLine) -> Result<Job, ClientError> {
    loop {
        line.update(&job);
        if job.state.is_final() {
            line.finish();
            // Only this answer has the warnings and attempts.
            return client.get(&["jobs", &job.id], &[]).await;
        }
        job = next(client, &job).await?;
    }
}

/// The job when something about it has changed, or half a minute later.
pub(crate) async fn next(client: &Client, job: &Job) -> Result<Job, ClientError> {
    let query = [
        ("wait", WAIT_SECONDS.to_string()),
        ("since", job.revision.clone()),
    ];
    client.get(&["jobs", &job.id], &query).await
}
