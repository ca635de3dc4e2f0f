//! The three kinds of work, on an open repository.

use std::{path::PathBuf, sync::Arc};

use strongroom_layout::{AttemptRef, ObjectId};
use strongroom_wire::job::{
    BackupWork, Failure, ListWork, PostgresSource, RestoreClusterWork, RestorePostgresWork,
    RestoreRedisWork, RestoreWork, Source, Success,
};
use tokio::runtime::Handle;
use tracing::{Instrument, info_span};

use super::{Engine, SharedRepository, access::Stores, blocking, failure};
use crate::{
    allowed::AllowedPaths,
    backup::{self, BackupRequest, BackupSource, PreparedBackup},
    config::PostgresConnection,
    grants::{GrantAuthority, Publication},
    limits::JobLimits,
    monitor::Monitor,
    restore::{
        self, RestoreOptions,
        cluster::{
            self,
            recovery::{LogIndex, LogSource},
        },
        postgres::{self, PostgresTarget},
        redis::{self, RedisTarget},
    },
    runner::consent,
    sources::{
        command::Command,
        postgres::{logical::LogicalSource, physical::ClusterSource},
        redis::RedisSource,
        throttle::Pace,
    },
    wal::WalServer,
};

/// What a snapshot is to be taken of.
pub(super) struct Wanted {
    pub(super) source: BackupSource,
    pub(super) parent: Option<ObjectId>,
    pub(super) tags: Vec<String>,
}

impl Engine {
    /// Of a policy's source.
    pub(super) async fn backup(
        &self,
        stores: &Stores,
        repository: SharedRepository,
        authority: &GrantAuthority,
        work: BackupWork,
        limits: &JobLimits,
        monitor: &Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let wanted = Wanted {
            source: self.source(work.source)?,
            parent: work.parent,
            tags: work.tags,
        };
        self.take(stores, repository, authority, wanted, limits, monitor)
            .await
    }

    /// Everything up to the published snapshot.
    pub(super) async fn take(
        &self,
        stores: &Stores,
        repository: SharedRepository,
        authority: &GrantAuthority,
        wanted: Wanted,
        limits: &JobLimits,
        monitor: &Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let request = BackupRequest {
            source: wanted.source,
            parent: wanted.parent,
            tags: wanted.tags,
            hostname: self.0.hostname.clone(),
            threads: Some(limits.threads),
            memory_budget: limits.memory,
            pace: Pace::new(limits.read.clone(), Handle::current()),
            cache: Some(self.config().cache_directory()),
            clock: self.0.clock.clone(),
            allowed: AllowedPaths::default(),
            probe: None,
        };
        let (runtime, watched) = (Handle::current(), Arc::clone(monitor));
        let config = Arc::clone(self.config());
        let prepared = blocking(move || {
            let allowed = match &request.source {
                BackupSource::Files(files) => consent::paths(&config, &files.paths)?,
                _ => AllowedPaths::default(),
            };
            let request = BackupRequest { allowed, ..request };
            backup::run(repository, runtime, request, watched).map_err(|error| error.to_failure())
        })
        .await??;
        monitor.enter("publishing");
        publish(stores, authority, prepared)
            .instrument(info_span!("publish"))
            .await
    }

    /// A server as `agent.toml` defines it, which consent has made sure of.
    fn postgres(&self, name: &str) -> Result<PostgresConnection, Failure> {
        let defined = self.config().postgres.get(name);
        defined
            .cloned()
            .ok_or_else(|| failure::internal(&format!("the connection {name:?} vanished")))
    }

    /// The server whose log is archived.
    pub(super) fn wal_server(&self, name: &str) -> Result<WalServer, Failure> {
        Ok(WalServer {
            name: name.to_owned(),
            connection: self.postgres(name)?,
        })
    }

    /// The command's definition comes from `agent.toml`, never from the job.
    fn source(&self, source: Source) -> Result<BackupSource, Failure> {
        match source {
            Source::Files(files) => Ok(BackupSource::Files(files)),
            Source::Command(named) => {
                let defined = self.config().commands.get(&named.name).ok_or_else(|| {
                    failure::internal(&format!("the command {:?} vanished", named.name))
                })?;
                Ok(BackupSource::Command(Command {
                    name: named.name,
                    argv: defined.argv.clone(),
                    filename: defined.filename.clone(),
                    report_stderr: defined.report_stderr,
                    allow_empty: defined.allow_empty,
                }))
            }
            Source::Postgres(PostgresSource::Physical(physical)) => {
                let name = physical.connection;
                Ok(BackupSource::Cluster(ClusterSource {
                    connection: self.postgres(&name)?,
                    fast_checkpoint: physical.fast_checkpoint,
                    name,
                }))
            }
            Source::Postgres(PostgresSource::Logical(asked)) => {
                Ok(BackupSource::Logical(LogicalSource {
                    connection: self.postgres(&asked.connection)?,
                    asked,
                }))
            }
            Source::Redis(named) => {
                let name = named.connection;
                let defined = self.config().redis.get(&name).ok_or_else(|| {
                    failure::internal(&format!("the connection {name:?} vanished"))
                })?;
                Ok(BackupSource::Redis(RedisSource {
                    connection: defined.clone(),
                    name,
                }))
            }
        }
    }

