//! The download: a part of a snapshot, sealed to an operator.

use strongroom_spec::{DownloadOutcome, DownloadSpec, Failure};
use tokio::runtime::Handle;

use super::{Task, blocking};
use crate::transfer::download;

impl Task {
    pub(super) async fn download(self, spec: DownloadSpec) -> Result<DownloadOutcome, Failure> {
        let runtime = Handle::current();
        blocking(move || download::run(self.repository, self.store, &runtime, &spec, &self.monitor))
            .await?
            .map_err(|error| Failure {
                code: error.code(),
                message: error.to_string(),
                retryable: error.is_retryable(),
            })
    }
}
