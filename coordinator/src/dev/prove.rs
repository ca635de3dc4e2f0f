//! Backup, restore and comparison, all by the REST API.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use strongroom_compare::{CompareOptions, compare};
use strongroom_runtime::clock::{Clock as _, SystemClock};
use strongroom_spec::{BackupOutcome, DirectoryTarget, Outcome, RestoreRequest};

use super::{
    data_dir::{AGENT, POLICY, Place},
    scratch,
    verdict::{Verdict, judge},
};
use crate::{
    cli::{
        client::{Client, ClientError},
        error::Exit,
        render::{job, progress::ProgressView},
        watch,
    },
    http::{
        dto::{Applied, ApplyRequest, Job, JobState, Jobs, RunRequest, StartedJobs},
        problem::Code,
    },
};

/// What a run has shown.
#[derive(Debug)]
pub(super) struct Proof {
    /// The backup, done.
    pub(super) backup: Job,
    /// Its figures.
    pub(super) figures: BackupOutcome,
    /// The repository's name.
    pub(super) repository: String,
    /// What the restored tree is like.
    pub(super) verdict: Verdict,
}

impl Proof {
    /// 0 when identical, 1 when something is wrong; 3 when all that differs
    /// had changed or was warned of.
    pub(super) fn exit(&self) -> Exit {
        if self.verdict.is_wrong() {
            Exit::Failed
        } else if self.verdict.is_identical() && self.backup.warning_count == 0 {
            Exit::Done
        } else {
            Exit::Warnings
        }
    }

    /// How long the backup took on the agent.
    pub(super) fn took(&self) -> Duration {
        Duration::from_millis(self.backup.duration_ms.unwrap_or_default())
    }
}

/// Backs up, restores into the scratch directory, compares, cleans up.
pub(super) async fn prove(place: &Place, client: &Client) -> anyhow::Result<Proof> {
    let request = ApplyRequest {
        toml: place.policy(),
        file: Some("the policy of strongroom dev".into()),
        dry_run: false,
    };
    let _: Applied = client.post_keyed(&["policies", "apply"], &request).await?;
    let view = ProgressView::new(false);
    let began = SystemClock.now();
    let backup = done(run_policy(client, &view).await?)?;
    let (Some(Outcome::Backup(figures)), Some(snapshot), Some(repository)) =
        (backup.result.clone(), &backup.snapshot, &backup.repository)
    else {
        bail!("the backup job {} has no result", backup.id);
    };
    remove_scratch(place).await?;
    let target = DirectoryTarget {
        directory: place.scratch().to_string_lossy().into_owned(),
        ..DirectoryTarget::default()
    };
    let request = RestoreRequest::new(snapshot, AGENT, target.into());
    let restore: Job = client.post_keyed(&["restores"], &request).await?;
    done(follow(client, &view, restore).await?)?;
    strongroom_runtime::printable::err("comparing every file with its source");
    let comparison = compare_with_source(place).await?;
    let verdict = judge(&comparison, &backup, began);
    remove_scratch(place).await?;
    Ok(Proof {
        repository: repository.clone(),
        figures,
        verdict,
        backup,
    })
}

/// Runs the policy; when its schedule was faster, waits for that run first.
async fn run_policy(client: &Client, view: &ProgressView) -> anyhow::Result<Job> {
    loop {
        let path = ["policies", POLICY, "runs"];
        let started: Result<StartedJobs, _> =
            client.post_keyed(&path, &RunRequest::default()).await;
        match started {
            Ok(started) => {
                let job = started.jobs.into_iter().next();
                let job = job.context("the policy made no job")?;
                return follow(client, view, job).await;
            }
            Err(ClientError::Problem(problem)) if problem.code == Code::Conflict => {
                let query = [("policy", POLICY.to_owned()), ("limit", "20".to_owned())];
                let jobs: Jobs = client.get(&["jobs"], &query).await?;
                let at_work = jobs.jobs.into_iter().find(|job| !job.state.is_final());
                // Ended just now: ask again.
                if let Some(job) = at_work {
                    follow(client, view, job).await?;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn follow(client: &Client, view: &ProgressView, job: Job) -> anyhow::Result<Job> {
    let mut jobs = watch::until_done(client, vec![job], view).await?;
    jobs.pop().context("the job is gone")
}

/// A job that has succeeded; else everything about it.
fn done(finished: Job) -> anyhow::Result<Job> {
    if finished.state == JobState::Succeeded {
        return Ok(finished);
    }
    bail!(
        "the {} has {}:\n{}",
        finished.kind,
        finished.state,
        job::one(&finished, SystemClock.now())
    );
}

async fn compare_with_source(place: &Place) -> anyhow::Result<strongroom_compare::Comparison> {
    let options = CompareOptions {
        skip: vec![place.data.clone()],
        owners: rustix::process::geteuid().is_root(),
        ..CompareOptions::default()
    };
    let (source, restored) = (place.source.clone(), place.restored());
    let comparison =
        tokio::task::spawn_blocking(move || compare(&source, &restored, &options)).await??;
    Ok(comparison)
}

async fn remove_scratch(place: &Place) -> anyhow::Result<()> {
    let path = Arc::new(place.scratch());
    let removing = Arc::clone(&path);
    tokio::task::spawn_blocking(move || scratch::remove(&removing))
        .await?
        .with_context(|| format!("cannot remove {}", path.display()))
}
