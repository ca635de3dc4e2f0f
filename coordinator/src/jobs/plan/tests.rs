//! Tests of the planner: what may never happen, and that nothing is left out.

use std::collections::{HashMap, HashSet};
use strongroom_spec::JobKind;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use strongroom_layout::{AgentId, JobId};
use uuid::Uuid;

use super::{
    Assignment, Concurrency, Demand, Hindrance, LISTS_PER_AGENT, LiveAgent, Waiting, counted_as,
    hindrance, plan,
};
use crate::model::DatasetName;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

const WIDE: Concurrency = Concurrency {
    global: 100,
    per_agent: 100,
    per_store: 100,
};

fn agent(number: u8) -> AgentId {
    AgentId(Uuid::from_u128(number.into()))
}

fn live(number: u8) -> LiveAgent {
    LiveAgent {
        agent: agent(number),
        boot_id: Uuid::from_u128(100 + u128::from(number)),
    }
}

fn demand(kind: JobKind, on: u8, dataset: &str) -> Demand {
    Demand {
        kind,
        agent: agent(on),
        store: "primary".into(),
        repository: format!("primary/{on}"),
        dataset: Some(DatasetName::new(dataset, on.to_string())),
        creates: false,
    }
}

fn waiting(job: u8, demand: Demand) -> Waiting {
    Waiting {
        job: JobId(Uuid::from_u128(job.into())),
        demand,
        not_before: NOW,
    }
}

/// The jobs that are chosen, by number.
fn chosen(jobs: &[Waiting], active: &[Demand], limits: Concurrency) -> Vec<u128> {
    plan(jobs, active, &[live(1), live(2)], limits, NOW)
        .iter()
        .map(|it| it.job.0.as_u128())
        .collect()
}

/// What the first of these waits for.
fn waits_for(jobs: &[Waiting], active: &[Demand], limits: Concurrency) -> Option<Hindrance> {
    hindrance(&jobs[0], jobs, active, &[live(1), live(2)], limits, NOW)
}

#[test]
fn a_waiting_job_says_what_for() {
    let backup = |on, dataset| demand(JobKind::Backup, on, dataset);
    let one = [waiting(1, backup(1, "a"))];
    assert_eq!(waits_for(&one, &[], WIDE), None);
    let mut later = one.clone();
    later[0].not_before = NOW + SignedDuration::from_secs(9);
    assert_eq!(waits_for(&later, &[], WIDE), Some(Hindrance::Time));
    let away = [waiting(1, backup(3, "a"))];
    assert_eq!(waits_for(&away, &[], WIDE), Some(Hindrance::Agent));
    let same = [backup(1, "a")];
    assert_eq!(waits_for(&one, &same, WIDE), Some(Hindrance::Dataset));
    let narrow = |global, per_agent, per_store| Concurrency {
        global,
        per_agent,
        per_store,
    };
    let other = [backup(1, "b")];
    for (limits, expected) in [
        (narrow(9, 1, 9), Hindrance::PerAgent(1)),
        (narrow(9, 9, 1), Hindrance::PerStore(1)),
        (narrow(1, 9, 9), Hindrance::Global(1)),
    ] {
        assert_eq!(waits_for(&one, &other, limits), Some(expected));
    }
    let mut creating = backup(1, "b");
    creating.creates = true;
    let creating = waits_for(&one, &[creating], WIDE);
    assert_eq!(creating, Some(Hindrance::Repository));
    // An older one goes first; a restore waits for no backup.
    let queue = [waiting(2, backup(1, "a")), waiting(1, backup(1, "b"))];
    let first = waits_for(&queue, &[], narrow(9, 1, 9));
    assert_eq!(first, Some(Hindrance::PerAgent(1)));
    let restore = [waiting(1, demand(JobKind::Restore, 1, "a"))];
    assert_eq!(waits_for(&restore, &same, narrow(9, 1, 9)), None);
}

#[test]
fn listings_go_before_restores_before_backups_and_old_before_new() {
    let jobs = [
        waiting(1, demand(JobKind::Backup, 1, "a")),
        waiting(2, demand(JobKind::Backup, 1, "b")),
        waiting(3, demand(JobKind::Restore, 1, "a")),
        waiting(4, demand(JobKind::List, 1, "a")),
    ];
    assert_eq!(chosen(&jobs, &[], WIDE), [4, 3, 1, 2]);
}

#[test]
fn a_full_agent_takes_restores_but_no_backups() {
    let jobs = [
        waiting(1, demand(JobKind::Backup, 1, "c")),
        waiting(2, demand(JobKind::Restore, 1, "a")),
        waiting(3, demand(JobKind::Backup, 2, "a")),
    ];
    let active = [
        demand(JobKind::Backup, 1, "a"),
        demand(JobKind::Backup, 1, "b"),
    ];
    let limits = Concurrency {
        per_agent: 2,
        ..WIDE
    };
    assert_eq!(chosen(&jobs, &active, limits), [2, 3]);
}

