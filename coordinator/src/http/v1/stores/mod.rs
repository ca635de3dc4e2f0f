//! Stores.

pub mod check;
pub mod list;
pub mod show;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        dto::{Store, StoreFinding, StoreOutage, StoreState, StoreStatus},
        problem::Problem,
        state::{ApiState, SharedState},
    },
    stores::{self, NotSigned, Risk, Standing, Stores},
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_stores))
        .routes(routes!(show::show_store))
        .routes(routes!(check::check_store))
}

fn find<'a>(state: &'a ApiState, name: &str) -> Result<&'a stores::Store, Problem> {
    let store = state.checked.get(name);
    store.ok_or_else(|| Problem::not_found("store", name, "stores list"))
}

fn shape(store: &stores::Store) -> Store {
    let config = store.client.config();
    let standing = store.standing();
    let (state, problem) = judged(config, &standing);
    let report = standing.report.as_ref();
    let words = |risk: Risk| risk.to_string();
    let findings = report.map(|report| &report.findings[..]);
    Store {
        name: config.name.clone(),
        endpoint: config.endpoint.as_str().trim_end_matches('/').to_owned(),
        bucket: config.bucket.clone(),
        prefix: config.prefix.clone(),
        state,
        checked_at: report.map(|report| report.at),
        problem,
        outage: store.outage().map(outage),
        risks: report.map_or_else(Vec::new, |report| {
            report.risks().into_iter().map(words).collect()
        }),
        accepted_risks: config.accept_risks.iter().copied().map(words).collect(),
        findings: findings.unwrap_or_default().iter().map(finding).collect(),
    }
}

pub(super) fn outage(outage: stores::Outage) -> StoreOutage {
    StoreOutage {
        since: outage.since,
        until: outage.until,
        problem: outage.problem,
    }
}

fn finding(finding: &stores::Finding) -> StoreFinding {
    StoreFinding {
        probe: finding.probe.to_string(),
        risk: finding.probe.risk().map(|risk| risk.to_string()),
        verdict: finding.verdict.as_str().to_owned(),
        answer: finding.answer.clone(),
    }
}

/// Whether anything is signed, and what is wrong.
fn judged(config: &stores::StoreConfig, standing: &Standing) -> (StoreState, Option<String>) {
    match standing.trusted(&config.name, &config.accept_risks) {
        Ok(report) if report.risks().is_empty() => (StoreState::Safe, standing.problem.clone()),
        Ok(_) => (StoreState::RiskAccepted, standing.problem.clone()),
        Err(error) => {
            let state = match error {
                NotSigned::Unchecked { .. } => StoreState::Unchecked,
                NotSigned::Unsafe { .. } => StoreState::Unsafe,
            };
            (state, Some(error.nameless()))
        }
    }
}

/// Every store in a line.
pub(super) fn statuses(stores: &Stores) -> Vec<StoreStatus> {
    let status = |(name, store): (&str, &stores::Store)| {
        let (state, problem) = judged(store.client.config(), &store.standing());
        StoreStatus {
            name: name.to_owned(),
            state,
            problem,
            outage: store.outage().map(outage),
        }
    };
    stores.iter().map(status).collect()
}
