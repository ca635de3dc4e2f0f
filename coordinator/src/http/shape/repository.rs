//! Repositories.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All repositories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Repositories {
    /// By name.
    pub repositories: Vec<Repository>,
}

/// A restic repository in a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// The store it lies in.
    pub store: String,
    /// The agent whose data it holds.
    pub agent: Option<String>,
    /// Where it lies in the store's bucket.
    pub prefix: String,
    /// How plain `restic -r` names it.
    pub location: String,
    /// Index files of attempts that ended without a snapshot: no job is shown
    /// them. The next backup lists anew what an interrupted one stored.
    pub withheld_indexes: u64,
    /// Whether a job has created it in the store.
    pub created: bool,
    /// When the coordinator first knew it.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// What opens a repository.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryPassword {
    /// Which.
    pub repository: String,
    /// For `restic --password-file`.
    pub password: String,
    /// How plain `restic -r` names it.
    pub location: String,
}

impl fmt::Debug for RepositoryPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryPassword")
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}
