//! The end of an attempt, as the agent reports it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::AttemptRef;
use strongroom_proto::v1;
use strongroom_spec::{Failure, FailureCode, MAX_WARNINGS, Outcome, RawPath, Warning};
use uuid::Uuid;

use crate::{
    InvalidMessage,
    field::{Reader, attempt_to_wire},
};

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The acknowledgement names it.
    pub report_id: Uuid,
    /// Which attempt.
    pub attempt: AttemptRef,
    /// What came of it.
    pub outcome: Result<Outcome, Failure>,
    /// The first [`MAX_WARNINGS`]; those that the policy accepts come last.
    pub warnings: Vec<Warning>,
    /// All of them but those that the policy accepts.
    pub warning_count: u64,
    /// Peak resident memory of the agent's process.
    pub peak_resident_bytes: u64,
    /// Wall time of the attempt on the agent.
    pub duration_ms: u64,
}

impl Report {
    /// Takes back what it says of the future, and of more time than has passed
    /// since the attempt was `begun`.
    pub fn no_later_than(&mut self, now: Timestamp, begun: Option<Timestamp>) {
        if let Ok(outcome) = &mut self.outcome
            && let Some(made) = outcome.made_mut()
        {
            made.no_later_than(now);
        }
        if let Some(begun) = begun {
            let passed = now.duration_since(begun).as_millis();
            self.duration_ms = self.duration_ms.min(u64::try_from(passed).unwrap_or(0));
        }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = InvalidMessage;

    fn try_from(value: v1::Report) -> Result<Self, InvalidMessage> {
        let read = Reader("Report");
        read.at_most("warnings", MAX_WARNINGS, &value.warnings)?;
        Ok(Self {
            report_id: read.uuid("report_id", &value.report_id)?,
            attempt: read.attempt("attempt", value.attempt)?,
            outcome: match read.required("outcome", value.outcome)? {
                v1::report::Outcome::Success(success) => outcome(&success),
                v1::report::Outcome::Failure(failed) => Err(failure(failed)),
            },
            warnings: value.warnings.into_iter().map(warning).collect(),
            warning_count: value.warning_count,
            peak_resident_bytes: value.peak_resident_bytes,
            duration_ms: value.duration_ms,
        })
    }
}

impl From<Report> for v1::Report {
    fn from(value: Report) -> Self {
        Self {
            report_id: value.report_id.to_string(),
            attempt: Some(attempt_to_wire(value.attempt)),
            outcome: Some(match value.outcome {
                Ok(outcome) => v1::report::Outcome::Success(v1::Success {
                    kind: outcome.kind().as_str().into(),
                    outcome: outcome.to_json(),
                }),
                Err(failure) => v1::report::Outcome::Failure(v1::Failure {
                    code: failure.code.as_str().into(),
                    message: failure.message,
                    retryable: failure.retryable,
                }),
            }),
            warnings: value.warnings.into_iter().map(warning_to_wire).collect(),
            warning_count: value.warning_count,
            peak_resident_bytes: value.peak_resident_bytes,
            duration_ms: value.duration_ms,
        }
    }
}

/// What came of it; of a version that says it differently, a failure that says so.
fn outcome(value: &v1::Success) -> Result<Outcome, Failure> {
    Outcome::from_json(&value.kind, &value.outcome).map_err(|unreadable| Failure {
        code: FailureCode::Version,
        message: format!(
            "the agent did its work, and what it says of it cannot be read: {unreadable}; update \
             the agent or the coordinator, whichever is the older"
        ),
        retryable: false,
    })
}

fn failure(value: v1::Failure) -> Failure {
    let mut codes = FailureCode::ALL.iter().copied();
    let known = codes.find(|code| code.as_str() == value.code);
    Failure {
        // Of an agent that knows more of them than this version.
        code: known.unwrap_or(FailureCode::Internal),
        message: match known {
            Some(_) => value.message,
            None => format!("{} ({:?})", value.message, value.code),
        },
        retryable: value.retryable,
    }
}

fn warning(value: v1::Warning) -> Warning {
    Warning {
        // Of an agent that knows more of them than this version.
        code: value.code.parse().unwrap_or_default(),
        path: RawPath(value.path),
        cause: value.cause,
        accepted: value.accepted,
    }
}

fn warning_to_wire(value: Warning) -> v1::Warning {
    v1::Warning {
        path: value.path.0,
        cause: value.cause,
        code: value.code.as_str().into(),
        accepted: value.accepted,
    }
}

#[cfg(test)]
mod tests {
    use strongroom_spec::WarningCode;

    use super::*;

    #[test]
    fn a_code_of_another_version_is_some_other() {
        let wire = v1::Warning {
            code: "of-tomorrow".into(),
            ..v1::Warning::default()
        };
        assert_eq!(warning(wire).code, WarningCode::Other);
    }
}
