//! Snapshots, and what is in them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_spec::Entry;
use utoipa::{IntoParams, ToSchema};

/// Snapshots, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshots {
    /// Newest first.
    pub snapshots: Vec<Snapshot>,
    /// `before` of the next page; `null` at the end.
    #[serde(default)]
    pub next_before: Option<String>,
    /// What can be recovered of those of their datasets that are PostgreSQL
    /// clusters.
    #[serde(default)]
    pub recovery: Vec<super::Recovery>,
}

/// A finished backup of a dataset; bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// 64 hex digits.
    pub id: String,
    /// `policy@agent`.
    pub dataset: String,
    /// Its repository.
    pub repository: String,
    /// The job that made it.
    pub job: Option<String>,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// Kept whatever retention says.
    pub pinned: bool,
    /// Entries that are not directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// All its files.
    pub bytes_total: u64,
    /// What it added, as stored.
    pub bytes_stored: u64,
    /// Paths that could not be treated as asked.
    pub warning_count: u64,
    /// Which ones: of a snapshot that is asked for by itself.
    #[serde(default)]
    pub warnings: Vec<super::Warning>,
    /// It lacks something that was asked for, such as one of several
    /// databases, and does not stand for a whole one.
    #[serde(default)]
    pub partial: bool,
    /// Since when its file is known to be gone from the store: it cannot be
    /// restored.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lost_at: Option<Timestamp>,
}

/// Which entries of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Directory inside the snapshot.
    #[param(min_length = 1)]
    pub path: String,
    /// Everything below it.
    pub recursive: bool,
    /// Entries at most.
    #[param(minimum = 1, maximum = 10_000)]
    pub limit: u32,
    /// Continue behind this path: `next_after` of the page before. A backslash
    /// begins an escape: `\\`, `\n`, `\xff` for a byte that is not UTF-8.
    pub after: Option<String>,
    /// Name or id of the agent that reads it; default: the snapshot's own.
    pub agent: Option<String>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            path: "/".into(),
            recursive: false,
            limit: 1_000,
            after: None,
            agent: None,
        }
    }
}

/// Entries of a snapshot, in path order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// In path order.
    pub entries: Vec<Entry>,
    /// There is more behind the last entry.
    pub truncated: bool,
    /// `after` of the next page, with what is no plain text escaped; `null` at
    /// the end.
    #[serde(default)]
    pub next_after: Option<String>,
}
