//! The archiving of a cluster's write-ahead log.

use serde::{Deserialize, Serialize};

use super::{Facts, Figures, JobKind, Kind, Lock, Role};
use crate::{Invalid, clip::limit, named};

/// Asks for the archiving of a log, or for its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalSpec {
    /// `policy@agent`.
    pub dataset: String,
    /// Of which server: a connection of `agent.toml`.
    pub connection: String,
    /// How the log comes to the agent.
    pub method: WalMethod,
    /// What may wait on the server, bytes; `None`: without limit.
    pub limit: Option<u64>,
    /// Beyond the limit give up log, rather than the server's disk.
    pub drop: bool,
}

impl WalSpec {
    /// The replication slot that it keeps or drops.
    pub fn slot(&self) -> Option<&str> {
        match &self.method {
            WalMethod::Stream { slot, .. } | WalMethod::Forget { slot } => Some(slot),
            WalMethod::Push => None,
        }
    }

    /// Whether it only drops what kept the log.
    pub fn forgets(&self) -> bool {
        matches!(self.method, WalMethod::Forget { .. })
    }

    /// Whether both keep or drop one slot of one connection.
    pub fn shares_slot(&self, other: &Self) -> bool {
        self.connection == other.connection && self.slot().is_some() && self.slot() == other.slot()
    }
}

/// How the log comes to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WalMethod {
    /// By the replication protocol.
    Stream {
        /// The replication slot that keeps the log meanwhile.
        slot: String,
        /// An unfinished part is stored at least so often, seconds.
        flush_seconds: u32,
    },
    /// The server's `archive_command` hands over finished segments.
    Push,
    /// Nothing is archived any more: drop what kept the log meanwhile.
    Forget {
        /// The replication slot; it may be gone.
        slot: String,
    },
}

impl Kind for WalSpec {
    const KIND: JobKind = JobKind::Wal;
    const ROLE: Role = Role::Writes;
    /// It never ends, and what it writes no prune removes.
    const LOCK: Lock = Lock::None;

    fn facts(&self) -> Facts {
        Facts {
            endless: !self.forgets(),
            ..Facts::default()
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        named("dataset", &self.dataset)?;
        named("connection", &self.connection)?;
        if self.limit == Some(0) {
            return Err(Invalid::new(
                "`limit` is 0: nothing could wait on the server",
            ));
        }
        self.slot().map_or(Ok(()), |slot| named("slot", slot))
    }
}

/// A stretch of archiving that was ended in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WalOutcome {
    /// Objects written.
    pub objects: u64,
    /// Bytes of the log in them.
    pub bytes: u64,
    /// As uploaded: compressed and sealed.
    pub bytes_stored: u64,
}

impl Figures for WalOutcome {
    fn bound(&mut self) {
        limit([&mut self.objects, &mut self.bytes, &mut self.bytes_stored]);
    }
}
