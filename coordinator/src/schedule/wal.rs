//! Which logs are archived, and which are not any more: pure.
//!
//! A job that archives a log ends when it has gone on for a day (its trace and
//! its figures stay readable), or when somebody cancels it; here the next one
//! is made. When the next keeps the log in another place, and behind the last, one is
//! made that drops what kept it: a slot that nobody reads would fill the server's disk.
//! What its agent refuses is not begun anew at once, but when it allows something else.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::{AgentId, JobId};
use strongroom_spec::{FailureCode, JobSpec, WalMethod, WalSpec};

use crate::{
    jobs::request,
    model::{Agent, DatasetName, Job, JobState, NewJob},
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
const WANTED_AGAIN: &str = "the policy asks for this log again";

/// What an agent did not allow is tried again, though it has not said that it allows
/// something else since.
const REFUSED_AGAIN: SignedDuration = SignedDuration::from_hours(6);

/// The jobs that there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct WalJobs<'a> {
    /// The newest of each dataset that ever had one.
    pub latest: &'a [Job],
    /// Those that drop what kept a log, and have not ended.
    pub forgetting: &'a [Job],
    /// Connections that agents had, and do not name any more.
    pub gone: &'a [(AgentId, String)],
}

/// Plans for all datasets.
pub fn plan_wal(
    datasets: &[Dataset],
    jobs: WalJobs<'_>,
    agents: &[Agent],
    now: Timestamp,
) -> WalPlan {
    let mut plan = WalPlan::default();
    let latest: BTreeMap<&DatasetName, &Job> = jobs
        .latest
        .iter()
        .filter_map(|job| Some((job.dataset.as_ref()?, job)))
        .collect();
    let mut seen = BTreeSet::new();
    for dataset in datasets.iter().filter(|it| it.agent.is_active()) {
        seen.insert(&dataset.name);
        let last = latest.get(&dataset.name).copied().and_then(Last::of);
        let of_dataset = |job: &&Job| job.dataset.as_ref() == Some(&dataset.name);
        let forgetting: Vec<_> = jobs.forgetting.iter().filter(of_dataset).collect();
        let wanted = Wanted::of(dataset, last, jobs.gone);
        if let Some(wanted) = plan.end(&dataset.agent, wanted, last) {
            plan.begin(&dataset.agent, wanted, last, &forgetting, now);
        }
    }
    let active = |id: AgentId| agents.iter().find(|it| it.id == id && it.is_active());
    for (_, job) in latest.iter().filter(|(name, _)| !seen.contains(*name)) {
        if let Some(agent) = active(job.agent) {
            plan.end(agent, None, Last::of(job));
        }
    }
    plan
}

/// The newest job of a dataset.
#[derive(Clone, Copy)]
struct Last<'a> {
    job: &'a Job,
    work: &'a WalSpec,
}

impl<'a> Last<'a> {
    fn of(job: &'a Job) -> Option<Self> {
        match &job.spec {
            JobSpec::Wal(work) => Some(Self { job, work }),
            _ => None,
        }
    }
}

/// What a policy asks for.
struct Wanted {
    work: WalSpec,
    job: NewJob,
}

impl Wanted {
    fn of(dataset: &Dataset, last: Option<Last<'_>>, gone: &[(AgentId, String)]) -> Option<Self> {
        let agent = &dataset.agent;
        let mut work = dataset.policy.wal_work(agent)?;
        // At one connection it goes on with the slot that it has, whatever that would
        // be called today; and at another one that has come in its place, for nobody could
        // drop a slot of a connection that is not there.
        let last = last.filter(|it| it.job.agent == agent.id && !it.work.forgets());
        if let (Some(last), WalMethod::Stream { slot, .. }) = (last, &mut work.method)
            && (last.work.connection == work.connection
                || gone
                    .iter()
                    .any(|(of, name)| *of == agent.id && *name == last.work.connection))
            && let Some(kept) = last.work.slot()
        {
            kept.clone_into(slot);
        }
        Some(Self {
            job: request::wal(&dataset.policy, agent, work.clone()),
            work,
        })
    }

    /// Whether that is what a job does, or did.
    fn is_of(&self, last: Last<'_>, agent: &Agent) -> bool {
        let (job, limits) = (last.job, &self.job.limits);
        *last.work == self.work
            && job.store == self.job.store
            && job.agent == agent.id
            && job.limits.new_data == limits.new_data
            && job.limits.resources == limits.resources
            && job.limits.accept == limits.accept
    }
}

impl WalPlan {
    /// Ends what is not wanted any more; gives what is to be begun, when nothing
    /// archives.
    fn end(
        &mut self,
        agent: &Agent,
        wanted: Option<Wanted>,
        last: Option<Last<'_>>,
    ) -> Option<Wanted> {
        let Some(last) = last.filter(|it| !it.work.forgets()) else {
            return wanted;
        };
        let job = last.job;
        if job.state.is_final() {
            // No two connections have slots of one name, unless one was renamed.
            let goes_on = |it: &Wanted| it.work.slot() == last.work.slot();
            if job.agent == agent.id
                && let Some(slot) = last.work.slot()
                && !wanted.as_ref().is_some_and(goes_on)
            {
                let forget = request::forget_wal(agent, job, last.work, slot);
                self.create.push(forget);
            }
            return wanted;
        }
        let why = match &wanted {
            Some(wanted) if wanted.is_of(last, agent) => return None,
            Some(_) => CHANGED,
            None => UNWANTED,
        };
        self.cancel_once(job, why);
        None
    }

    /// Begins it, unless its slot is about to be dropped, or the agent has refused just
    /// that and has not said that it allows it now. What was left at other connections
    /// is dropped meanwhile: their servers may be gone.
    fn begin(
        &mut self,
        agent: &Agent,
        wanted: Wanted,
        last: Option<Last<'_>>,
        forgetting: &[&Job],
        now: Timestamp,
    ) {
        let mut waits = false;
        for other in forgetting.iter().copied().filter_map(Last::of) {
            if other.work.shares_slot(&wanted.work) {
                self.cancel_once(other.job, WANTED_AGAIN);
                waits = true;
            }
        }
        let same = last.filter(|it| wanted.is_of(*it, agent));
        if !waits && !same.is_some_and(|last| is_refused(last.job, agent, now)) {
            self.create.push(wanted.job);
        }
    }

    fn cancel_once(&mut self, job: &Job, why: &'static str) {
        if job.cancel.is_none() {
            self.cancel.push((job.id, why));
        }
    }
}

/// Whether the agent would refuse it again, as far as it has told.
fn is_refused(job: &Job, agent: &Agent, now: Timestamp) -> bool {
    let JobState::Failed { at, failure } = &job.state else {
        return false;
    };
    if failure.code != FailureCode::NotAllowed || now.duration_since(*at) >= REFUSED_AGAIN {
        return false;
    }
    let has_told = agent.told_at > Some(job.started_at.unwrap_or(job.created_at));
    let allows = agent.facts.consent.as_ref().is_none_or(|consent| {
        let mut sources = consent.sources.iter();
        sources.any(|it| it == "postgres")
    });
    !(has_told && allows)
}

#[cfg(test)]
mod tests;
