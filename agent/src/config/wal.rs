//! The `[wal]` table.

use serde::Deserialize;

use super::AbsolutePath;

/// Where `strongroom-agent wal push` finds the agent when nobody says otherwise.
pub const DEFAULT_WAL_SOCKET: &str = "/run/strongroom-agent/wal.sock";

/// The `[wal]` table: what concerns write-ahead logs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wal {
    /// The socket to which servers push; absent: [`DEFAULT_WAL_SOCKET`].
    pub socket: Option<AbsolutePath>,
}
