//! The restore: from a snapshot into a directory or a server.

use std::{path::PathBuf, sync::Arc};

use strongroom_spec::{
    ClusterTarget, DirectoryTarget, Failure, PostgresTarget, RedisTarget, RestoreOutcome,
    RestoreSpec, Target,
};
use tokio::runtime::Handle;

use super::{Task, blocking, postgres, redis};
use crate::{
    consent, failure,
    limits::JobLimits,
    restore::{
        self, RestoreOptions,
        cluster::{
            self,
            recovery::{LogIndex, LogSource},
        },
        postgres::PostgresDestination,
        redis::RedisDestination,
    },
};

impl Task {
    /// Of any target.
    pub(super) async fn restore(self, spec: RestoreSpec) -> Result<RestoreOutcome, Failure> {
        match spec.target.clone() {
            Target::Directory(target) => self.restore_directory(spec.to(|_| target)).await,
            Target::Cluster(target) => self.restore_cluster(spec.to(|_| target)).await,
            Target::Postgres(target) => self.restore_postgres(spec.to(|_| target)).await,
            Target::Redis(target) => self.restore_redis(spec.to(|_| target)).await,
        }
    }

    async fn restore_directory(
        self,
        spec: RestoreSpec<DirectoryTarget>,
    ) -> Result<RestoreOutcome, Failure> {
        let runtime = Handle::current();
        blocking(move || {
            let target = consent::target(&self.config, &spec.target.directory)?;
            let options = restore_options(&self.limits);
            restore::run(
                self.repository,
                runtime,
                &spec,
                &target,
                &options,
                self.monitor,
            )
            .map_err(|error| failure::of_restore(&error))
        })
        .await?
    }

    async fn restore_cluster(
        self,
        spec: RestoreSpec<ClusterTarget>,
    ) -> Result<RestoreOutcome, Failure> {
        let log = LogSource {
            index: Arc::clone(&self.authority) as Arc<dyn LogIndex>,
            program: own_program().map_err(|error| failure::internal(&error))?,
        };
        let runtime = Handle::current();
        blocking(move || {
            let options = restore_options(&self.limits);
            let consent = |path: &str| {
                consent::target(&self.config, path).map_err(|refusal| refusal.to_string())
            };
            let (repository, monitor) = (self.repository, self.monitor);
            cluster::run(
                repository, runtime, &spec, &options, &consent, &log, monitor,
            )
            .map_err(|error| error.to_failure())
        })
        .await?
    }

    async fn restore_postgres(
        self,
        spec: RestoreSpec<PostgresTarget>,
    ) -> Result<RestoreOutcome, Failure> {
        let runtime = Handle::current();
        blocking(move || {
            let destination = PostgresDestination {
                connection: &postgres(&self.config, &spec.target.connection)?,
                state_dir: &self.config.state_dir,
                attempt: self.attempt,
                threads: self.limits.threads,
                clock: self.clock,
            };
            let (repository, monitor) = (self.repository, self.monitor);
            restore::postgres::run(repository, runtime, &spec, &destination, monitor)
                .map_err(|error| error.to_failure())
        })
        .await?
    }

    async fn restore_redis(
        self,
        spec: RestoreSpec<RedisTarget>,
    ) -> Result<RestoreOutcome, Failure> {
        let runtime = Handle::current();
        blocking(move || {
            let destination = RedisDestination {
                connection: &redis(&self.config, &spec.target.connection)?,
                state_dir: &self.config.state_dir,
                clock: self.clock,
            };
            let (repository, monitor) = (self.repository, self.monitor);
            restore::redis::run(repository, runtime, &spec, &destination, monitor)
                .map_err(|error| error.to_failure())
        })
        .await?
    }
}

/// Where this program lies; after an update that went on while we ran, where
/// the new one does.
fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_str().unwrap_or_default();
    Ok(text
        .strip_suffix(" (deleted)")
        .map_or(path.clone(), PathBuf::from))
}

fn restore_options(limits: &JobLimits) -> RestoreOptions {
    let mut options = RestoreOptions::default();
    options.memory = limits.memory.map_or(options.memory, |bytes| bytes as u64);
    options.threads = limits.threads;
    options
}