    pub(super) async fn restore(
        &self,
        repository: SharedRepository,
        work: RestoreWork,
        limits: &JobLimits,
        monitor: &Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let options = restore_options(limits);
        let (runtime, watched) = (Handle::current(), Arc::clone(monitor));
        let config = Arc::clone(self.config());
        blocking(move || {
            let target = consent::target(&config, &work.target)?;
            restore::run(repository, runtime, &work, &target, &options, watched)
                .map(Success::Restore)
                .map_err(|error| failure::of_restore(&error))
        })
        .await?
    }

    pub(super) async fn restore_cluster(
        &self,
        repository: SharedRepository,
        authority: &Arc<GrantAuthority>,
        work: RestoreClusterWork,
        limits: &JobLimits,
        monitor: &Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let options = restore_options(limits);
        let log = LogSource {
            index: Arc::clone(authority) as Arc<dyn LogIndex>,
            program: own_program().map_err(|error| failure::internal(&error))?,
        };
        let config = Arc::clone(self.config());
        let (runtime, watched) = (Handle::current(), Arc::clone(monitor));
        blocking(move || {
            let consent =
                |path: &str| consent::target(&config, path).map_err(|refusal| refusal.to_string());
            cluster::run(
                repository, runtime, &work, &options, &consent, &log, watched,
            )
        })
        .await?
        .map(Success::Restore)
        .map_err(|error| error.to_failure())
    }

    pub(super) async fn restore_postgres(
        &self,
        repository: SharedRepository,
        work: RestorePostgresWork,
        attempt: AttemptRef,
        limits: &JobLimits,
        monitor: &Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let (engine, threads) = (self.clone(), limits.threads);
        let (runtime, watched) = (Handle::current(), Arc::clone(monitor));
        blocking(move || {
            let config = engine.config();
            let connection = config.postgres.get(&work.connection).ok_or_else(|| {
                failure::internal(&format!("the connection {:?} vanished", work.connection))
            })?;
            let target = PostgresTarget {
                connection,
                state_dir: &config.state_dir,
                attempt,
                threads,
                clock: engine.0.clock.clone(),
            };
            postgres::run(repository, runtime, &work, &target, watched)
                .map(Success::Restore)
                .map_err(|error| error.to_failure())
        })
        .await?
    }

    pub(super) async fn restore_redis(
        &self,
        repository: SharedRepository,
        work: RestoreRedisWork,
        monitor: &Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let engine = self.clone();
        let (runtime, watched) = (Handle::current(), Arc::clone(monitor));
        blocking(move || {
            let config = engine.config();
            let connection = config.redis.get(&work.connection).ok_or_else(|| {
                failure::internal(&format!("the connection {:?} vanished", work.connection))
            })?;
            let target = RedisTarget {
                connection,
                state_dir: &config.state_dir,
                clock: engine.0.clock.clone(),
            };
            redis::run(repository, runtime, &work, &target, watched)
                .map(Success::Restore)
                .map_err(|error| error.to_failure())
        })
        .await?
    }

    pub(super) async fn list(
        &self,
        repository: SharedRepository,
        work: ListWork,
        monitor: Arc<Monitor>,
    ) -> Result<Success, Failure> {
        let runtime = Handle::current();
        blocking(move || restore::list(repository, &runtime, &work, &monitor))
            .await?
            .map(Success::List)
            .map_err(|error| failure::of_restore(&error))
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

/// Writes the snapshot file, which the coordinator signs only while the lease
/// holds: from here on the backup exists.
async fn publish(
    stores: &Stores,
    authority: &GrantAuthority,
    prepared: PreparedBackup,
) -> Result<Success, Failure> {
    authority.announce(Publication {
        result: prepared.result.clone(),
        time: prepared.snapshot.time,
    });
    stores
        .working
        .put(prepared.object, prepared.body)
        .await
        .map_err(|error| failure::of_store(&error))?;
    Ok(Success::Backup(prepared.result))
}
