//! Which waiting jobs go to which live agents: pure.

use std::collections::{HashMap, HashSet};
use strongroom_spec::JobKind;

use jiff::Timestamp;
use strongroom_layout::{AgentId, JobId};
use uuid::Uuid;

use crate::model::{DatasetName, Job, Repository, RepositoryState};

/// How many jobs of one kind may be at work at once. Backups and restores are
/// counted apart, so that a restore never waits for a backup to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    /// Over all agents.
    pub global: u32,
    /// On one agent.
    pub per_agent: u32,
    /// With one store.
    pub per_store: u32,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            global: 32,
            per_agent: 2,
            per_store: 16,
        }
    }
}

/// Listings are short and somebody waits for them: no other limit holds for
/// them than this many at once on one agent.
pub const LISTS_PER_AGENT: u32 = 4;

/// What a job occupies while it is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// What sort of work.
    pub kind: JobKind,
    /// Who does it.
    pub agent: AgentId,
    /// The store's name.
    pub store: String,
    /// The repository's name.
    pub repository: String,
    /// The dataset.
    pub dataset: Option<DatasetName>,
    /// A backup into a repository that is not there yet creates it, and only
    /// one job may do that.
    pub creates: bool,
}

impl Demand {
    /// Of a job, given its repository if the catalog knows it.
    pub fn of(job: &Job, repository: Option<&Repository>) -> Self {
        let ready = repository.is_some_and(|it| matches!(it.state, RepositoryState::Ready { .. }));
        Self {
            kind: job.kind,
            agent: job.agent,
            store: job.store.clone(),
            repository: job.repository.clone(),
            dataset: job.dataset.clone(),
            creates: job.kind.writes() && !ready,
        }
    }
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub job: JobId,
    /// What it would occupy.
    pub demand: Demand,
    /// Not to be dispatched earlier.
    pub not_before: Timestamp,
}

/// An agent with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveAgent {
    /// Which.
    pub agent: AgentId,
    /// Its process.
    pub boot_id: Uuid,
}

/// A job to be offered to a live agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Which job.
    pub job: JobId,
    /// To whom.
    pub to: LiveAgent,
}

/// Chooses the jobs that are dispatched now.
///
/// Listings go first, then restores and downloads, then what archives a log,
/// then backups; within a kind the oldest job. A job is passed over when it is not yet time, its agent is not live, a
/// limit is reached, a backup of its dataset is at work, or somebody else is
/// creating its repository; younger jobs may then go before it.
pub fn plan(
    waiting: &[Waiting],
    active: &[Demand],
    live: &[LiveAgent],
    limits: Concurrency,
    now: Timestamp,
) -> Vec<Assignment> {
    let live: HashMap<_, _> = live.iter().map(|it| (it.agent, *it)).collect();
    let mut occupied = Occupied::new(limits);
    for demand in active {
        occupied.add(demand);
    }
    let mut candidates: Vec<_> = waiting
        .iter()
        .filter(|job| job.not_before <= now)
        .filter_map(|job| Some((job, *live.get(&job.demand.agent)?)))
        .collect();
    candidates.sort_by_key(|(job, _)| (urgency(job.demand.kind), job.job));
    let mut chosen = Vec::new();
    for (job, to) in candidates {
        if occupied.hindrance(&job.demand).is_none() {
            occupied.add(&job.demand);
            chosen.push(Assignment { job: job.job, to });
        }
    }
    chosen
}

/// What a waiting job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// Another job must have succeeded first.
    Job(JobId),
    /// The time of its next attempt.
    Time,
    /// Its agent has no session.
    Agent,
    /// As many of its kind as are allowed at once are at work everywhere, …
    Global(u32),
    /// … on its agent, …
    PerAgent(u32),
    /// … or with its store.
    PerStore(u32),
    /// A backup of its dataset is at work.
    Dataset,
    /// Another job is creating its repository, or writes to it before it may.
    Repository,
}

