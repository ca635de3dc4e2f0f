//! Why no tree came of a cluster.

use std::{io, path::PathBuf};

use strongroom_compare::EscapedPath;
use strongroom_postgres::{
    connection::ServerError,
    physical::{Lsn, PhysicalError, backup::Hold, control::InvalidControl, wal::InvalidSegment},
};
use strongroom_repository::{format::FormatError, write::Halted};

use crate::config::PostgresConnectionError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// `agent.toml`, or what it names.
    #[error("postgres connection {name:?}: {source}")]
    Connection {
        /// The connection.
        name: String,
        /// What is wrong.
        #[source]
        source: PostgresConnectionError,
    },
    /// No session.
    #[error(transparent)]
    Connect(#[from] ServerError),
    /// The server.
    #[error(transparent)]
    Server(#[from] PhysicalError),
    /// Not readable by this process.
    #[error(
        "the agent may not read {path}: run it as root, or as {owner}, who owns the cluster",
        path = EscapedPath(path)
    )]
    NotPermitted {
        /// What.
        path: PathBuf,
        /// The owner of the data directory.
        owner: String,
    },
    /// The data directory is not there.
    #[error(
        "the server's data directory {path} is not on this host: {source}; physical backups are \
         made by an agent beside the server",
        path = EscapedPath(path)
    )]
    NoDirectory {
        /// As the server says.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file could not be read: without it the cluster would not be whole.
    #[error("cannot read {path}: {source}", path = EscapedPath(path))]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// `pg_control` makes no sense.
    #[error("{path} cannot be used: {source}", path = EscapedPath(path))]
    Control {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: InvalidControl,
    },
    /// The directory is that of another server.
    #[error(
        "{path} holds the cluster {found}, but the server at the connection runs the cluster \
         {wanted}: physical backups are made by an agent beside the server",
        path = EscapedPath(path)
    )]
    OtherCluster {
        /// The data directory.
        path: PathBuf,
        /// Its system identifier.
        found: u64,
        /// The server's.
        wanted: u64,
    },
    /// The session ended before the backup.
    #[error(
        "the connection to the server was lost during the backup: was the server stopped, or the \
         session ended by somebody?"
    )]
    Lost,
    /// A part of the log is gone.
    #[error(
        "the server has removed the log segment {segment}, which replay from {start} to {stop} \
         needs; {}",
        remedy(hold)
    )]
    LogGone {
        /// Its name.
        segment: String,
        /// Where replay begins.
        start: Lsn,
        /// Where it ends.
        stop: Lsn,
        /// What should have kept it.
        hold: Hold,
    },
    /// A part of the log is not what its name says.
    #[error("the log segment {path} cannot be used: {source}", path = EscapedPath(path))]
    Segment {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: InvalidSegment,
    },
    /// A tree could not be made.
    #[error("cannot encode a tree: {0}")]
    Format(#[from] FormatError),
    /// The run ended; its writer says why.
    #[error(transparent)]
    Halted(#[from] Halted),
}

fn remedy(hold: &Hold) -> String {
    match hold {
        Hold::Slot => {
            "its slot was given up: raise max_slot_wal_keep_size on the server, or back up at a \
             time with fewer writes"
                .into()
        }
        Hold::Nothing(why) => format!(
            "there was no replication slot to keep it ({why}): raise max_replication_slots or \
             wal_keep_size on the server"
        ),
    }
}

impl ClusterError {
    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Server(error) => error.is_retryable(),
            Self::Connect(_)
            | Self::Lost
            | Self::LogGone { .. }
            | Self::Segment { .. }
            | Self::Read { .. } => true,
            _ => false,
        }
    }
}