#[test]
fn only_one_job_may_create_a_repository_and_nobody_else_write_meanwhile() {
    let creating = Demand {
        creates: true,
        ..demand(JobKind::Backup, 1, "a")
    };
    let other = Demand {
        creates: true,
        ..demand(JobKind::Backup, 1, "b")
    };
    let jobs = [waiting(1, creating.clone()), waiting(2, other)];
    assert_eq!(chosen(&jobs, &[], WIDE), [1]);
    assert_eq!(chosen(&jobs[1..], &[creating], WIDE), [0u128; 0]);
}

#[test]
fn a_log_waits_for_nobody_and_a_backup_not_for_a_log() {
    let log = demand(JobKind::Wal, 1, "a");
    let none = Concurrency {
        global: 0,
        per_agent: 0,
        per_store: 0,
    };
    assert_eq!(chosen(&[waiting(1, log.clone())], &[], none), [1]);
    let backup = waiting(2, demand(JobKind::Backup, 1, "a"));
    assert_eq!(chosen(&[backup], &[log], WIDE), [2]);
    let creating = Demand {
        creates: true,
        ..demand(JobKind::Backup, 1, "b")
    };
    let log = Demand {
        creates: true,
        ..demand(JobKind::Wal, 1, "a")
    };
    assert_eq!(chosen(&[waiting(1, log)], &[creating], WIDE), [0u128; 0]);
}

#[test]
fn what_is_not_due_or_not_live_waits() {
    let mut later = waiting(1, demand(JobKind::Backup, 1, "a"));
    later.not_before = NOW + SignedDuration::from_secs(1);
    let away = waiting(2, demand(JobKind::Backup, 3, "a"));
    assert_eq!(chosen(&[later, away], &[], WIDE), [0u128; 0]);
}

fn demands() -> impl Strategy<Value = Demand> {
    let kind = prop::sample::select(JobKind::ALL);
    (kind, 1u8..4, 0u8..3, 0u8..2, any::<bool>()).prop_map(|(kind, on, dataset, store, creates)| {
        let store = format!("s{store}");
        Demand {
            repository: format!("{store}/{on}"),
            store,
            creates: creates && kind.writes(),
            ..demand(kind, on, &dataset.to_string())
        }
    })
}

fn problems() -> impl Strategy<Value = (Vec<Waiting>, Vec<Demand>, Concurrency)> {
    let limits =
        (0u32..6, 0u32..4, 0u32..5).prop_map(|(global, per_agent, per_store)| Concurrency {
            global,
            per_agent,
            per_store,
        });
    let jobs = prop::collection::vec((demands(), -1i64..=1), 0..20).prop_map(|demands| {
        let number = |(index, (demand, due)): (usize, (Demand, i64))| Waiting {
            not_before: NOW + SignedDuration::from_secs(due),
            ..waiting(index as u8 + 1, demand)
        };
        demands.into_iter().enumerate().map(number).collect()
    });
    (jobs, prop::collection::vec(demands(), 0..4), limits)
}

/// Whether one more job would break a rule, given what is at work.
fn breaks(new: &Demand, at_work: &[Demand], limits: Concurrency) -> bool {
    let same = |it: &Demand| counted_as(it.kind) == counted_as(new.kind);
    let same_kind = || at_work.iter().filter(|it| same(it));
    let on_agent = same_kind().filter(|it| it.agent == new.agent).count() as u32;
    if new.kind == JobKind::List {
        return on_agent >= LISTS_PER_AGENT;
    }
    let creating = |it: &Demand| {
        it.kind.writes() && it.repository == new.repository && (it.creates || new.creates)
    };
    if new.kind == JobKind::Wal {
        return at_work.iter().any(creating);
    }
    let with_store = same_kind().filter(|it| it.store == new.store).count() as u32;
    let meets = |it: &Demand| (same(it) && it.dataset == new.dataset) || creating(it);
    same_kind().count() as u32 >= limits.global
        || on_agent >= limits.per_agent
        || with_store >= limits.per_store
        || (new.kind.makes_snapshot() && at_work.iter().any(meets))
}

proptest! {
    #[test]
    fn no_rule_is_broken_and_nobody_waits_without_reason(
        (jobs, active, limits) in problems()
    ) {
        let agents = [live(1), live(2)];
        let assignments = plan(&jobs, &active, &agents, limits, NOW);
        let by_id: HashMap<_, _> = jobs.iter().map(|it| (it.job, it)).collect();
        let mut at_work = active.clone();
        let mut taken = HashSet::new();
        for Assignment { job, to } in &assignments {
            let job = by_id[job];
            prop_assert!(taken.insert(job.job), "each once");
            prop_assert!(job.not_before <= NOW);
            prop_assert_eq!(job.demand.agent, to.agent);
            prop_assert!(agents.contains(to));
            prop_assert!(!breaks(&job.demand, &at_work, limits), "{:?}", job);
            at_work.push(job.demand.clone());
        }
        for left in jobs.iter().filter(|it| !taken.contains(&it.job)) {
            let could = left.not_before <= NOW
                && agents.iter().any(|it| it.agent == left.demand.agent);
            prop_assert!(!could || breaks(&left.demand, &at_work, limits), "{:?}", left);
        }
    }
}
