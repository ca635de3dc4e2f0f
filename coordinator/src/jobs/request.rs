//! Jobs as they are asked for.

use std::num::NonZeroU64;

use strongroom_spec::{
    BackupSpec, DownloadSpec, JobSpec, ListSpec, RestoreSpec, Source, UploadSpec, WalMethod,
    WalSpec,
};

use crate::{
    model::{
        Actor, Agent, DatasetName, Job, JobLimits, NewJob, Repository, SAFETY_POLICY, Snapshot,
    },
    policy::{Policy, PolicyLimits, Span},
};

/// Attempts of a transfer that may fail before it does: somebody waits, and an
/// agent that restarts should not cost them their time.
const TRANSFER_ATTEMPTS: u32 = 3;

/// Attempts at dropping a slot: its server may be down for a while.
const FORGET_ATTEMPTS: u32 = 10;

/// A backup of a policy's source on one of its agents.
pub fn backup(policy: &Policy, agent: &Agent, requested_by: Actor) -> NewJob {
    let dataset = DatasetName::new(&policy.name, &agent.name);
    NewJob {
        agent: agent.id,
        store: policy.store.clone(),
        repository: Repository::name_of(&policy.store, &agent.name),
        spec: JobSpec::Backup(BackupSpec {
            dataset: dataset.to_string(),
            source: policy.source.clone(),
            parent: None,
            tags: [format!("policy:{}", policy.name)]
                .into_iter()
                .chain(tags(&dataset, policy.source.kind().as_str()))
                .collect(),
        }),
        limits: limits(policy),
        after: None,
        trace: None,
        requested_by,
        idempotency_key: None,
        dataset: Some(dataset),
    }
}

/// What tells a snapshot apart for whoever has nothing but restic: tags that
/// `restic snapshots --tag` and `restic restore latest --tag` take. Neither
/// names of datasets nor words for sources have a comma, which restic would
/// split them at.
pub fn tags(dataset: &DatasetName, source: &str) -> [String; 2] {
    [format!("dataset:{dataset}"), format!("source:{source}")]
}

/// The archiving of a log. It goes on until it is not wanted any more, whatever
/// fails meanwhile.
pub fn wal(policy: &Policy, agent: &Agent, work: WalSpec) -> NewJob {
    NewJob {
        limits: JobLimits {
            new_data: policy.limits.new_data(),
            resources: policy.limits.resources(),
            accept: policy.accept.clone(),
            ..JobLimits::default()
        },
        ..wal_of(agent, &policy.store, work)
    }
}

/// The end of archiving: drops what kept the log on the server.
pub fn forget_wal(agent: &Agent, last: &Job, work: &WalSpec, slot: &str) -> NewJob {
    let work = WalSpec {
        method: WalMethod::Forget {
            slot: slot.to_owned(),
        },
        ..work.clone()
    };
    NewJob {
        limits: JobLimits {
            max_attempts: FORGET_ATTEMPTS,
            ..JobLimits::default()
        },
        ..wal_of(agent, &last.store, work)
    }
}

fn wal_of(agent: &Agent, store: &str, work: WalSpec) -> NewJob {
    NewJob {
        dataset: work.dataset.parse().ok(),
        agent: agent.id,
        store: store.to_owned(),
        repository: Repository::name_of(store, &agent.name),
        spec: JobSpec::Wal(work),
        limits: JobLimits::default(),
        after: None,
        trace: None,
        requested_by: Actor::Coordinator,
        idempotency_key: None,
    }
}

/// Those of a policy's backups.
pub fn limits(policy: &Policy) -> JobLimits {
    JobLimits {
        timeout_seconds: policy.limits.timeout.map(Span::seconds),
        max_attempts: policy.limits.attempts,
        new_data: policy.limits.new_data(),
        resources: policy.limits.resources(),
        accept: policy.accept.clone(),
    }
}

