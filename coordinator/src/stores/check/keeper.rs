//! Checks every store when the coordinator starts, when somebody asks, and each
//! day: a store may be upgraded.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::future;
use strongroom_runtime::backoff::Backoff;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Store, Stores},
    Report, Standing, Verdict,
};
use crate::{
    catalog::Catalog,
    model::{Actor, AuditOutcome, NewAudit},
};

/// After a check that was made to its end.
const AGAIN: Duration = Duration::from_hours(24);
/// After one that was not, at first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// How long whoever wants a signature waits for a check.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is known of one store, and how to ask for more.
#[derive(Debug, Default)]
pub(in crate::stores) struct Gate {
    state: watch::Sender<State>,
    asked: AtomicU64,
    wake: Notify,
}

#[derive(Debug, Clone, Default)]
struct State {
    standing: Standing,
    /// Of the questions that [`Gate::ask`] numbered, those up to this one are
    /// answered by a check that began after them.
    answered: u64,
    /// Checks that have ended, one way or the other.
    ended: u64,
}

impl Gate {
    /// What is known now.
    pub(in crate::stores) fn standing(&self) -> Standing {
        self.state.borrow().standing.clone()
    }

    /// What `judge` makes of what is known now.
    pub(in crate::stores) fn judge<T>(&self, judge: impl FnOnce(&Standing) -> T) -> T {
        judge(&self.state.borrow().standing)
    }

    /// Waits for a check that begins now or later; `false`: it took too long.
    pub(in crate::stores) async fn ask(&self, patience: Duration) -> bool {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        let mut state = self.state.subscribe();
        let answered = state.wait_for(|state| state.answered >= number);
        matches!(tokio::time::timeout(patience, answered).await, Ok(Ok(_)))
    }

    /// If nothing is known yet, waits for the next check to end.
    pub(in crate::stores) async fn wait_for_a_first(&self) {
        let mut state = self.state.subscribe();
        let known = |state: &State| state.standing.report.is_some();
        let seen = {
            let state = state.borrow_and_update();
            if known(&state) {
                return;
            }
            state.ended
        };
        self.wake.notify_one();
        let next = state.wait_for(|state| known(state) || state.ended > seen);
        // Whatever came of it is judged by the caller.
        let _ = tokio::time::timeout(PATIENCE, next).await;
    }

    /// Whether somebody waits for a check that has not begun.
    fn is_wanted(&self) -> bool {
        let state = self.state.borrow();
        state.standing.report.is_none() || self.asked.load(Ordering::SeqCst) > state.answered
    }

    fn publish(&self, answered: u64, outcome: Result<Report, String>) -> Standing {
        let mut after = Standing::default();
        self.state.send_modify(|state| {
            let before = std::mem::take(&mut state.standing);
            state.standing = before.after(outcome);
            state.answered = answered;
            state.ended += 1;
            after = state.standing.clone();
        });
        after
    }
}

/// Checks the stores until `cancel`.
pub(crate) async fn keep(stores: Stores, catalog: Catalog, cancel: CancellationToken) {
    let each = stores
        .iter()
        .map(|(name, store)| keep_one(name, store, &catalog, &cancel));
    future::join_all(each).await;
}

async fn keep_one(name: &str, store: &Store, catalog: &Catalog, cancel: &CancellationToken) {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    while !cancel.is_cancelled() {
        let whole = check_once(name, store, catalog, cancel).await;
        let wait = if whole {
            backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
            AGAIN
        } else {
            backoff.next_random()
        };
        let mut over = pin!(sleep(wait));
        loop {
            tokio::select! {
                () = over.as_mut() => break,
                () = store.gate.wake.notified() => if store.gate.is_wanted() { break },
                () = cancel.cancelled() => return,
            }
        }
    }
}

/// Whether the check was made to its end.
async fn check_once(
    name: &str,
    store: &Store,
    catalog: &Catalog,
    cancel: &CancellationToken,
) -> bool {
    let before = store.gate.standing();
    let answers = store.gate.asked.load(Ordering::SeqCst);
    let outcome = super::check(store, cancel).await;
    if cancel.is_cancelled() {
        return false;
    }
    let after = store
        .gate
        .publish(answers, outcome.map_err(|error| error.nameless()));
    if let (None, Some(report)) = (&before.report, &after.report) {
        let clock = match report.skew.map(|skew| skew.as_secs()) {
            None => "not known".to_owned(),
            Some(seconds @ ..0) => format!("{} s ahead of this host's", seconds.unsigned_abs()),
            Some(seconds) => format!("{seconds} s behind this host's"),
        };
        tracing::info!(
            store = store.client.config().describe(),
            clock,
            "a store was tried"
        );
    }
    tell(name, store, &after);
    if let Some(entry) = audit(name, store, &before, &after)
        && let Err(error) = catalog.audit(entry).await
    {
        tracing::error!(%error, store = name, "what a check found could not be audited");
    }
    after.problem.is_none()
}

fn tell(name: &str, store: &Store, standing: &Standing) {
    let accepted = &store.client.config().accept_risks;
    if let Some(problem) = &standing.problem {
        // Certificates and signatures are refused when it is wrong.
        let clock = store.client.clock().now();
        tracing::warn!(
            store = name,
            problem,
            %clock,
            "a store could not be checked; trying again"
        );
    }
    match standing.trusted(name, accepted) {
        Ok(report) => {
            for finding in &report.findings {
                if finding.verdict == Verdict::Accepted {
                    let (probe, answer) = (finding.probe, &finding.answer);
                    tracing::warn!(store = name, %probe, answer, "the store accepts this");
                }
            }
        }
        Err(error) if standing.report.is_some() => tracing::error!("{error}"),
        Err(_) => {}
    }
}

/// What a check that found something new writes into the audit log.
fn audit(name: &str, store: &Store, before: &Standing, after: &Standing) -> Option<NewAudit> {
    let report = after.report.as_ref()?;
    let risks = report.risks();
    let news = match &before.report {
        Some(before) => before.risks() != risks,
        None => !risks.is_empty(),
    };
    if !news {
        return None;
    }
    let open = after.open_risks(&store.client.config().accept_risks);
    let outcome = if open.is_empty() {
        AuditOutcome::Ok
    } else {
        AuditOutcome::Failed
    };
    let entry = NewAudit::ok(Actor::Coordinator, "store.check", name)
        .outcome(outcome)
        .detail(serde_json::json!({ "risks": risks, "not_accepted": open }));
    Some(entry)
}
