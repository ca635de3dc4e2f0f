//! Does a store hold to what a signature covers?
//!
//! An agent gets signed requests and may send them changed. Everything that
//! protects history rests on the store refusing those: a header `x-amz-*` that
//! was not signed turns a PUT into a copy of any object that our key can read,
//! or publishes it to the world (seen on Ceph's RGW 16.2.15). So before the
//! first request is signed for a store, and again each day, we forge requests
//! with grants of our own and look at what became of them.
//!
//! - [`probe`]: which forgeries there are, and the [`Risk`] that each shows,
//! - `forge`: sends a grant with a change,
//! - `lab`: a place of our own in the bucket, emptied afterwards,
//! - `facts`: what the coordinator's own client sees of it,
//! - `acts`: one act per forgery, judged by its effect and not by the answer,
//! - [`report`]: what was found,
//! - [`standing`]: whether anything may be signed; pure,
//! - `keeper`: the task that checks, again and again.
//!
//! To add a forgery: a variant of [`Probe`], its act, and its line in
//! `docs/stores.md`.

mod acts;
mod facts;
pub(super) mod forge;
pub(super) mod keeper;
mod lab;
pub mod probe;
pub mod report;
pub mod standing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::{forge::Forger, lab::Lab};
pub use self::{
    probe::{Probe, Risk},
    report::{Finding, Report, Verdict},
    standing::{NotSigned, Standing},
};
use super::{Store, StoreError, StoreProblem};

/// For all forgeries together: a store that answers takes some seconds.
const TIME: Duration = Duration::from_mins(1);
/// For taking away what was written.
const CLEANUP_TIME: Duration = Duration::from_secs(15);
/// Of one forgery whose answer or effect could not be had.
const TRIES: u32 = 3;

/// Forges requests to the store and tells what came of each. What was written is
/// removed, whatever happens in between, `cancel` included.
pub(super) async fn check(store: &Store, cancel: &CancellationToken) -> Result<Report, StoreError> {
    let forger = Forger::new(store.client.config(), store.client.clock().clone())?;
    let mut lab = Lab::new(store, &forger);
    let work = tokio::time::timeout(TIME, Box::pin(probe_all(&mut lab)));
    let outcome = cancel.run_until_cancelled(work).await;
    let cleaned = tokio::time::timeout(CLEANUP_TIME, lab.clean()).await;
    if !matches!(cleaned, Ok(Ok(()))) {
        let place = lab.place();
        tracing::warn!(%place, "what a check wrote could not be removed yet; a later check does");
    }
    let unreachable = |cause: &str| {
        let problem = StoreProblem::Unreachable(cause.to_owned());
        StoreError::new(store.client.config(), problem)
    };
    match outcome {
        Some(Ok(report)) => report,
        Some(Err(_)) => Err(unreachable("the check took more than a minute")),
        None => Err(unreachable("the check was interrupted")),
    }
}

async fn probe_all(lab: &mut Lab<'_>) -> Result<Report, StoreError> {
    let terms = lab.prepare().await?;
    let mut findings = Vec::with_capacity(Probe::ALL.len());
    for probe in Probe::ALL {
        findings.push(tried(lab, probe).await);
    }
    Ok(Report {
        at: lab.now(),
        skew: lab.forger.skew(),
        terms,
        findings,
    })
}

async fn tried(lab: &Lab<'_>, probe: Probe) -> Finding {
    let mut problem = String::new();
    for _ in 0..TRIES {
        match acts::act(lab, probe).await {
            Ok((verdict, answer)) => {
                return Finding {
                    probe,
                    verdict,
                    answer,
                };
            }
            Err(error) => problem = error.to_string(),
        }
    }
    Finding {
        probe,
        verdict: Verdict::Untried,
        answer: problem,
    }
}
