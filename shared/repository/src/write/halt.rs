//! The end of a run before its time: the first error, or a cancellation.

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::WriteError;

/// The run has ended; [`super::Writer::finish`] says why. Return at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run has ended early")]
pub struct Halted;

/// Remembers the first error and stops everybody.
#[derive(Debug)]
pub(super) struct Halt {
    /// A child of the caller's.
    token: CancellationToken,
    first: Mutex<Option<WriteError>>,
}

impl Halt {
    pub(super) fn new(cancel: &CancellationToken) -> Self {
        Self {
            token: cancel.child_token(),
            first: Mutex::new(None),
        }
    }

    /// Ends the run. Only the first cause is kept: others follow from it.
    pub(super) fn fail(&self, error: WriteError) -> Halted {
        {
            let mut first = self.first.lock();
            if first.is_none() && !self.token.is_cancelled() {
                *first = Some(error);
            }
        }
        self.token.cancel();
        Halted
    }

    pub(super) fn is_set(&self) -> bool {
        self.token.is_cancelled()
    }

    pub(super) fn check(&self) -> Result<(), Halted> {
        if self.is_set() { Err(Halted) } else { Ok(()) }
    }

    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why the run ended; a cancellation when there was no error.
    pub(super) fn take_cause(&self) -> WriteError {
        self.first.lock().take().unwrap_or(WriteError::Cancelled)
    }
}
