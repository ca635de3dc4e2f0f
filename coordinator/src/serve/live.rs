//! What the API asks of the sessions and of the key.

use jiff::Timestamp;
use strongroom_layout::{AgentId, AttemptRef};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    http::{
        problem::{Code, Problem},
        state::{Live, Passwords},
    },
    jobs::LiveAgent,
    keys::KeyEncryptionKey,
    model::{NotedProgress, Repository},
    sessions::{Registry, Skew},
};

impl Live for Registry {
    fn live(&self) -> Vec<LiveAgent> {
        Self::live(self)
    }

    fn is_connected(&self, agent: AgentId) -> bool {
        self.is_live(agent)
    }

    fn skew(&self, agent: AgentId) -> Option<Skew> {
        Self::skew(self, agent)
    }

    fn last_heard(&self, agent: AgentId) -> Option<Timestamp> {
        Self::last_heard(self, agent)
    }

    fn progress(&self, attempt: AttemptRef) -> Option<NotedProgress> {
        Self::noted_progress(self, attempt.job).filter(|it| it.progress.attempt == attempt)
    }

    fn progress_changes(&self) -> watch::Receiver<()> {
        Self::progress_changes(self)
    }
}

impl Passwords for KeyEncryptionKey {
    fn open(&self, repository: &Repository) -> Result<Zeroizing<String>, Problem> {
        Self::open(self, &repository.name, &repository.sealed_password).map_err(|error| {
            tracing::error!(%error, repository = repository.name, "cannot open a password");
            Problem::new(Code::Internal, error.to_string())
        })
    }
}
