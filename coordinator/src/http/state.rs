//! What the endpoints work with.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use strongroom_layout::{AgentId, AttemptRef};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

use super::{auth::Sentry, problem::Problem};
use crate::{
    catalog::Catalog,
    jobs::{Concurrency, LiveAgent},
    model::{NotedProgress, Repository},
    sessions::Skew,
    stores::Stores,
    transfers::Transfers,
};

/// Shared by all requests.
pub type SharedState = Arc<ApiState>;

/// What the endpoints work with.
pub struct ApiState {
    /// Everything that is remembered.
    pub catalog: Catalog,
    /// The sessions of this process.
    pub live: Arc<dyn Live>,
    /// Opens sealed repository passwords.
    pub passwords: Arc<dyn Passwords>,
    /// Uploads and downloads.
    pub transfers: Transfers,
    /// Every store that policies may name, and where it is.
    pub stores: BTreeMap<String, StorePlace>,
    /// What is known of them.
    pub checked: Stores,
    /// How many jobs may be at work at once.
    pub limits: watch::Receiver<Concurrency>,
    /// The CA's certificate, PEM, for new operators' profiles.
    pub ca_certificate: String,
    /// SHA-256 of the CA's certificate: what join tokens pin.
    pub ca_fingerprint: [u8; 32],
    /// Host and port that invitations name.
    pub agents_address: String,
    /// When this process started.
    pub started_at: Timestamp,
    /// Watches over wrong tokens.
    pub sentry: Sentry,
    /// What goes on when whoever asked for it is gone.
    pub tasks: TaskTracker,
    /// Cancelled when long polls should end.
    pub shutdown: CancellationToken,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState")
            .field("agents_address", &self.agents_address)
            .finish_non_exhaustive()
    }
}

/// What the process with the sessions knows; [`presence`](super::presence) adds what
/// others do.
pub trait Live: Send + Sync + 'static {
    /// Every agent with a session here.
    fn live(&self) -> Vec<LiveAgent>;

    /// Whether a session of the agent is open here.
    fn is_connected(&self, agent: AgentId) -> bool;

    /// How far the clock of an agent with a session is from this host's.
    fn skew(&self, agent: AgentId) -> Option<Skew>;

    /// When an agent was last heard of that has or had a session here.
    fn last_heard(&self, agent: AgentId) -> Option<Timestamp>;

    /// How far an attempt is, as its last heartbeat here said.
    fn progress(&self, attempt: AttemptRef) -> Option<NotedProgress>;

    /// Wakes when some attempt's progress has changed.
    fn progress_changes(&self) -> watch::Receiver<()>;
}

/// Opens sealed repository passwords.
pub trait Passwords: Send + Sync + 'static {
    /// The password of a repository.
    fn open(&self, repository: &Repository) -> Result<Zeroizing<String>, Problem>;
}

/// How plain restic reaches a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePlace {
    /// What stands before a repository's path: `s3:https://host/bucket/prefix`
    /// or a directory.
    pub restic: String,
}

impl StorePlace {
    /// How `restic -r` names the repository at `prefix` below the store's own.
    pub fn location(&self, prefix: &str) -> String {
        format!("{}/{prefix}", self.restic.trim_end_matches('/'))
    }
}