/// A restore of a snapshot onto an agent, which need not be the one that took
/// it. `store` is that of the snapshot's repository, `limits` are those of the
/// policy that made it, if that is still there: what they say of the host
/// holds, but an attempt at a restore has no timeout.
pub fn restore(
    snapshot: &Snapshot,
    store: &str,
    agent: &Agent,
    limits: Option<&PolicyLimits>,
    spec: RestoreSpec,
    requested_by: Actor,
) -> NewJob {
    let limits = JobLimits {
        resources: limits.map(PolicyLimits::resources).unwrap_or_default(),
        ..JobLimits::default()
    };
    NewJob {
        limits,
        ..reading(snapshot, store, agent, spec.into(), requested_by)
    }
}

/// The backup of what a restore is about to replace, into the agent's own
/// repository in `store`. It belongs to no policy, so that no dataset's health
/// depends on it.
pub fn safety_backup(
    source: Source,
    store: &str,
    agent: &Agent,
    limits: Option<&PolicyLimits>,
    requested_by: Actor,
) -> NewJob {
    let dataset = DatasetName::new(SAFETY_POLICY, &agent.name);
    NewJob {
        agent: agent.id,
        store: store.into(),
        repository: Repository::name_of(store, &agent.name),
        spec: JobSpec::Backup(BackupSpec {
            dataset: dataset.to_string(),
            tags: ["safety".to_owned()]
                .into_iter()
                .chain(tags(&dataset, source.kind().as_str()))
                .collect(),
            source,
            parent: None,
        }),
        limits: JobLimits {
            new_data: limits.and_then(PolicyLimits::new_data),
            resources: limits.map(PolicyLimits::resources).unwrap_or_default(),
            ..JobLimits::default()
        },
        after: None,
        trace: None,
        requested_by,
        idempotency_key: None,
        dataset: Some(dataset),
    }
}

/// What an operator uploaded, `sent` bytes, into the agent's own repository.
pub fn upload(
    repository: &Repository,
    agent: &Agent,
    spec: UploadSpec,
    sent: u64,
    requested_by: Actor,
) -> NewJob {
    let dataset = spec.dataset.parse().ok();
    NewJob {
        agent: agent.id,
        store: repository.store.clone(),
        repository: repository.name.clone(),
        spec: spec.into(),
        limits: JobLimits {
            max_attempts: TRANSFER_ATTEMPTS,
            // What is unpacked is compressed again. The rest is for the trees of
            // many small files and for what a failed attempt has written.
            new_data: NonZeroU64::new(sent.saturating_mul(4).saturating_add(1 << 30)),
            ..JobLimits::default()
        },
        after: None,
        trace: None,
        requested_by,
        idempotency_key: None,
        dataset,
    }
}

/// A part of a snapshot for an operator.
pub fn download(
    snapshot: &Snapshot,
    store: &str,
    agent: &Agent,
    spec: DownloadSpec,
    requested_by: Actor,
) -> NewJob {
    NewJob {
        limits: JobLimits {
            max_attempts: TRANSFER_ATTEMPTS,
            ..JobLimits::default()
        },
        ..reading(snapshot, store, agent, spec.into(), requested_by)
    }
}

/// A listing of a snapshot by an agent.
pub fn list(
    snapshot: &Snapshot,
    store: &str,
    agent: &Agent,
    spec: ListSpec,
    requested_by: Actor,
) -> NewJob {
    reading(snapshot, store, agent, spec.into(), requested_by)
}

fn reading(
    snapshot: &Snapshot,
    store: &str,
    agent: &Agent,
    spec: JobSpec,
    requested_by: Actor,
) -> NewJob {
    NewJob {
        dataset: Some(snapshot.dataset.clone()),
        agent: agent.id,
        store: store.into(),
        repository: snapshot.repository.clone(),
        spec,
        limits: JobLimits::default(),
        after: None,
        trace: None,
        requested_by,
        idempotency_key: None,
    }
}
