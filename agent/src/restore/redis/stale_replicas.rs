//! Servers that were told to follow the agent, and may still.
//!
//! While a restore is under way, a note in the state directory names its
//! server and the agent's port. An agent that is killed meanwhile finds it when
//! it starts again, and lets go of the server, if that still looks for its
//! primary at that very place.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use strongroom_redis::{Connection, RedisError, restore::whole};
use strongroom_runtime::files::{self, FileError};
use tracing::{info, warn};

use crate::config::AgentConfig;

/// In the state directory.
const NOTES: &str = "redis-restores";

/// A note.
#[derive(Debug, Serialize, Deserialize)]
struct Left {
    /// Where the server was told to look for its primary.
    primary: SocketAddr,
}

fn path(state_dir: &Path, connection: &str) -> PathBuf {
    // Names of connections can be file names: `agent.toml` is checked for it.
    state_dir.join(NOTES).join(format!("{connection}.json"))
}

/// Notes that a server is about to follow `primary`.
pub(super) fn note(
    state_dir: &Path,
    connection: &str,
    primary: SocketAddr,
) -> Result<(), FileError> {
    files::create_private_dir(&state_dir.join(NOTES))?;
    let left = Left { primary };
    let json = serde_json::to_vec(&left).unwrap_or_default();
    files::write_atomic(&path(state_dir, connection), &json, files::SECRET)
}

/// It does not any more.
pub(super) fn forget(state_dir: &Path, connection: &str) {
    let path = path(state_dir, connection);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        // Harmless: it names a place where no server will look.
        warn!(path = %path.display(), %error, "a note of a finished restore stays");
    }
}

fn find(state_dir: &Path, connection: &str) -> Option<Left> {
    let json = fs::read(path(state_dir, connection)).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Lets go of a server that a killed agent has left behind, if there is a note
/// that says so.
pub(super) async fn detach(
    state_dir: &Path,
    name: &str,
    connection: &Connection,
) -> Result<(), RedisError> {
    let Some(left) = find(state_dir, name) else {
        return Ok(());
    };
    if whole::detach_if_left(connection, left.primary).await? {
        info!(
            connection = name,
            "a restore was cut off; its server is a primary again"
        );
    }
    forget(state_dir, name);
    Ok(())
}

/// Does so for all connections. What cannot be reached now keeps its note.
pub async fn detach_all(config: &AgentConfig) {
    for (name, defined) in &config.redis {
        if find(&config.state_dir, name).is_none() {
            continue;
        }
        let detached = match defined.resolve() {
            Ok(connection) => detach(&config.state_dir, name, &connection)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = detached {
            warn!(
                connection = name,
                error,
                "a restore was cut off, and its server may still wait for the rest: if it is a \
                 replica, run REPLICAOF NO ONE there"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_until_it_is_forgotten() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path();
        let at = "127.0.0.1:4321".parse().unwrap();
        assert!(find(state, "a").is_none());
        forget(state, "a");
        note(state, "a", at).unwrap();
        assert_eq!(find(state, "a").unwrap().primary, at);
        assert!(find(state, "b").is_none());
        forget(state, "a");
        assert!(find(state, "a").is_none());
    }
}
