//! Reports on their way into the catalog.
//!
//! A success is entered once the store has been asked for the snapshot. While the
//! store does not answer, the report waits here and its attempt keeps its lease:
//! the agent has done its part, and is not acknowledged yet, so that it says it
//! again should this session or coordinator end.

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use strongroom_layout::{AgentId, AttemptRef};
use strongroom_spec::{Failure, FailureCode};
use strongroom_wire::job::Report;
use uuid::Uuid;

use crate::{
    catalog::CatalogError,
    grants::{BorneOut, GrantError, Grants},
};

/// A store that did not answer is asked again so often.
const AGAIN: Duration = Duration::from_secs(5);
/// For one answer of a store.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reports of one agent that wait at a time: far more than it has jobs.
const MAX_WAITING: usize = 256;

/// The reports of one session that wait for a store.
#[derive(Default)]
pub(super) struct Reports {
    under_way: FuturesUnordered<BoxFuture<'static, Result<BorneOut, CatalogError>>>,
    attempts: HashMap<Uuid, AttemptRef>,
}

impl Reports {
    /// Takes a report. `false`: there are too many already.
    pub(super) fn take(&mut self, grants: &Arc<Grants>, agent: AgentId, report: Report) -> bool {
        if self.attempts.contains_key(&report.report_id) {
            return true;
        }
        if self.attempts.len() >= MAX_WAITING {
            return false;
        }
        self.attempts.insert(report.report_id, report.attempt);
        let checked = check(Arc::clone(grants), agent, report);
        self.under_way.push(checked.boxed());
        true
    }

    /// The next report that may be entered; waits for ever while there is none.
    pub(super) async fn next(&mut self) -> Result<BorneOut, CatalogError> {
        let Some(looked) = self.under_way.next().await else {
            return pending().await;
        };
        if let Ok(looked) = &looked {
            self.attempts.remove(&looked.report.report_id);
        }
        looked
    }

    /// The attempts whose reports wait.
    pub(super) fn attempts(&self) -> impl Iterator<Item = AttemptRef> {
        self.attempts.values().copied()
    }
}

async fn check(
    grants: Arc<Grants>,
    agent: AgentId,
    report: Report,
) -> Result<BorneOut, CatalogError> {
    loop {
        let looked = grants.borne_out(agent, report.clone());
        let problem = match tokio::time::timeout(PATIENCE, looked).await {
            Ok(Ok(looked)) => return Ok(looked),
            Ok(Err(GrantError::Catalog(error))) => return Err(error),
            Ok(Err(error @ GrantError::NoStore { .. })) => {
                let outcome = Err(Failure {
                    code: FailureCode::Store,
                    message: error.to_string(),
                    retryable: false,
                });
                return Ok(BorneOut {
                    report: Report { outcome, ..report },
                    seen: true,
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(
            attempt = %report.attempt,
            problem,
            "cannot look for a reported snapshot: the report waits"
        );
        tokio::time::sleep(AGAIN).await;
    }
}
