//! Why a backup failed, and what a job's report says of it.

use strongroom_postgres::name;
use strongroom_repository::{
    RepositoryError,
    store::{StoreError, StoreErrorKind},
    write::{Halted, WriteError},
};
use strongroom_spec::{Failure, FailureCode};

use super::upload::UploadError;
use crate::sources::{
    command::CommandError,
    files::FilesError,
    postgres::{logical::LogicalError, physical::ClusterError},
    redis::RedisSourceError,
};

/// A failed backup. Nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The repository's indexes could not be read, or the snapshot not sealed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The pipeline failed, or was cancelled.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The files source failed.
    #[error(transparent)]
    Files(FilesError),
    /// The command source failed.
    #[error(transparent)]
    Command(CommandError),
    /// Databases could not be dumped.
    #[error(transparent)]
    Logical(LogicalError),
    /// The PostgreSQL cluster.
    #[error(transparent)]
    Cluster(ClusterError),
    /// The Redis server.
    #[error(transparent)]
    Redis(RedisSourceError),
    /// What an operator uploads.
    #[error(transparent)]
    Upload(UploadError),
    /// The run ended without a cause: a bug.
    #[error("the backup ended without a cause; this is a bug, please report it with the log")]
    Halted,
}

impl From<FilesError> for BackupError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Halted(Halted) => Self::Halted,
            error => Self::Files(error),
        }
    }
}

impl From<CommandError> for BackupError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Halted(Halted) => Self::Halted,
            error => Self::Command(error),
        }
    }
}

impl From<LogicalError> for BackupError {
    fn from(error: LogicalError) -> Self {
        match error {
            LogicalError::Halted(Halted) => Self::Halted,
            error => Self::Logical(error),
        }
    }
}

impl From<ClusterError> for BackupError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Halted(Halted) => Self::Halted,
            error => Self::Cluster(error),
        }
    }
}

impl From<RedisSourceError> for BackupError {
    fn from(error: RedisSourceError) -> Self {
        match error {
            RedisSourceError::Halted(Halted) => Self::Halted,
            error => Self::Redis(error),
        }
    }
}

impl From<UploadError> for BackupError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Halted(Halted) => Self::Halted,
            error => Self::Upload(error),
        }
    }
}

impl BackupError {
    /// The kind of failure.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Repository(RepositoryError::Store(error))
            | Self::Write(WriteError::Store { source: error, .. }) => store_code(error),
            Self::Repository(RepositoryError::Format { .. }) => FailureCode::Corrupt,
            Self::Repository(_) => FailureCode::Repository,
            Self::Write(WriteError::Cancelled) => FailureCode::Cancelled,
            Self::Write(WriteError::Memory(_)) => FailureCode::NotAllowed,
            Self::Files(_) | Self::Logical(_) | Self::Cluster(_) | Self::Redis(_) => {
                FailureCode::Source
            }
            Self::Upload(UploadError::Transfer(error)) => error.code(),
            Self::Upload(_) => FailureCode::Source,
            Self::Command(_) => FailureCode::Command,
            Self::Write(_) | Self::Halted => FailureCode::Internal,
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_retryable(),
            Self::Write(error) => error.is_retryable(),
            Self::Logical(error) => error.is_retryable(),
            Self::Cluster(error) => error.is_retryable(),
            Self::Upload(UploadError::Transfer(error)) => error.is_retryable(),
            Self::Redis(error) => error.is_retryable(),
            // What a command or a mount failed on may have passed.
            Self::Files(FilesError::Nothing { absent, .. }) => !absent,
            Self::Command(
                CommandError::Failed { .. }
                | CommandError::Read { .. }
                | CommandError::Nothing { .. },
            ) => true,
            Self::Files(_) | Self::Command(_) | Self::Upload(_) | Self::Halted => false,
        }
    }

    /// For a job's report.
    pub fn to_failure(&self) -> Failure {
        Failure {
            code: self.code(),
            message: match self {
                Self::Logical(error) => name::shown(&error.to_string()).into_owned(),
                error => error.to_string(),
            },
            retryable: self.is_retryable(),
        }
    }
}

fn store_code(error: &StoreError) -> FailureCode {
    match error.kind {
        StoreErrorKind::Refused { .. } => FailureCode::Refused,
        _ => FailureCode::Store,
    }
}
