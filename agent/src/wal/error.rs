//! Why a log is not archived.

use strongroom_layout::SystemId;
use strongroom_postgres::{
    connection::ServerError, replication::ReplicationError, rights::MissingRights,
    wal::InvalidHistory,
};
use strongroom_repository::{format::FormatError, store::StoreError};
use strongroom_runtime::units::ByteSize;
use strongroom_spec::{Failure, FailureCode};

use super::server::whole_mebibytes;
use crate::config::PostgresConnectionError;

/// See the module. Variants that concern a server name its connection.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The connection lacks something outside of `agent.toml`.
    #[error("postgres connection {name:?}: {source}")]
    Connection {
        /// In `agent.toml`.
        name: String,
        /// What.
        #[source]
        source: PostgresConnectionError,
    },
    /// No connection.
    #[error("postgres connection {name:?}: {source}")]
    Server {
        /// In `agent.toml`.
        name: String,
        /// Why not.
        #[source]
        source: ServerError,
    },
    /// The connection's role may not do it.
    #[error("postgres connection {name:?}: {source}")]
    Rights {
        /// In `agent.toml`.
        name: String,
        /// What it lacks.
        #[source]
        source: MissingRights,
    },
    /// The log does not come.
    #[error("postgres connection {name:?}: {source}")]
    Replication {
        /// In `agent.toml`.
        name: String,
        /// Why not.
        #[source]
        source: ReplicationError,
    },
    /// The server logs too little.
    #[error(
        "postgres connection {name:?}: the server has wal_level = {level:?}, with which nothing \
         can be rolled forward: set it to replica or logical and restart the server"
    )]
    WalLevel {
        /// In `agent.toml`.
        name: String,
        /// Its setting.
        level: String,
    },
    /// Nothing would ever be pushed.
    #[error(
        "postgres connection {name:?}: the server has archive_mode = {mode:?}, so that it pushes \
         nothing: set archive_mode = on and archive_command = 'strongroom-agent wal push %p' and \
         restart the server, or let the policy say wal = {{ method = \"stream\" }}"
    )]
    ArchiveMode {
        /// In `agent.toml`.
        name: String,
        /// Its setting.
        mode: String,
    },
    /// More log waits than may.
    #[error(
        "postgres connection {name:?}: {} of log waited on the server, more than the policy's \
         wal.limit of {}",
        whole_mebibytes(*waiting), ByteSize(*limit)
    )]
    Full {
        /// In `agent.toml`.
        name: String,
        /// Bytes.
        waiting: u64,
        /// Bytes.
        limit: u64,
    },
    /// The connection leads elsewhere now.
    #[error(
        "postgres connection {name:?}: it leads to cluster {now} now, and the log of cluster \
         {before} was archived: run the policy for a base backup if the cluster was made anew, or \
         set the connection right"
    )]
    OtherCluster {
        /// In `agent.toml`.
        name: String,
        /// Whose log was archived.
        before: SystemId,
        /// Whose log comes.
        now: SystemId,
    },
    /// A history file that is none.
    #[error(
        "postgres connection {name:?}: the history of timeline {timeline} is damaged: {source}"
    )]
    History {
        /// In `agent.toml`.
        name: String,
        /// Whose.
        timeline: u32,
        /// Why.
        #[source]
        source: InvalidHistory,
    },
    /// A file of the server's cannot be read.
    #[error("cannot read {path}: {source}; the agent runs as root, or as the server's user")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A part cannot be sealed.
    #[error("cannot seal a part of the log: {0}")]
    Format(#[from] FormatError),
    /// A part cannot be stored or entered.
    #[error("cannot store a part of the log: {0}")]
    Store(#[from] StoreError),
    /// A fault of the agent's.
    #[error(
        "a part of the log could not be sealed: a thread of the agent panicked; its log says where"
    )]
    Panicked,
    /// The job ends.
    #[error("cancelled")]
    Cancelled,
}

impl WalError {
    /// Whether the server may be there again in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Server { source, .. } => source.is_retryable(),
            Self::Replication { source, .. } => {
                source.is_transient()
                    // The slot is made anew when the server is asked again.
                    || matches!(
                        source,
                        ReplicationError::NoSlot { .. }
                            | ReplicationError::SlotLost { .. }
                            | ReplicationError::Removed { .. }
                    )
            }
            _ => false,
        }
    }

    /// As it is reported. Whoever asked asks again in any case.
    pub fn to_failure(&self) -> Failure {
        let code = match self {
            Self::Store(_) => FailureCode::Store,
            Self::Format(_) | Self::Panicked => FailureCode::Internal,
            Self::Cancelled => FailureCode::Cancelled,
            Self::OtherCluster { .. } => FailureCode::OtherCluster,
            _ => FailureCode::Source,
        };
        Failure {
            code,
            message: self.to_string(),
            retryable: true,
        }
    }
}
