//! Failures: what a job's report says of an error.

use std::fmt::Display;

use strongroom_repository::{
    RepositoryError,
    store::{StoreError, StoreErrorKind},
};
use strongroom_spec::{Failure, FailureCode};
use strongroom_wire::grant::RefusalReason;
use tokio::task::JoinError;

use crate::{restore::RestoreError, wal::WalError};

/// Of opening or locking a repository.
pub(crate) fn of_repository(error: &RepositoryError) -> Failure {
    let code = match error {
        RepositoryError::Store(error) => return of_store(error),
        RepositoryError::Format { .. } => FailureCode::Corrupt,
        _ => FailureCode::Repository,
    };
    Failure {
        code,
        message: error.to_string(),
        retryable: error.is_retryable(),
    }
}

/// Of a store.
pub(crate) fn of_store(error: &StoreError) -> Failure {
    let code = match &error.kind {
        // The coordinator has given the attempt up before we heard of it.
        StoreErrorKind::Refused { reason, .. } if is_fence(reason) => {
            return Failure {
                code: FailureCode::Fenced,
                message: error.to_string(),
                retryable: true,
            };
        }
        StoreErrorKind::Refused { .. } => FailureCode::Refused,
        StoreErrorKind::Cancelled => FailureCode::Cancelled,
        _ => FailureCode::Store,
    };
    Failure {
        code,
        message: error.to_string(),
        retryable: error.is_retryable(),
    }
}

fn is_fence(reason: &str) -> bool {
    [RefusalReason::LeaseExpired, RefusalReason::AttemptEnded]
        .iter()
        .any(|fence| fence.as_str() == reason)
}

/// Of the archiving of a log.
pub(crate) fn of_wal(error: &WalError) -> Failure {
    match error {
        WalError::Store(error) => Failure {
            code: log_code(error).unwrap_or(of_store(error).code),
            ..of_store(error)
        },
        error => error.to_failure(),
    }
}

/// Why nothing more is taken of a log.
fn log_code(error: &StoreError) -> Option<FailureCode> {
    let StoreErrorKind::Refused { reason, .. } = &error.kind else {
        return None;
    };
    let known = [
        (RefusalReason::LogConflict, FailureCode::LogConflict),
        (RefusalReason::OtherCluster, FailureCode::OtherCluster),
    ];
    let mut known = known.into_iter();
    known.find_map(|(refusal, code)| (refusal.as_str() == reason).then_some(code))
}

/// Of a restore or a listing.
pub(crate) fn of_restore(error: &RestoreError) -> Failure {
    Failure {
        code: error.code(),
        message: error.to_string(),
        retryable: error.is_retryable(),
    }
}

/// The repository's lock could not be kept alive.
pub(crate) fn lock_lost() -> Failure {
    Failure {
        code: FailureCode::Store,
        message: "the repository's lock could not be refreshed in time: the store was out of \
                  reach for too long"
            .into(),
        retryable: true,
    }
}

/// The monitor's token was cancelled.
pub(crate) fn cancelled() -> Failure {
    Failure {
        code: FailureCode::Cancelled,
        message: "cancelled".into(),
        retryable: false,
    }
}

/// Of a thread that panicked.
pub(crate) fn of_thread(error: &JoinError) -> Failure {
    let defect = if error.is_panic() {
        "panicked"
    } else {
        "was cut off"
    };
    internal(&format!(
        "a thread of the agent {defect}; its log says where: please report it"
    ))
}

/// Whatever is nobody's fault but ours.
pub(crate) fn internal(problem: &impl Display) -> Failure {
    Failure {
        code: FailureCode::Internal,
        message: problem.to_string(),
        retryable: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_lease_is_a_fence_and_other_refusals_are_final() {
        let refused = |reason: RefusalReason| {
            of_store(&StoreError::new(
                "put",
                "data/00",
                StoreErrorKind::Refused {
                    reason: reason.as_str().into(),
                    message: "no".into(),
                },
            ))
        };
        for reason in RefusalReason::ALL {
            let failure = refused(reason);
            let fence = matches!(
                reason,
                RefusalReason::LeaseExpired | RefusalReason::AttemptEnded
            );
            assert_eq!(failure.code == FailureCode::Fenced, fence, "{reason:?}");
            assert_eq!(failure.retryable, fence, "{reason:?}");
            assert!(failure.message.contains("data/00"));
        }
    }

    #[test]
    fn a_wrong_password_is_the_repository_s_matter() {
        let failure = of_repository(&RepositoryError::WrongPassword { keys: 1 });
        assert_eq!(failure.code, FailureCode::Repository);
        assert!(!failure.retryable);
    }
}
