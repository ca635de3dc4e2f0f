//! Why a restore into a server failed.

use std::io;

use strongroom_layout::ObjectId;
use strongroom_redis::{
    RedisError,
    rdb::RdbError,
    restore::keys::{Found, Written},
};
use strongroom_spec::{Failure, FailureCode};

use crate::{config::RedisConnectionError, restore::RestoreError};

/// Failures that are named.
const NAMED: usize = 10;

/// A failed restore into a Redis server. Unless it says otherwise, the server
/// holds what it held, and takes writes.
#[derive(Debug, thiserror::Error)]
pub enum RedisRestoreError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The snapshot is of something else.
    #[error(
        "snapshot {snapshot} is not one of a Redis server: it has no manifest.json; restore it \
         into a directory with --target"
    )]
    NotRedis {
        /// Which.
        snapshot: ObjectId,
    },
    /// Its manifest cannot be read.
    #[error(
        "the manifest of snapshot {snapshot} cannot be read as that of a Redis server ({source}); \
         its dump.rdb can still be restored into a directory with --target"
    )]
    Manifest {
        /// Which.
        snapshot: ObjectId,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Its manifest is newer than this program.
    #[error(
        "the manifest of snapshot {snapshot} has format {format}: update the agent, or restore \
         its dump.rdb into a directory with --target"
    )]
    TooNew {
        /// Which.
        snapshot: ObjectId,
        /// Its format.
        format: u32,
    },
    /// Its keys cannot be told apart.
    #[error(
        "the keys of snapshot {snapshot} could not be read when it was taken, by an agent that \
         did not know its format: restore it as a whole, without --key"
    )]
    Uncounted {
        /// Which.
        snapshot: ObjectId,
    },
    /// The RDB is not what it was when it was taken, or too new.
    #[error("dump.rdb of snapshot {snapshot}: {source}")]
    Rdb {
        /// Which.
        snapshot: ObjectId,
        /// What is wrong.
        #[source]
        source: RdbError,
    },
    /// The connection lacks something.
    #[error("redis connection {connection:?}: {source}")]
    Connection {
        /// In `agent.toml`.
        connection: String,
        /// What.
        #[source]
        source: RedisConnectionError,
    },
    /// The server.
    #[error("redis connection {connection:?}: {source}")]
    Server {
        /// In `agent.toml`.
        connection: String,
        /// What it did.
        #[source]
        source: Box<RedisError>,
    },
    /// All other keys were restored.
    #[error(
        "redis connection {connection:?}: {restored} keys were restored, {failed} were not: {}",
        failures.join("; ")
    )]
    Incomplete {
        /// In `agent.toml`.
        connection: String,
        /// Keys that were.
        restored: u64,
        /// Keys that were not.
        failed: u64,
        /// The first of them, and why not.
        failures: Vec<String>,
    },
    /// A bug.
    #[error("the thread that reads the snapshot panicked; please report it with the log")]
    Panicked,
}

impl RedisRestoreError {
    /// Of a server; what the snapshot did not give is the snapshot's.
    pub(super) fn server(connection: &str, error: RedisError) -> Self {
        match error {
            RedisError::Source(error) => match of_snapshot(error) {
                Ok(error) => Self::Restore(error),
                Err(error) => Self::Server {
                    connection: connection.into(),
                    source: Box::new(RedisError::Source(error)),
                },
            },
            RedisError::Cancelled => Self::Restore(RestoreError::Cancelled),
            source => Self::Server {
                connection: connection.into(),
                source: Box::new(source),
            },
        }
    }

    pub(super) fn rdb(snapshot: ObjectId, source: RdbError) -> Self {
        let source = match source {
            RdbError::Read(error) => match of_snapshot(error) {
                Ok(error) => return Self::Restore(error),
                Err(error) => RdbError::Read(error),
            },
            source => source,
        };
        Self::Rdb { snapshot, source }
    }

    pub(super) fn incomplete(connection: &str, written: &Written, found: &Found) -> Self {
        let refused = written
            .failures
            .iter()
            .map(|(key, why)| format!("{}: {why}", key.escape_ascii()));
        let large = found.too_large.iter().map(|(key, bytes)| {
            format!(
                "{}: {bytes} bytes are more than RESTORE takes (proto-max-bulk-len)",
                key.escape_ascii()
            )
        });
        Self::Incomplete {
            connection: connection.into(),
            restored: written.restored,
            failed: found.total().saturating_sub(written.restored),
            failures: refused.chain(large).take(NAMED).collect(),
        }
    }

    /// Its stable code.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Restore(error) => error.code(),
            Self::NotRedis { .. } | Self::Manifest { .. } => FailureCode::NotFound,
            Self::Rdb { source, .. } if source.is_damage() => FailureCode::Corrupt,
            Self::Panicked => FailureCode::Internal,
            _ => FailureCode::Target,
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Restore(error) => error.is_retryable(),
            Self::Server { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    /// For a job's report.
    pub fn to_failure(&self) -> Failure {
        Failure {
            code: self.code(),
            message: self.to_string(),
            retryable: self.is_retryable(),
        }
    }
}

/// The error that a stream of a snapshot's file wraps.
fn of_snapshot(error: io::Error) -> Result<RestoreError, io::Error> {
    error.downcast::<RestoreError>()
}
