//! `POST /stores/{store}/check`

use std::time::Duration;

use axum::{Json, extract::State};

use crate::{
    http::{
        auth::Caller,
        dto::{Store, StoreState},
        extract::Segment,
        problem::{Code, Problem},
        state::SharedState,
    },
    model::{AuditOutcome, NewAudit},
};

/// A check that is under way, the one that was asked for, and the cleaning after
/// each; clients wait for two minutes.
const PATIENCE: Duration = Duration::from_secs(110);

/// Forges requests to the store, and tells what came of each.
///
/// They are made from grants of the coordinator's own. From then on the outcome decides whether anything is signed
/// for the store.
#[utoipa::path(post, path = "/stores/{store}/check", tag = "stores",
    params(("store" = String, Path, description = "Its name")),
    responses(
        (status = 200, body = Store, description = "The store, and what the check found"),
))]
pub async fn check_store(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(name): Segment,
) -> Result<Json<Store>, Problem> {
    let store = super::find(&state, &name)?;
    let answered = tokio::select! {
        answered = store.check(PATIENCE) => answered,
        () = state.shutdown.cancelled() => false,
    };
    if !answered {
        let message = format!("the check of store {name:?} has not ended yet");
        return Err(Problem::new(Code::Unavailable, message)
            .hint("it goes on: `strongroom stores list` shows what it finds"));
    }
    let shape = super::shape(store);
    let outcome = match shape.state {
        StoreState::Safe | StoreState::RiskAccepted if shape.problem.is_none() => AuditOutcome::Ok,
        _ => AuditOutcome::Failed,
    };
    let entry = NewAudit::ok(caller.actor, "store.check", &name)
        .outcome(outcome)
        .detail(serde_json::json!({ "risks": shape.risks, "problem": shape.problem }));
    state.catalog.audit(entry).await?;
    Ok(Json(shape))
}
