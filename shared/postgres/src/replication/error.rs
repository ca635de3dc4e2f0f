//! Why the log does not come, in words that say what to do next.

use crate::{
    connection::ServerError,
    physical::{Lsn, TimelineId},
};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// The server has removed that part of the log.
    #[error(
        "the server no longer has the write-ahead log from {from} of timeline {timeline}: {cause}; \
         what was missed is lost, so make a base backup and go on from there; a replication slot \
         keeps the log"
    )]
    Removed {
        /// What was asked for.
        timeline: TimelineId,
        /// What was asked for.
        from: Lsn,
        /// In its words.
        cause: String,
    },
    /// There is no such slot.
    #[error("the server has no replication slot {slot:?}: make it, and then a base backup")]
    NoSlot {
        /// Its name.
        slot: String,
    },
    /// There is such a slot.
    #[error("the server has a replication slot {slot:?} already: use it, drop it, or name another")]
    SlotExists {
        /// Its name.
        slot: String,
    },
    /// Somebody streams with it: perhaps we did, and the server has not
    /// noticed yet that we are gone.
    #[error(
        "the replication slot {slot:?} is in use: {cause}; end whoever uses it, or wait for \
         wal_sender_timeout if that was a connection of ours"
    )]
    SlotBusy {
        /// Its name.
        slot: String,
        /// In the server's words.
        cause: String,
    },
    /// The server has given the slot up.
    #[error(
        "the server has given up the replication slot {slot:?}: {cause}; drop it, raise \
         max_slot_wal_keep_size, make another slot and then a base backup"
    )]
    SlotLost {
        /// Its name.
        slot: String,
        /// In the server's words.
        cause: String,
    },
    /// The server has no room for one more slot.
    #[error(
        "the server makes no more replication slots: {cause}; raise max_replication_slots, which \
         needs a restart, or drop a slot that nobody uses"
    )]
    TooManySlots {
        /// In its words.
        cause: String,
    },
    /// The role lacks a right.
    #[error("PostgreSQL refuses to {doing}: {cause}")]
    Privilege {
        /// What was tried.
        doing: String,
        /// In the server's words, and what to run.
        cause: String,
    },
    /// The server's past is another.
    #[error(
        "the server's history does not have timeline {timeline} at {from}: {cause}; was it \
         promoted, or restored to a moment before? make a base backup and go on from there"
    )]
    Timeline {
        /// What was asked for.
        timeline: TimelineId,
        /// What was asked for.
        from: Lsn,
        /// In the server's words.
        cause: String,
    },
    /// The server has no history file of that timeline.
    #[error("the server has no history of timeline {timeline}: {cause}")]
    NoHistory {
        /// What was asked for.
        timeline: TimelineId,
        /// In the server's words.
        cause: String,
    },
    /// The server has not come that far.
    #[error(
        "the server does not have the write-ahead log of timeline {timeline} up to {from} yet: \
         {cause}; is it the server that the log came from before?"
    )]
    Ahead {
        /// What was asked for.
        timeline: TimelineId,
        /// What was asked for.
        from: Lsn,
        /// In the server's words.
        cause: String,
    },
    /// Something was left out.
    #[error("the server sent the write-ahead log from {found} on, where {wanted} should follow")]
    Hole {
        /// The next byte.
        wanted: Lsn,
        /// What came.
        found: Lsn,
    },
    /// The connection broke.
    #[error("the connection to PostgreSQL broke while trying to {doing}: {cause}")]
    Broken {
        /// What was tried.
        doing: &'static str,
        /// Why.
        cause: String,
    },
    /// The server stops, or somebody had it end the connection.
    #[error("PostgreSQL ended the connection: {cause}")]
    Terminated {
        /// In its words.
        cause: String,
    },
    /// What comes is not what a server sends.
    #[error("cannot {doing}: the server's answer is not understood: {cause}")]
    Strange {
        /// What was tried.
        doing: &'static str,
        /// What it is.
        cause: String,
    },
    /// No log is being streamed.
    #[error("no write-ahead log is being streamed on this connection")]
    Idle,
    /// The server refuses for another reason.
    #[error("PostgreSQL cannot {doing}: {cause} (SQLSTATE {state})")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// In its words.
        cause: String,
        /// Five letters and digits.
        state: String,
    },
    /// No connection, or a query that failed.
    #[error(transparent)]
    Server(ServerError),
}

impl From<ServerError> for ReplicationError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Privilege { what, cause } => Self::Privilege { doing: what, cause },
            other => Self::Server(other),
        }
    }
}

impl ReplicationError {
    /// Whether it may help to connect again and to go on from the last
    /// position that is safe. A slot in use counts: it may be that the server
    /// has not noticed yet that an earlier connection of ours is gone. So does
    /// a server that is behind: a standby that was restarted catches up.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broken { .. }
            | Self::Terminated { .. }
            | Self::SlotBusy { .. }
            | Self::Ahead { .. }
            | Self::Hole { .. } => true,
            Self::Server(error) => error.is_retryable(),
            _ => false,
        }
    }
}
