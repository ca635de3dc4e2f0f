//! Errors as gRPC statuses: the one table.

use strongroom_wire::InvalidMessage;
use tonic::Status;

use crate::{
    catalog::{CatalogError, RecordError, RenewError},
    grants::GrantError,
};

/// A message that does not say what it must.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(super) fn invalid(error: InvalidMessage) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The catalog failed. Its reasons are for the log, not for agents.
pub(super) fn catalog(error: &CatalogError) -> Status {
    tracing::error!(%error, "the catalog failed");
    Status::unavailable("the coordinator's catalog does not answer; try again")
}

/// A certificate that is not renewed.
pub(super) fn renewal(error: &RenewError) -> Status {
    match error {
        RenewError::TooOften => Status::resource_exhausted(error.to_string()),
        RenewError::Ended => Status::permission_denied(error.to_string()),
        RenewError::Catalog(error) => catalog(error),
    }
}

/// A question about grants that has no answer.
pub(super) fn grant(error: &GrantError) -> Status {
    match error {
        GrantError::Refused(refusal) => {
            Status::permission_denied(format!("{}: {}", refusal.reason.as_str(), refusal.message))
        }
        GrantError::TooFast => Status::resource_exhausted(error.to_string()),
        GrantError::NoStore { .. } => Status::failed_precondition(error.to_string()),
        GrantError::Record(RecordError::NotStored(_)) => {
            Status::failed_precondition(error.to_string())
        }
        GrantError::BatchTooLarge(_) | GrantError::Record(_) => {
            Status::invalid_argument(error.to_string())
        }
        GrantError::Catalog(error) => catalog(error),
        GrantError::Store(store) => {
            tracing::error!(error = %store, "a store failed");
            if store.is_retryable() {
                Status::unavailable(store.to_string())
            } else {
                Status::failed_precondition(store.to_string())
            }
        }
        GrantError::Sign(error) => {
            tracing::error!(%error, "cannot sign");
            Status::internal("the coordinator cannot sign; its log says why")
        }
    }
}
