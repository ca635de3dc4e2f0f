//! Uploads and downloads.

use std::sync::Arc;

use strongroom_wire::job::{DownloadWork, Failure, FailureCode, Success, UploadWork};
use tokio::runtime::Handle;

use super::{Engine, SharedRepository, access::Stores, blocking, work::Wanted};
use crate::{
    backup::BackupSource,
    backup::upload::UploadSource,
    grants::GrantAuthority,
    limits::JobLimits,
    monitor::Monitor,
    transfer::{download, key},
};

impl Engine {
    /// A snapshot of what an operator sealed to this agent.
    pub(super) async fn upload(
        &self,
        stores: &Stores,
        repository: SharedRepository,
        authority: &GrantAuthority,
        work: UploadWork,
        limits: &JobLimits,
        monitor: &Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let state = self.config().state_dir.clone();
        let own = blocking(move || key::load(&state))
            .await?
            .map_err(|error| Failure {
                code: FailureCode::Internal,
                message: error.to_string(),
                retryable: false,
            })?;
        let source = UploadSource {
            store: Arc::clone(&stores.working),
            own,
            manifest: work.manifest,
            file_name: work.file_name,
            format: work.format,
            database: work.database,
        };
        let wanted = Wanted {
            source: BackupSource::Upload(source),
            parent: None,
            tags: work.tags,
        };
        self.take(stores, repository, authority, wanted, limits, monitor)
            .await
    }

    /// A part of a snapshot, sealed to an operator.
    pub(super) async fn download(
        &self,
        stores: &Stores,
        repository: SharedRepository,
        work: DownloadWork,
        monitor: &Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let store = Arc::clone(&stores.working);
        let (runtime, watched) = (Handle::current(), Arc::clone(monitor));
        blocking(move || download::run(repository, store, &runtime, &work, &watched))
            .await?
            .map(Success::Download)
            .map_err(|error| Failure {
                code: error.code(),
                message: error.to_string(),
                retryable: error.is_retryable(),
            })
    }
}
