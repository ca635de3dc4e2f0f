//! Why no tree came of a cluster.

use std::{io, path::PathBuf};

use strongroom_compare::EscapedPath;
use strongroom_postgres::{
    connection::ServerError,
    physical::{
        DEEPEST, Lsn, PhysicalError, backup::Hold, control::InvalidControl, wal::InvalidSegment,
    },
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
    /// Another's, and not open to the cluster's owner.
    #[error(
        "{path} belongs to {user}, and {owner}, who owns the cluster, may not read it: what its \
         server cannot read is not read for it; remove it, or give it to {owner} (chown)",
        path = EscapedPath(path)
    )]
    Foreign {
        /// What.
        path: PathBuf,
        /// Its owner.
        user: String,
        /// The owner of the data directory.
        owner: String,
    },
    /// A link of the cluster's leads to another's directory.
    #[error(
        "{path} belongs to {user}, and not to {owner}, who owns the cluster: of what a link out \
         of the data directory leads to, only his own is read; if it is the cluster's, give it to \
         {owner} (chown)",
        path = EscapedPath(path)
    )]
    NotOwned {
        /// What.
        path: PathBuf,
        /// Its owner.
        user: String,
        /// The owner of the data directory.
        owner: String,
    },
    /// A link where the cluster's data should be.
    #[error(
        "{path}, which belongs to the cluster's data, is a symbolic link to {to}: a restored \
         server would write into the original's files; stop the server and move the data back in \
         place of the link, mount the other file system there, or move tables into a tablespace \
         (of all links only pg_wal and tablespaces are followed)",
        path = EscapedPath(path), to = EscapedPath(to)
    )]
    Link {
        /// What.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// A pipe, a socket or a device where the cluster's data should be.
    #[error(
        "{path}, which belongs to the cluster's data, is neither a regular file nor a directory: \
         find out what it is, and remove it",
        path = EscapedPath(path)
    )]
    NotRegular {
        /// What.
        path: PathBuf,
    },
    /// Too many directories in one another.
    #[error(
        "{path} lies more than {DEEPEST} directories deep, which nothing of a cluster does: find \
         out what it is, and remove it",
        path = EscapedPath(path)
    )]
    TooDeep {
        /// The first directory that does.
        path: PathBuf,
    },
    /// A part of the cluster is not there.
    #[error(
        "{path} is missing: without it the backup could not be started; is it the data directory \
         of a server that works, and mounted as a whole?",
        path = EscapedPath(path)
    )]
    Missing {
        /// What.
        path: PathBuf,
    },
    /// A directory on which no server runs.
    #[error(
        "the server says that its data directory is {path}, but no server runs on that: {cause}; \
         look at what answers at the connection",
        path = EscapedPath(path)
    )]
    NotServed {
        /// As the server says.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// A tablespace that the server knows, without its files.
    #[error(
        "the tablespace {oid} at {path} has no directory {version}: is its file system mounted?",
        path = EscapedPath(path)
    )]
    TablespaceGone {
        /// Its number.
        oid: u32,
        /// Where it lies.
        path: PathBuf,
        /// The directory of this cluster in it.
        version: String,
    },
    /// One that was taken for a stray link is a tablespace after all.
    #[error(
        "the tablespace {0} was being made when the backup began, and is not in it: back up again"
    )]
    TablespaceLate(u32),
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
            | Self::TablespaceGone { .. }
            | Self::TablespaceLate(_)
            | Self::Read { .. } => true,
            _ => false,
        }
    }
}
