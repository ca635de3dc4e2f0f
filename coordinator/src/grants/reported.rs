//! Looks for what an agent says it has written.

use strongroom_layout::{AgentId, AttemptRef, ObjectId, ObjectName};
use strongroom_spec::{Failure, FailureCode, Outcome};
use strongroom_wire::job::Report;

use super::{GrantError, Grants, service::own_repository};

/// A report, and whether it was compared with the store.
#[derive(Debug, Clone)]
pub struct BorneOut {
    /// As far as it is true.
    pub report: Report,
    /// `false`: its attempt was not at work, so that nobody looked.
    pub seen: bool,
}

impl BorneOut {
    fn seen(report: Report) -> Self {
        Self { report, seen: true }
    }
}

impl Grants {
    /// The end of an attempt is entered: what was kept for its report may go.
    pub fn forget_lost_lease(&self, attempt: AttemptRef) {
        self.ran_out.lock().remove(&attempt);
    }

    /// The report as far as the store bears it out: a success with a snapshot that
    /// is not there becomes a failure. An error means that nobody can tell now. A
    /// failure because of our own refusal is a lost lease when that was the reason.
    pub async fn borne_out(
        &self,
        agent: AgentId,
        mut report: Report,
    ) -> Result<BorneOut, GrantError> {
        if let Err(failure) = &mut report.outcome
            && failure.code == FailureCode::Refused
            && self.ran_out.lock().contains(&report.attempt)
        {
            failure.code = FailureCode::Fenced;
            failure.retryable = true;
        }
        let made = report.outcome.as_ref().ok().and_then(Outcome::made);
        let Some(id) = made.map(|made| made.snapshot) else {
            return Ok(BorneOut::seen(report));
        };
        let state = self.catalog().attempt_state(report.attempt).await?;
        let at_work = state.as_ref().filter(|state| {
            state.attempt.attempt == state.current_attempt && state.lease_expires.is_some()
        });
        let Some(repository) = own_repository(at_work, agent) else {
            // The catalog takes no such report, unless the attempt begins before it
            // is entered.
            return Ok(BorneOut {
                report,
                seen: false,
            });
        };
        let store = self.store(repository)?;
        let name = ObjectName::snapshot(id);
        let found = store.client.size(&repository.prefix, name).await?;
        if found.is_none() {
            // A bucket that is gone for a while answers alike.
            store.client.probe().await?;
        }
        let known = self
            .catalog()
            .known_objects(&repository.name, &[name])
            .await?;
        let announced = known.first().map(|row| row.length);
        report.outcome = match found {
            None => Err(missing(id, "does not hold it")),
            Some(found) if announced.is_some_and(|it| it != found) => {
                Err(missing(id, "holds another object under its name"))
            }
            Some(_) => return Ok(BorneOut::seen(report)),
        };
        Ok(BorneOut::seen(report))
    }
}

fn missing(id: ObjectId, problem: &str) -> Failure {
    Failure {
        code: FailureCode::NotFound,
        message: format!(
            "the agent reported that it has written snapshot {}, but the store {problem}: nothing \
             was backed up",
            id.short()
        ),
        retryable: true,
    }
}
