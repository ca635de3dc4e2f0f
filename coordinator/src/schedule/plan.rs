//! Which datasets are due now, and when the next one is: pure.

use jiff::Timestamp;

use super::{Due, next_due};
use crate::{
    catalog::DueRun,
    jobs::request,
    model::{Actor, NewJob},
    policy::Dataset,
};

/// What the scheduler does now, and when it looks again.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Runs that are due, each with the job to make.
    pub due: Vec<(DueRun, NewJob)>,
    /// When the next dataset is due. One that is busy is looked at again when
    /// its job ends, which is a change of the catalog.
    pub next: Option<Timestamp>,
}

/// The next scheduled run of a dataset, or the one that was missed; `None`
/// when it only runs when asked.
pub fn next_run(dataset: &Dataset, now: Timestamp) -> Option<Due> {
    let last = dataset.last_due.map_or(dataset.scheduled_since, |it| {
        it.max(dataset.scheduled_since)
    });
    let schedule = dataset.policy.schedule.as_ref()?;
    next_due(schedule, last, now, &dataset.name.to_string())
}

/// Plans for all datasets. A dataset with an unfinished backup waits for its
/// end, then at most one run is caught up.
pub fn plan(datasets: &[Dataset], now: Timestamp) -> Plan {
    let mut plan = Plan {
        due: Vec::new(),
        next: None,
    };
    for dataset in datasets.iter().filter(|it| !it.busy) {
        match next_run(dataset, now) {
            Some(due) if due.at <= now => plan.due.push(job(dataset, due)),
            Some(due) => plan.next = Some(plan.next.map_or(due.at, |next| next.min(due.at))),
            None => {}
        }
    }
    plan
}

fn job(dataset: &Dataset, due: Due) -> (DueRun, NewJob) {
    let run = DueRun {
        policy: dataset.policy.name.clone(),
        agent: dataset.agent.id,
        nominal: due.nominal,
    };
    let job = request::backup(&dataset.policy, &dataset.agent, Actor::Coordinator);
    (run, job)
}
