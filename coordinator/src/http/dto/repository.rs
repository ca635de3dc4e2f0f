//! Repositories.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of repositories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Repositories {
    /// The newest first.
    pub repositories: Vec<Repository>,
    /// `before` of the next page; `null` at the end.
    #[serde(default)]
    pub next_before: Option<String>,
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

/// What a repository's store held and holds no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryLosses {
    /// Which.
    pub repository: String,
    /// When the store was last compared with the catalog; `null`: it is about to be.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub compared_at: Option<Timestamp>,
    /// How many objects were lost then: more than are listed, when they are very
    /// many.
    pub lost: u64,
    /// By path.
    pub objects: Vec<LostObject>,
    /// The snapshots that may need what was lost: taken after it was written, and
    /// before it was noticed. Newest first, 100 at most.
    pub snapshots: Vec<super::Snapshot>,
}

/// An object that a store had and has no more, or not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LostObject {
    /// Below the repository's place.
    pub path: String,
    /// `config`, `key`, `data-pack`, `tree-pack`, `index` or `snapshot`.
    pub kind: String,
    /// Bytes, as it was written.
    pub length: u64,
    /// Bytes that are there; `null`: it is not.
    pub found: Option<u64>,
    /// When its PUT was granted.
    #[schema(value_type = String, format = DateTime)]
    pub written_at: Timestamp,
    /// When the coordinator noticed it.
    #[schema(value_type = String, format = DateTime)]
    pub noticed_at: Timestamp,
    /// When an operator said that it is no alarm any more.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub accepted_at: Option<Timestamp>,
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
