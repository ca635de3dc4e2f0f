//! Why no snapshot came of a server.

use std::io;

use strongroom_redis::{RedisError, rdb::RdbError};
use strongroom_repository::{format::FormatError, write::Halted};

use crate::config::RedisConnectionError;

/// A server that was not backed up.
#[derive(Debug, thiserror::Error)]
pub enum RedisSourceError {
    /// Its connection lacks something.
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
    /// What came is not what the server sent.
    #[error(
        "redis connection {connection:?}: {source}; nothing was kept of it. If another attempt \
         fails the same way, check the server's memory and network"
    )]
    Damaged {
        /// In `agent.toml`.
        connection: String,
        /// What is wrong.
        #[source]
        source: RdbError,
    },
    /// A thread could not be started, or ended badly.
    #[error("the server's data could not be read along: {source}")]
    Thread {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Cannot happen: it is read from memory.
    #[error("the manifest could not be saved: {source}")]
    Manifest {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The tree could not be made.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The run ended; its writer says why.
    #[error(transparent)]
    Halted(#[from] Halted),
}

impl RedisSourceError {
    pub(super) fn server(connection: &str, source: RedisError) -> Self {
        Self::Server {
            connection: connection.into(),
            source: Box::new(source),
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Server { source, .. } => source.is_retryable(),
            Self::Damaged { .. } | Self::Thread { .. } => true,
            _ => false,
        }
    }
}
