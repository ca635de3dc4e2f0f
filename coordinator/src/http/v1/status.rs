//! `GET /status`

use axum::{Json, extract::State};

use jiff::Timestamp;
use strongroom_spec::{JobKind, PostgresSource, Source};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{agents, jobs, policies, recovery, stores};

use crate::{
    catalog::JobFilter,
    http::{
        auth::Caller,
        dto::{AgentClock, ContestedAgent, Counts, DatasetStatus, LossStatus, Status},
        problem::Problem,
        state::{ApiState, SharedState},
    },
    model::{Agent, Job, Snapshot, StateWord},
    policy::{Dataset, Policy},
};

/// Dry runs among the last restores are passed over; more than this many of
/// them hide an older restore.
const RESTORES_LOOKED_AT: u32 = 20;

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new().routes(routes!(show_status))
}

/// Everything at a glance.
///
/// What there is, and how old the last backup and the last restore of every dataset
/// are.
#[utoipa::path(get, path = "/status", tag = "coordinator", responses(
    (status = 200, body = Status, description = "The coordinator at a glance"),
))]
pub async fn show_status(
    _caller: Caller,
    State(state): State<SharedState>,
) -> Result<Json<Status>, Problem> {
    let mut latest = state.catalog.latest_snapshots().await?;
    let whole = state.catalog.latest_whole().await?;
    let mut datasets = Vec::new();
    let known = state.catalog.datasets().await?;
    let clusters = known.iter().filter(|it| is_cluster(&it.policy));
    let names: Vec<_> = clusters.map(|it| it.name.clone()).collect();
    let recovery = recovery::of_datasets(&state.catalog, names).await?;
    for dataset in known {
        let latest = latest.remove(&dataset.name);
        let whole = whole.get(&dataset.name).copied();
        datasets.push(dataset_status(&state, dataset, latest, whole).await?);
    }
    let agents = state.catalog.agents().await?;
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        started_at: state.started_at,
        counts: counts(&state, &agents).await?,
        clocks: clocks(&state, &agents),
        contested: contested(agents),
        losses: losses(&state).await?,
        datasets,
        recovery,
        stores: stores::statuses(&state.checked),
    }))
}

fn is_cluster(policy: &Policy) -> bool {
    matches!(policy.source, Source::Postgres(PostgresSource::Physical(_)))
}

fn clocks(state: &ApiState, agents: &[Agent]) -> Vec<AgentClock> {
    let active = agents.iter().filter(|agent| agent.is_active());
    let wrong = active.filter_map(|agent| {
        let skew = state.live.skew(agent.id).filter(|it| it.matters())?;
        Some(AgentClock {
            agent: agent.name.clone(),
            skew_seconds: skew.0.as_secs(),
        })
    });
    wrong.collect()
}

fn contested(agents: Vec<Agent>) -> Vec<ContestedAgent> {
    let active = agents.into_iter().filter(Agent::is_active);
    let contested = active.filter_map(|agent| {
        let contest = agents::contest(agent.contest?);
        Some(ContestedAgent {
            agent: agent.name,
            contest,
        })
    });
    contested.collect()
}

async fn losses(state: &ApiState) -> Result<Vec<LossStatus>, Problem> {
    let alarms = state.catalog.loss_alarms().await?;
    let losses = alarms.into_iter().map(|alarm| LossStatus {
        repository: alarm.repository,
        objects: alarm.objects,
        snapshots: alarm.snapshots,
        since: alarm.since,
    });
    Ok(losses.collect())
}

async fn counts(state: &ApiState, agents: &[Agent]) -> Result<Counts, Problem> {
    let active = agents.iter().filter(|agent| agent.is_active());
    let presence = state.presence().await?;
    let connected = active
        .clone()
        .filter(|agent| presence.is_connected(agent.id));
    let figures = state.catalog.figures().await?;
    Ok(Counts {
        agents: active.count() as u64,
        agents_connected: connected.count() as u64,
        policies: state.catalog.policies().await?.len() as u64,
        jobs_pending: figures.jobs_pending,
        jobs_running: figures.jobs_running,
        snapshots: figures.snapshots,
    })
}

async fn dataset_status(
    state: &ApiState,
    dataset: Dataset,
    latest: Option<Snapshot>,
    whole: Option<Timestamp>,
) -> Result<DatasetStatus, Problem> {
    let now = state.catalog.clock().now();
    let of_dataset = |kind, state_word| JobFilter {
        kind: Some(kind),
        state: state_word,
        dataset: Some(dataset.name.clone()),
        ..JobFilter::default()
    };
    let last_job = state
        .catalog
        .jobs(&of_dataset(JobKind::Backup, None), 1)
        .await?
        .items
        .pop();
    let restores = state
        .catalog
        .jobs(
            &of_dataset(JobKind::Restore, Some(StateWord::Succeeded)),
            RESTORES_LOOKED_AT,
        )
        .await?
        .items;
    // A dry run proves nothing.
    let last_restore = restores.iter().find(|job| job.spec.facts().restores);
    Ok(DatasetStatus {
        dataset: dataset.name.to_string(),
        last_snapshot: latest.as_ref().map(|it| it.id.to_string()),
        last_snapshot_at: latest.as_ref().map(|it| it.time),
        last_whole_snapshot_at: whole,
        last_job_state: last_job.as_ref().map(|job| jobs::word(job.state.word())),
        warning_count: last_job.as_ref().map_or(0, |job| job.warning_count),
        alarm: last_job.as_ref().and_then(|job| job.alarm.clone()),
        last_job: last_job.map(|job| job.id.to_string()),
        last_restore_at: last_restore.and_then(Job::finished_at),
        next_run_at: policies::next_run(&dataset, now),
    })
}