/// What `job` waits for among the others; `None`: it is dispatched in the next round.
pub fn hindrance(
    job: &Waiting,
    waiting: &[Waiting],
    active: &[Demand],
    live: &[LiveAgent],
    limits: Concurrency,
    now: Timestamp,
) -> Option<Hindrance> {
    if job.not_before > now {
        return Some(Hindrance::Time);
    }
    if !live.iter().any(|it| it.agent == job.demand.agent) {
        return Some(Hindrance::Agent);
    }
    let chosen = plan(waiting, active, live, limits, now);
    let mut occupied = Occupied::new(limits);
    for demand in active {
        occupied.add(demand);
    }
    for other in waiting {
        if chosen.iter().any(|it| it.job == other.job) {
            if other.job == job.job {
                return None;
            }
            occupied.add(&other.demand);
        }
    }
    occupied.hindrance(&job.demand)
}

fn urgency(kind: JobKind) -> u8 {
    match kind {
        JobKind::List => 0,
        JobKind::Restore | JobKind::Download => 1,
        JobKind::Wal => 2,
        JobKind::Backup | JobKind::Upload => 3,
    }
}

/// With which kind it is counted: an upload writes a snapshot as any backup does.
fn counted_as(kind: JobKind) -> JobKind {
    match kind {
        JobKind::Upload => JobKind::Backup,
        kind => kind,
    }
}

/// What is taken.
struct Occupied<'a> {
    limits: Concurrency,
    global: HashMap<JobKind, u32>,
    agents: HashMap<(JobKind, AgentId), u32>,
    stores: HashMap<(JobKind, &'a str), u32>,
    datasets: HashSet<&'a DatasetName>,
    writing: HashSet<&'a str>,
    creating: HashSet<&'a str>,
}

impl<'a> Occupied<'a> {
    fn new(limits: Concurrency) -> Self {
        Self {
            limits,
            global: HashMap::new(),
            agents: HashMap::new(),
            stores: HashMap::new(),
            datasets: HashSet::new(),
            writing: HashSet::new(),
            creating: HashSet::new(),
        }
    }

    fn add(&mut self, demand: &'a Demand) {
        let kind = counted_as(demand.kind);
        *self.global.entry(kind).or_default() += 1;
        *self.agents.entry((kind, demand.agent)).or_default() += 1;
        *self.stores.entry((kind, &demand.store)).or_default() += 1;
        if demand.kind.makes_snapshot() {
            self.datasets.extend(&demand.dataset);
        }
        if demand.kind.writes() {
            self.writing.insert(&demand.repository);
            if demand.creates {
                self.creating.insert(&demand.repository);
            }
        }
    }

    /// Why there is no room for it.
    fn hindrance(&self, demand: &Demand) -> Option<Hindrance> {
        let kind = counted_as(demand.kind);
        let on_agent = count(&self.agents, &(kind, demand.agent));
        if kind == JobKind::List {
            return (on_agent >= LISTS_PER_AGENT).then_some(Hindrance::PerAgent(on_agent));
        }
        let creating = || {
            let in_the_way = self.is_creating_in_the_way(demand);
            in_the_way.then_some(Hindrance::Repository)
        };
        if kind == JobKind::Wal {
            // Its log cannot wait, and there is one per dataset.
            return creating();
        }
        let everywhere = count(&self.global, &kind);
        let with_store = count(&self.stores, &(kind, demand.store.as_str()));
        if on_agent >= self.limits.per_agent {
            return Some(Hindrance::PerAgent(on_agent));
        }
        if with_store >= self.limits.per_store {
            return Some(Hindrance::PerStore(with_store));
        }
        if everywhere >= self.limits.global {
            return Some(Hindrance::Global(everywhere));
        }
        if !kind.makes_snapshot() {
            return None;
        }
        let mut dataset = demand.dataset.iter();
        if dataset.any(|it| self.datasets.contains(it)) {
            return Some(Hindrance::Dataset);
        }
        creating()
    }

    /// Whether two would meet while one of them creates the repository.
    fn is_creating_in_the_way(&self, demand: &Demand) -> bool {
        let repository = demand.repository.as_str();
        self.creating.contains(repository) || (demand.creates && self.writing.contains(repository))
    }
}

fn count<K: Eq + std::hash::Hash>(counts: &HashMap<K, u32>, key: &K) -> u32 {
    counts.get(key).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
