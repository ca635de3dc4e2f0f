//! Downloads and uploads: what passes between this agent and an operator as
//! sealed pieces in the store.
//!
//! - [`key`]: this agent's key, to which operators seal uploads,
//! - [`write`]: bytes into pieces, [`read`]: pieces into bytes; both bounded in
//!   memory and a few requests ahead,
//! - [`download`]: a file or a directory of a snapshot into pieces; [`archive`]
//!   makes the tar of a directory.
//!
//! What becomes of an upload is a matter of [`crate::backup::upload`].

mod archive;
pub mod download;
mod error;
pub mod key;
pub mod read;
#[cfg(test)]
mod tests;
pub mod write;

use futures::future::BoxFuture;
use tokio::{runtime::Handle, task::JoinHandle};

pub use error::TransferError;

use crate::monitor::Monitor;

/// A request under way; dropped, it is given up.
struct Request<T>(JoinHandle<T>);

impl<T> Drop for Request<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + 'static> Request<T> {
    fn begin(runtime: &Handle, work: BoxFuture<'static, T>) -> Self {
        Self(runtime.spawn(work))
    }

    /// Its answer, but not beyond a cancel.
    fn wait(mut self, runtime: &Handle, monitor: &Monitor) -> Result<T, TransferError> {
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = monitor.cancel.cancelled() => Err(TransferError::Cancelled),
                answer = &mut self.0 => answer.map_err(|_| TransferError::Cancelled),
            }
        })
    }
}
