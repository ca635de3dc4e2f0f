//! From a snapshot to a Redis server that runs.
//!
//! The RDB is fetched as a stream and passed on; nothing touches the agent's
//! disk but a note (`stale_replicas`) of which server was told to follow the agent, so
//! that an agent that is killed meanwhile lets go of it when it starts again.

mod error;
mod stale_replicas;
mod whole;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use strongroom_redis::{Connection, Info, RedisError, glob::Pattern, restore::keys};
use strongroom_repository::Repository;
use strongroom_runtime::clock::SharedClock;
use strongroom_spec::{PlannedAction, RedisTarget, RestoreOutcome, RestoreSpec};
use tokio::{runtime::Handle, sync::mpsc};

pub use error::RedisRestoreError;
pub use stale_replicas::detach_all;

use super::{
    RestoreError,
    stream::{FileStream, SnapshotFiles},
};
use crate::{
    config::RedisConnection,
    monitor::Monitor,
    sources::redis::{DUMP, FORMAT, MANIFEST, MAX_MANIFEST, Manifest, milliseconds},
};

/// Where a restore goes, and what it may use.
pub struct RedisDestination<'a> {
    /// Of `agent.toml`.
    pub connection: &'a RedisConnection,
    /// For notes.
    pub state_dir: &'a Path,
    /// For what has expired.
    pub clock: SharedClock,
}

/// What all ways of restoring need.
struct Restore<'a> {
    files: &'a SnapshotFiles,
    runtime: &'a Handle,
    monitor: &'a Monitor,
    work: &'a RestoreSpec<RedisTarget>,
    connection: &'a Connection,
    manifest: &'a Manifest,
    target: &'a RedisDestination<'a>,
}

/// Restores everything, or the keys that match, or plans to. Blocks: call it
/// from a thread that may, outside of async code.
#[expect(
    clippy::needless_pass_by_value,
    reason = "handles, as they come from whoever starts the thread"
)]
pub fn run(
    repository: Arc<Repository>,
    runtime: Handle,
    work: &RestoreSpec<RedisTarget>,
    target: &RedisDestination<'_>,
    monitor: Arc<Monitor>,
) -> Result<RestoreOutcome, RedisRestoreError> {
    let files = SnapshotFiles::open(repository, runtime.clone(), work.snapshot, monitor.clone())?;
    monitor.enter("planning");
    let manifest = manifest(&files, work)?;
    let connection =
        target
            .connection
            .resolve()
            .map_err(|source| RedisRestoreError::Connection {
                connection: work.target.connection.clone(),
                source,
            })?;
    let restore = Restore {
        files: &files,
        runtime: &runtime,
        monitor: &monitor,
        work,
        connection: &connection,
        manifest: &manifest,
        target,
    };
    // An earlier attempt may have been killed.
    restore
        .until_cancelled(stale_replicas::detach(
            target.state_dir,
            &work.target.connection,
            &connection,
        ))?
        .map_err(|error| restore.failed(error))?;
    let mut result = if work.target.keys.is_empty() {
        whole::run(&restore)?
    } else {
        restore.keys()?
    };
    result.bytes_fetched = files.bytes_fetched();
    Ok(result)
}

fn manifest(
    files: &SnapshotFiles,
    work: &RestoreSpec<RedisTarget>,
) -> Result<Manifest, RedisRestoreError> {
    let snapshot = work.snapshot;
    let json = match files.small_file(MANIFEST, MAX_MANIFEST) {
        Ok(json) => json,
        Err(RestoreError::NoPath { .. }) => {
            return Err(RedisRestoreError::NotRedis { snapshot });
        }
        Err(error) => return Err(error.into()),
    };
    let manifest: Manifest = serde_json::from_slice(&json)
        .map_err(|source| RedisRestoreError::Manifest { snapshot, source })?;
    if manifest.format > FORMAT {
        return Err(RedisRestoreError::TooNew {
            snapshot,
            format: manifest.format,
        });
    }
    Ok(manifest)
}

