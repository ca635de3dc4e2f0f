//! The tasks: what an attempt of each kind of job does on an open repository, a file each.
//!
//! Whoever runs them ([`Engine`](crate::runner::Engine)) has asked for consent, opened the
//! repository and locked it as the kind says, and releases it again. What a task uses of
//! the host it asks [`consent`](crate::consent) for once more, as a place and not by name.

mod backup;
mod download;
mod list;
mod restore;
mod upload;
mod wal;

use std::sync::Arc;

use strongroom_layout::AttemptRef;
use strongroom_repository::{Repository, store::SharedStore};
use strongroom_runtime::clock::SharedClock;
use strongroom_spec::{Failure, JobSpec, Outcome};
use tracing::Span;

use crate::{
    config::{AgentConfig, PostgresConnection, RedisConnection},
    failure,
    grants::GrantAuthority,
    limits::JobLimits,
    monitor::Monitor,
    wal::{WalServer, push::Desks},
};

pub(crate) use wal::relieve;

/// What every task has.
pub(crate) struct Task {
    /// As it was when the job began.
    pub(crate) config: Arc<AgentConfig>,
    pub(crate) hostname: String,
    pub(crate) clock: SharedClock,
    pub(crate) desks: Desks,
    pub(crate) attempt: AttemptRef,
    /// Ends with the attempt.
    pub(crate) store: SharedStore,
    pub(crate) repository: Arc<Repository>,
    pub(crate) authority: Arc<GrantAuthority>,
    pub(crate) limits: JobLimits,
    pub(crate) monitor: Arc<Monitor>,
}

impl Task {
    /// Does what is asked.
    pub(crate) async fn run(self, spec: JobSpec) -> Result<Outcome, Failure> {
        match spec {
            JobSpec::Backup(spec) => self.backup(spec).await.map(Outcome::Backup),
            JobSpec::Restore(spec) => self.restore(spec).await.map(Outcome::Restore),
            JobSpec::List(spec) => self.list(spec).await.map(Outcome::List),
            JobSpec::Upload(spec) => self.upload(spec).await.map(Outcome::Upload),
            JobSpec::Download(spec) => self.download(spec).await.map(Outcome::Download),
            JobSpec::Wal(spec) => self.wal(spec).await.map(Outcome::Wal),
        }
    }
}

/// A server as `agent.toml` defines it, which consent has made sure of.
fn postgres(config: &AgentConfig, name: &str) -> Result<PostgresConnection, Failure> {
    let defined = config.postgres.get(name);
    defined.cloned().ok_or_else(|| vanished(name))
}

/// Likewise.
fn redis(config: &AgentConfig, name: &str) -> Result<RedisConnection, Failure> {
    let defined = config.redis.get(name);
    defined.cloned().ok_or_else(|| vanished(name))
}

fn vanished(name: &str) -> Failure {
    failure::internal(&format!("what agent.toml calls {name:?} vanished"))
}

/// The server whose log is archived.
fn wal_server(config: &AgentConfig, name: &str) -> Result<WalServer, Failure> {
    Ok(WalServer {
        name: name.to_owned(),
        connection: postgres(config, name)?,
    })
}

/// Runs what blocks, in the caller's span, where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| failure::of_thread(&error))
}
