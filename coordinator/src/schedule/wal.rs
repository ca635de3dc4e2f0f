//! Which logs are archived, and which are not any more: pure.
//!
//! A job that archives a log ends when it has gone on for a day (its trace and
//! its figures stay readable), or when somebody cancels it; here the next one
//! is made. Between two that keep the log on the server in different places,
//! and behind the last, one is made that drops what kept it: a slot that nobody
//! reads would fill the server's disk.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_layout::{AgentId, JobId};
use strongroom_wire::job::{WalMethod, WalWork, Work};

use crate::{
    jobs::request,
    model::{Agent, DatasetName, Job, NewJob},
    policy::Dataset,
};

/// What changes.
#[derive(Debug, Clone, Default)]
pub struct WalPlan {
    /// Jobs to make.
    pub create: Vec<NewJob>,
    /// Jobs to end, and why.
    pub cancel: Vec<(JobId, &'static str)>,
}

const CHANGED: &str = "the policy says something else now";
const UNWANTED: &str = "no policy asks for it any more";

/// Plans for all datasets. `latest` is the newest job of this kind of each
/// dataset that ever had one.
pub fn plan_wal(datasets: &[Dataset], latest: &[Job], agents: &[Agent]) -> WalPlan {
    let mut plan = WalPlan::default();
    let latest: BTreeMap<&DatasetName, &Job> = latest
        .iter()
        .filter_map(|job| Some((job.dataset.as_ref()?, job)))
        .collect();
    let mut seen = BTreeSet::new();
    for dataset in datasets.iter().filter(|it| it.agent.is_active()) {
        let wanted = dataset.policy.wal_work(&dataset.agent).map(|work| Wanted {
            store: &dataset.policy.store,
            job: request::wal(&dataset.policy, &dataset.agent, work.clone()),
            work,
        });
        seen.insert(&dataset.name);
        let last = latest.get(&dataset.name).copied();
        decide(&mut plan, &dataset.agent, wanted, last);
    }
    let active = |id: AgentId| agents.iter().find(|it| it.id == id && it.is_active());
    for (_, job) in latest.iter().filter(|(name, _)| !seen.contains(*name)) {
        if let Some(agent) = active(job.agent) {
            decide(&mut plan, agent, None, Some(job));
        }
    }
    plan
}

struct Wanted<'a> {
    work: WalWork,
    store: &'a str,
    job: NewJob,
}

fn decide(plan: &mut WalPlan, agent: &Agent, wanted: Option<Wanted<'_>>, last: Option<&Job>) {
    let last = last.and_then(|job| match &job.work {
        Work::Wal(work) => Some((job, work)),
        _ => None,
    });
    match (wanted, last) {
        (Some(wanted), Some((job, work))) if !job.state.is_final() => {
            let forgets = matches!(work.method, WalMethod::Forget { .. });
            let same = *work == wanted.work
                && job.store == wanted.store
                && job.agent == agent.id
                && job.limits.new_data == wanted.job.limits.new_data
                && job.limits.resources == wanted.job.limits.resources
                && job.limits.accept == wanted.job.limits.accept;
            if !same && !forgets && job.cancel.is_none() {
                plan.cancel.push((job.id, CHANGED));
            }
        }
        (None, Some((job, work))) if !job.state.is_final() => {
            let forgets = matches!(work.method, WalMethod::Forget { .. });
            if !forgets && job.cancel.is_none() {
                plan.cancel.push((job.id, UNWANTED));
            }
        }
        (wanted, Some((job, work))) => {
            let left = kept(work).filter(|_| job.agent == agent.id);
            let next = wanted.as_ref().and_then(|it| kept(&it.work));
            match left {
                Some((connection, slot)) if next != Some((connection, slot)) => {
                    plan.create
                        .push(request::forget_wal(agent, job, work, slot));
                }
                _ => plan.create.extend(wanted.map(|it| it.job)),
            }
        }
        (wanted, None) => plan.create.extend(wanted.map(|it| it.job)),
    }
}

/// The slot that a job may have left, and where.
fn kept(work: &WalWork) -> Option<(&str, &str)> {
    match &work.method {
        WalMethod::Stream { slot, .. } => Some((&work.connection, slot)),
        WalMethod::Push | WalMethod::Forget { .. } => None,
    }
}

#[cfg(test)]
mod tests;
