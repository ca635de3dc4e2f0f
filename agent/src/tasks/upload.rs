//! The upload: a snapshot of what an operator sealed to this agent.

use std::sync::Arc;

use strongroom_spec::{BackupOutcome, Failure, FailureCode, UploadSpec};

use super::{Task, backup::Wanted, blocking};
use crate::{
    backup::{BackupSource, upload::UploadSource},
    transfer::key,
};

impl Task {
    pub(super) async fn upload(self, spec: UploadSpec) -> Result<BackupOutcome, Failure> {
        let state = self.config.state_dir.clone();
        let own = blocking(move || key::load(&state))
            .await?
            .map_err(|error| Failure {
                code: FailureCode::Internal,
                message: error.to_string(),
                retryable: false,
            })?;
        let source = UploadSource {
            store: Arc::clone(&self.store),
            own,
            manifest: spec.manifest,
            file_name: spec.file_name,
            format: spec.format,
            database: spec.database,
        };
        let wanted = Wanted {
            source: BackupSource::Upload(source),
            parent: None,
            tags: spec.tags,
        };
        self.take(wanted).await
    }
}
