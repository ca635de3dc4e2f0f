//! What ends a run.

use std::io;

use super::{halt::Halted, plan::BudgetTooSmall};
use crate::{format::FormatError, store::StoreError};

/// Why nothing came of a run.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An upload failed.
    #[error("cannot store {what}: {source}")]
    Store {
        /// `a data pack`, `an index`, ….
        what: &'static str,
        /// The store's complaint; names the object.
        #[source]
        source: StoreError,
    },
    /// Encoding, compressing or sealing failed.
    #[error("cannot encode {what}: {source}")]
    Format {
        /// `a blob`, `a pack`, ….
        what: &'static str,
        /// The codec's complaint.
        #[source]
        source: FormatError,
    },
    /// Nothing was begun.
    #[error(transparent)]
    Memory(#[from] BudgetTooSmall),
    /// The caller's token was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A thread could not be started.
    #[error("cannot start a worker thread: {0}; raise the limit on processes or use fewer threads")]
    Thread(#[source] io::Error),
    /// A worker panicked: a bug.
    #[error("a worker thread panicked; this is a bug, please report it with the log")]
    Panicked,
}

impl WriteError {
    /// Whether another run may do better.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.is_retryable())
    }
}

/// Why a stream was not saved.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The stream itself failed; the run goes on.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The run has ended.
    #[error(transparent)]
    Halted(#[from] Halted),
}
