//! Why a transfer failed.

use std::io;

use strongroom_repository::store::StoreError;
use strongroom_spec::FailureCode;
use strongroom_transfer::{OpenError, SealError};

use crate::restore::RestoreError;

/// A failed transfer.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The snapshot could not be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// One of the entries could not be read.
    #[error("cannot read {path} of the snapshot: {source}")]
    Entry {
        /// Which.
        path: String,
        /// Why.
        source: Box<RestoreError>,
    },
    /// Nothing could be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What was uploaded is not for this agent, or damaged.
    #[error("the upload cannot be opened: {0}")]
    Open(#[from] OpenError),
    /// A piece could not be stored or fetched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tar cannot hold it.
    #[error("cannot put {path} into a tar: {source}")]
    Archive {
        /// Which entry.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The attempt was cancelled.
    #[error("the transfer was cancelled")]
    Cancelled,
}

impl TransferError {
    /// The kind of failure.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Restore(error) => error.code(),
            Self::Entry { source, .. } => source.code(),
            Self::Seal(_) | Self::Archive { .. } => FailureCode::Source,
            Self::Open(_) => FailureCode::Corrupt,
            Self::Store(_) => FailureCode::Store,
            Self::Cancelled => FailureCode::Cancelled,
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Restore(error) => error.is_retryable(),
            Self::Entry { source, .. } => source.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// What went wrong as an entry was read.
    pub(super) fn of_entry(path: &[u8], error: RestoreError) -> Self {
        match error {
            RestoreError::Cancelled => RestoreError::Cancelled.into(),
            source => Self::Entry {
                path: path.escape_ascii().to_string(),
                source: Box::new(source),
            },
        }
    }

    /// What went wrong below [`io::Read`] or [`io::Write`].
    pub(super) fn from_io(path: &[u8], error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        match error.downcast::<RestoreError>() {
            Ok(error) => Self::of_entry(path, error),
            Err(source) => Self::Archive {
                path: path.escape_ascii().to_string(),
                source,
            },
        }
    }
}
