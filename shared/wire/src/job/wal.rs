//! Archiving a cluster's write-ahead log.

use serde::{Deserialize, Serialize};
use strongroom_proto::v1;

use crate::{InvalidMessage, field::Reader};

/// See [`Work::Wal`](super::Work::Wal).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalWork {
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

impl WalWork {
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

/// A stretch of archiving that was ended in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalResult {
    /// Objects written.
    pub objects: u64,
    /// Bytes of the log in them.
    pub bytes: u64,
    /// As uploaded: compressed and sealed.
    pub bytes_stored: u64,
}

impl TryFrom<v1::WalWork> for WalWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::WalWork) -> Result<Self, InvalidMessage> {
        let read = Reader("WalWork");
        let method = match v1::WalMethod::try_from(value.method) {
            Ok(v1::WalMethod::Stream) => WalMethod::Stream {
                slot: read.text("slot", value.slot)?,
                flush_seconds: value.flush_seconds,
            },
            Ok(v1::WalMethod::Push) => WalMethod::Push,
            Ok(v1::WalMethod::Forget) => WalMethod::Forget {
                slot: read.text("slot", value.slot)?,
            },
            Ok(v1::WalMethod::Unspecified) | Err(_) => {
                let problem = format!("has unknown value {}", value.method);
                return Err(read.invalid("method", problem));
            }
        };
        Ok(Self {
            dataset: read.text("dataset", value.dataset)?,
            connection: read.text("connection", value.connection)?,
            method,
            limit: (value.limit_bytes > 0).then_some(value.limit_bytes),
            drop: value.drop,
        })
    }
}

impl From<WalWork> for v1::WalWork {
    fn from(value: WalWork) -> Self {
        let (method, slot, flush_seconds) = match value.method {
            WalMethod::Stream {
                slot,
                flush_seconds,
            } => (v1::WalMethod::Stream, slot, flush_seconds),
            WalMethod::Push => (v1::WalMethod::Push, String::new(), 0),
            WalMethod::Forget { slot } => (v1::WalMethod::Forget, slot, 0),
        };
        Self {
            dataset: value.dataset,
            connection: value.connection,
            method: method.into(),
            flush_seconds,
            slot,
            limit_bytes: value.limit.unwrap_or(0),
            drop: value.drop,
        }
    }
}

impl From<v1::WalResult> for WalResult {
    fn from(value: v1::WalResult) -> Self {
        Self {
            objects: value.objects,
            bytes: value.bytes,
            bytes_stored: value.bytes_stored,
        }
    }
}

impl From<WalResult> for v1::WalResult {
    fn from(value: WalResult) -> Self {
        Self {
            objects: value.objects,
            bytes: value.bytes,
            bytes_stored: value.bytes_stored,
        }
    }
}
