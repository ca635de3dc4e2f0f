//! Why an attempt had to end before its work was done.

use strongroom_spec::{Failure, FailureCode};

/// Why an attempt had to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// An operator, or the coordinator on behalf of one.
    Cancelled {
        /// For people.
        reason: String,
    },
    /// The coordinator gave the job up, or to another attempt.
    Fenced,
    /// It took longer than its policy allows.
    Timeout {
        /// What the policy allows.
        seconds: u32,
    },
    /// The agent ends.
    Shutdown,
    /// The agent may not serve this coordinator any more.
    Dismissed,
}

impl Stop {
    /// As it is reported.
    pub fn failure(&self) -> Failure {
        let (code, message, retryable) = match self {
            Self::Cancelled { reason } if reason.is_empty() => {
                (FailureCode::Cancelled, "cancelled".to_owned(), false)
            }
            Self::Cancelled { reason } => (
                FailureCode::Cancelled,
                format!("cancelled: {reason}"),
                false,
            ),
            Self::Fenced => (
                FailureCode::Fenced,
                "the coordinator ended this attempt's lease: the agent was out of reach for \
                 too long, or a newer attempt has begun"
                    .to_owned(),
                true,
            ),
            Self::Timeout { seconds } => (
                FailureCode::Timeout,
                format!(
                    "not done within the timeout of {seconds} s: raise limits.timeout in the \
                     policy, or back up less at a time"
                ),
                true,
            ),
            Self::Shutdown => (
                FailureCode::Fenced,
                "the agent was shut down while the job ran".to_owned(),
                true,
            ),
            Self::Dismissed => (
                FailureCode::Fenced,
                "the coordinator dismissed this agent while the job ran".to_owned(),
                false,
            ),
        };
        Failure {
            code,
            message,
            retryable,
        }
    }
}
