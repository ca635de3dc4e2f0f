//! The backup: from a policy's source to a published snapshot.

use std::sync::Arc;

use strongroom_layout::ObjectId;
use strongroom_spec::{BackupOutcome, BackupSpec, Failure, PostgresSource, Source};
use tokio::runtime::Handle;
use tracing::{Instrument, info_span};

use super::{Task, blocking, postgres, redis, vanished};
use crate::{
    allowed::AllowedPaths,
    backup::{self, BackupRequest, BackupSource, PreparedBackup},
    config::AgentConfig,
    consent, failure,
    grants::Publication,
    sources::{
        command::Command,
        postgres::{logical::LogicalSource, physical::ClusterSource},
        redis::RedisSource,
        throttle::Pace,
    },
};

/// What a snapshot is to be taken of.
pub(super) struct Wanted {
    pub(super) source: BackupSource,
    pub(super) parent: Option<ObjectId>,
    pub(super) tags: Vec<String>,
}

impl Task {
    /// Of a policy's source.
    pub(super) async fn backup(self, spec: BackupSpec) -> Result<BackupOutcome, Failure> {
        let wanted = Wanted {
            source: source(&self.config, spec.source)?,
            parent: spec.parent,
            tags: spec.tags,
        };
        self.take(wanted).await
    }

    /// Everything up to the published snapshot.
    pub(super) async fn take(self, wanted: Wanted) -> Result<BackupOutcome, Failure> {
        let request = BackupRequest {
            source: wanted.source,
            parent: wanted.parent,
            tags: wanted.tags,
            hostname: self.hostname.clone(),
            threads: Some(self.limits.threads),
            memory_budget: self.limits.memory,
            pace: Pace::new(self.limits.read.clone(), Handle::current()),
            cache: Some(self.config.cache_directory()),
            clock: self.clock.clone(),
            allowed: AllowedPaths::default(),
            probe: None,
        };
        let (runtime, watched) = (Handle::current(), Arc::clone(&self.monitor));
        let (config, repository) = (Arc::clone(&self.config), Arc::clone(&self.repository));
        let prepared = blocking(move || {
            let allowed = match &request.source {
                BackupSource::Files(files) => consent::paths(&config, &files.paths)?,
                _ => AllowedPaths::default(),
            };
            let request = BackupRequest { allowed, ..request };
            backup::run(repository, runtime, request, watched).map_err(|error| error.to_failure())
        })
        .await??;
        self.monitor.enter("publishing");
        self.publish(prepared)
            .instrument(info_span!("publish"))
            .await
    }

    /// Writes the snapshot file, which the coordinator signs only while the lease
    /// holds: from here on the backup exists.
    async fn publish(&self, prepared: PreparedBackup) -> Result<BackupOutcome, Failure> {
        self.authority.announce(Publication {
            result: prepared.result.clone(),
            time: prepared.snapshot.time,
        });
        let stored = self.store.put(prepared.object, prepared.body).await;
        stored.map_err(|error| failure::of_store(&error))?;
        Ok(prepared.result)
    }
}

/// What a source names comes from `agent.toml`, never from the job.
fn source(config: &AgentConfig, source: Source) -> Result<BackupSource, Failure> {
    match source {
        Source::Files(files) => Ok(BackupSource::Files(files)),
        Source::Command(named) => {
            let defined = config.commands.get(&named.name);
            let defined = defined.ok_or_else(|| vanished(&named.name))?;
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
                connection: postgres(config, &name)?,
                fast_checkpoint: physical.fast_checkpoint,
                name,
            }))
        }
        Source::Postgres(PostgresSource::Logical(asked)) => {
            Ok(BackupSource::Logical(LogicalSource {
                connection: postgres(config, &asked.connection)?,
                asked,
            }))
        }
        Source::Redis(named) => Ok(BackupSource::Redis(RedisSource {
            connection: redis(config, &named.connection)?,
            name: named.connection,
        })),
    }
}
