//! Repositories.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use strongroom_layout::AgentId;

/// One restic repository inside a store.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// `store/agent`, for example `primary/web-1`.
    pub name: String,
    /// The store's name in the configuration.
    pub store: String,
    /// Below the store's own prefix, without slashes at its ends.
    pub prefix: String,
    /// The agent whose data it holds.
    pub agent: AgentId,
    /// Whether it exists in the store.
    pub state: RepositoryState,
    /// Its password, sealed under the key-encryption key.
    #[serde(skip)]
    pub sealed_password: String,
    /// When the catalog learned of it.
    pub created_at: Timestamp,
}

impl Repository {
    /// The name of an agent's own repository in a store.
    pub fn name_of(store: &str, agent: &str) -> String {
        format!("{store}/{agent}")
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("name", &self.name)
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .field("agent", &self.agent)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Whether a repository exists in its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum RepositoryState {
    /// The next backup creates it.
    New,
    /// A backup was written to it.
    Ready {
        /// Since when.
        at: Timestamp,
    },
}

/// A repository to be entered into the catalog.
#[derive(Clone)]
pub struct NewRepository {
    /// See [`Repository::name_of`].
    pub name: String,
    /// The store's name in the configuration.
    pub store: String,
    /// Below the store's own prefix.
    pub prefix: String,
    /// The agent whose data it will hold.
    pub agent: AgentId,
    /// Its password, sealed under the key-encryption key.
    pub sealed_password: String,
}
