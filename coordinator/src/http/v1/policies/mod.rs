//! Policies.

pub mod apply;
pub mod delete;
pub mod list;
pub mod run;
pub mod show;

use jiff::Timestamp;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    catalog::StoredPolicy,
    http::{
        dto::{AgentRef, Policy},
        problem::Problem,
        state::SharedState,
        v1::limits,
    },
    jobs::request,
    policy::{self, Dataset, Preset, Schedule},
    schedule,
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_policies))
        .routes(routes!(apply::apply_policies))
        .routes(routes!(show::show_policy, delete::delete_policy))
        .routes(routes!(run::run_policy))
}

/// As the API shows a policy; `datasets` are those of all policies.
fn shape(stored: StoredPolicy, datasets: &[Dataset], now: Timestamp) -> Result<Policy, Problem> {
    let own = || {
        datasets
            .iter()
            .filter(|it| it.name.policy == stored.policy.name)
    };
    Ok(Policy {
        agents: own().map(|it| agent_ref(&it.agent)).collect(),
        next_run_at: own().filter_map(|it| next_run(it, now)).min(),
        toml: policy_file(&stored.policy)?,
        limits: limits::shape(&request::limits(&stored.policy)),
        source: stored.policy.source.kind().to_string(),
        schedule: stored.policy.schedule.as_ref().map(schedule_words),
        store: stored.policy.store,
        name: stored.policy.name,
        revision: stored.revision,
        updated_at: stored.updated_at,
    })
}

fn agent_ref(agent: &crate::model::Agent) -> AgentRef {
    AgentRef {
        id: agent.id.to_string(),
        name: agent.name.clone(),
    }
}

/// When the scheduler makes the dataset's next job.
pub(super) fn next_run(dataset: &Dataset, now: Timestamp) -> Option<Timestamp> {
    schedule::next_run(dataset, now).map(|due| due.at.max(now))
}

/// A policy file with this policy alone: what `apply` would take.
fn policy_file(policy: &policy::Policy) -> Result<String, Problem> {
    #[derive(Serialize)]
    struct File<'a> {
        policy: [&'a policy::Policy; 1],
    }
    toml::to_string(&File { policy: [policy] }).map_err(|error| Problem::internal(&error))
}

/// `daily`, or `0 2 * * * Europe/Berlin +10m`.
fn schedule_words(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Preset(Preset::Hourly) => "hourly".into(),
        Schedule::Preset(Preset::Daily) => "daily".into(),
        Schedule::Preset(Preset::Weekly) => "weekly".into(),
        Schedule::Preset(Preset::Monthly) => "monthly".into(),
        Schedule::Cron(cron) => {
            let jitter = cron.jitter.map(|span| format!(" +{span}"));
            format!(
                "{} {}{}",
                cron.cron,
                cron.timezone,
                jitter.unwrap_or_default()
            )
        }
    }
}
