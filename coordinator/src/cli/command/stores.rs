//! `strongroom stores …`

use jiff::Timestamp;

use super::Context;
use crate::{
    cli::{
        args::StoresCommand,
        error::{CliError, Exit},
        render::{Table, fields, format, job::store_outage},
    },
    http::dto::{Store, StoreState, Stores},
};

pub(super) async fn run(context: &Context, command: StoresCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        StoresCommand::List => {
            let stores: Stores = client.all(&["stores"]).await?;
            context.renderer.show(&stores, |stores| list(stores, now))?;
            Ok(Exit::Done)
        }
        StoresCommand::Check { store } => {
            let store: Store = client.post(&["stores", &store, "check"], &()).await?;
            context.renderer.show(&store, |store| one(store, now))?;
            Ok(exit_of(&store))
        }
    }
}

fn exit_of(store: &Store) -> Exit {
    match (store.state, &store.problem) {
        (StoreState::Safe, None) => Exit::Done,
        (StoreState::RiskAccepted, None) => Exit::Warnings,
        _ => Exit::Failed,
    }
}

pub(super) fn list(stores: &Stores, now: Timestamp) -> String {
    let mut table = Table::new(
        "no stores: coordinator.toml names them",
        &["name", "state", "checked", "endpoint", "bucket", "risks"],
    );
    for store in &stores.stores {
        table.row(&[
            store.name.clone(),
            store.state.to_string(),
            format::distance(store.checked_at, now),
            store.endpoint.clone(),
            store.bucket.clone(),
            risks(&store.risks),
        ]);
    }
    let problems = stores
        .stores
        .iter()
        .filter_map(|it| it.problem.as_ref().zip(Some(it)));
    problems.fold(table.render(), |text, (problem, store)| {
        let name = format::printable(&store.name);
        format!("{text}\n\nstore {name}: {}", format::printable(problem))
    })
}

pub(super) fn one(store: &Store, now: Timestamp) -> String {
    let mut rows = vec![
        ("store", store.name.clone()),
        ("state", store.state.to_string()),
        (
            "checked",
            format::moment_and_distance(store.checked_at, now),
        ),
        ("accepts", risks(&store.risks)),
        ("accept_risks", risks(&store.accepted_risks)),
    ];
    rows.extend(store.problem.clone().map(|problem| ("problem", problem)));
    rows.extend(
        store
            .outage
            .as_ref()
            .map(|it| ("away", store_outage(it, now))),
    );
    let mut table = Table::new(
        "nothing was tried yet",
        &["forged", "verdict", "decides", "the store's answer"],
    );
    for finding in &store.findings {
        table.row(&[
            finding.probe.clone(),
            finding.verdict.clone(),
            finding.risk.clone().unwrap_or_else(format::dash),
            finding.answer.clone(),
        ]);
    }
    format!("{}\n{}", fields(rows), table.render())
}

fn risks(risks: &[String]) -> String {
    match risks {
        [] => format::dash(),
        some => some.join(", "),
    }
}
