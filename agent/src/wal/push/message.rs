//! What `strongroom-agent wal push` and the agent say to each other: a line of
//! JSON each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longer lines are none of ours.
pub(super) const LONGEST: u64 = 16 << 10;

/// Asks the agent to archive a file of a log.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// The directory of the log, with every link resolved.
    pub(super) directory: PathBuf,
    /// The file's name in it.
    pub(super) file: String,
}

/// Said once the file is archived, or will not be.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It is in the store: the server may forget it.
    Archived,
    /// It is not: the server must keep it. For people.
    Failed(String),
}

/// A line, with its end.
pub(super) fn line(message: &impl Serialize) -> Vec<u8> {
    // Paths that are not UTF-8 cannot be said; they are refused before.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}