impl Restore<'_> {
    fn until_cancelled<T>(&self, future: impl Future<Output = T>) -> Result<T, RestoreError> {
        super::block_on(self.runtime, self.monitor, future)
    }

    fn failed(&self, error: RedisError) -> RedisRestoreError {
        RedisRestoreError::server(&self.work.target.connection, error)
    }

    fn dump(&self) -> Result<FileStream, RestoreError> {
        let stream = self.files.file(DUMP)?;
        self.monitor.total_bytes.store(stream.size(), Relaxed);
        Ok(stream)
    }

    /// What every plan begins with.
    fn notes(&self, info: &Info) -> Vec<String> {
        let manifest = self.manifest;
        vec![
            format!(
                "the snapshot is of {} {} ({}), taken at {}",
                manifest.product, manifest.server_version, manifest.role, manifest.started
            ),
            format!(
                "{} is {} {} with {} keys",
                self.connection.address,
                info.product,
                info.version,
                info.keys()
            ),
        ]
    }

    /// Single keys, beside those that are there.
    fn keys(&self) -> Result<RestoreOutcome, RedisRestoreError> {
        if self.manifest.databases.is_none() {
            return Err(RedisRestoreError::Uncounted {
                snapshot: self.work.snapshot,
            });
        }
        let patterns: Vec<Pattern> = self.work.target.keys.iter().map(Pattern::new).collect();
        let data = self.manifest.dataset();
        let prepare = keys::prepare(self.connection, &data);
        let (mut client, info) = self
            .until_cancelled(prepare)?
            .map_err(|error| self.failed(error))?;
        let rdb = self.dump()?;
        let now = milliseconds(&self.target.clock);
        let mut result = nothing(self.notes(&info));
        if self.work.dry_run {
            let (found, _) =
                keys::scan(rdb, &patterns, &now, None).map_err(|error| self.scan_failed(error))?;
            for (database, keys) in &found.matching {
                result.plan.push(PlannedAction {
                    path: format!("database {database}: {keys} keys").into(),
                    action: "write".into(),
                    bytes: 0,
                });
            }
            result.plan_count = result.plan.len() as u64;
            result.files = found.total();
            result.notes.push(expired(found.expired));
            return Ok(result);
        }
        self.monitor.enter("restoring");
        let (sender, mut receiver) = mpsc::channel(keys::AHEAD);
        let (written, scanned) = std::thread::scope(|scope| {
            let patterns = &patterns;
            // Its end is the end of the sender, too.
            let scan = move || keys::scan(rdb, patterns, &now, Some(&sender));
            let scanner = std::thread::Builder::new()
                .name("rdb".into())
                .spawn_scoped(scope, scan)
                .map_err(RestoreError::Thread)?;
            let progress = |count| {
                self.monitor.files.fetch_add(count, Relaxed);
            };
            let write = keys::write(&mut client, &mut receiver, &progress);
            let written = self.until_cancelled(write);
            // Whatever the scanner still has, nobody takes.
            receiver.close();
            while receiver.try_recv().is_ok() {}
            let scanned = scanner.join().map_err(|_| RedisRestoreError::Panicked)?;
            Ok::<_, RedisRestoreError>((written, scanned))
        })?;
        let written = written?.map_err(|error| self.failed(error))?;
        let (found, _) = scanned.map_err(|error| self.scan_failed(error))?;
        result.files = written.restored;
        result.notes.push(expired(found.expired));
        if written.failed > 0 || !found.too_large.is_empty() {
            return Err(RedisRestoreError::incomplete(
                &self.work.target.connection,
                &written,
                &found,
            ));
        }
        Ok(result)
    }

    fn scan_failed(&self, error: keys::ScanError) -> RedisRestoreError {
        match error {
            keys::ScanError::Rdb(source) => RedisRestoreError::rdb(self.work.snapshot, source),
            // The writer's error came first.
            keys::ScanError::Stopped => RestoreError::Cancelled.into(),
        }
    }
}

/// Figures of what has not been done yet.
fn nothing(notes: Vec<String>) -> RestoreOutcome {
    RestoreOutcome {
        server: None,
        files: 0,
        directories: 0,
        bytes_written: 0,
        files_kept: 0,
        bytes_fetched: 0,
        plan: Vec::new(),
        plan_count: 0,
        notes,
    }
}

fn expired(count: u64) -> String {
    match count {
        0 => "no key that matches has expired since".into(),
        count => format!("{count} keys that match have expired since, and are left out"),
    }
}
