//! A base backup of a whole cluster, made beside its running server.
//!
//! 1. The server is asked where its data lie; `data_dir` opens them, and keeps
//!    them open. Then the server begins a backup; from here on a temporary slot
//!    holds the write-ahead log ([`backup`]).
//! 2. `survey` walks the data directory and the `tablespaces` that the server
//!    knows; `unchanged` says what need not be read. Nothing is read that the
//!    cluster's owner may not read (`access`).
//! 3. `copy` reads the rest on all threads: relations in blobs of whole pages
//!    (`blobs`), their checksums verified.
//! 4. `pg_control` is read last: on a standby it says how far replay must go.
//! 5. The server ends the backup; `log` takes the segments of the write-ahead
//!    log from its beginning to its end. The session is closed, and with it
//!    the slot goes.
//! 6. `tree` puts it all together, with the server's `backup_label` and a
//!    manifest. For the snapshot's shape see [`manifest`].
//!
//! Whatever ends a backup early ends its session, and so the server forgets
//! it. Extended attributes are not kept: PostgreSQL uses none.
//!
//! [`backup`]: strongroom_postgres::physical::backup
//! [`manifest`]: strongroom_postgres::physical::manifest

mod access;
mod blobs;
mod config_files;
mod control;
mod copy;
mod data_dir;
mod error;
mod log;
mod survey;
mod tablespaces;
mod tree;
mod unchanged;

use std::{collections::BTreeSet, sync::atomic::Ordering::Relaxed, time::Duration};

use jiff::Timestamp;
use strongroom_layout::SystemId;
use strongroom_postgres::{
    connection::Session,
    physical::{
        PhysicalError,
        backup::{EndedBackup, RunningBackup, StartOptions, inspect},
        label::{Tablespace, write_tablespace_map},
        manifest::{CONFIG, FORMAT, MANIFEST, METHOD, Manifest, Pages},
    },
};
use strongroom_repository::{
    format::{
        blob::BlobId,
        node::{Node, NodeKind},
    },
    write::{Halted, ParentTrees, Writer},
};
use strongroom_runtime::clock::SharedClock;
use strongroom_spec::ClusterPoint;
use tokio::runtime::Handle;
use uuid::Uuid;

pub use error::ClusterError;

use self::{
    copy::{Copied, Copy, save_bytes},
    data_dir::Cluster,
    log::{Log, LogFile},
    survey::{Survey, Surveyor},
    tablespaces::Tablespaces,
    tree::{Trees, made},
};
use crate::{
    config::PostgresConnection,
    monitor::Monitor,
    sources::{
        files::{Counts, metadata},
        throttle::Pace,
        virtual_files::until_halted,
    },
};

/// A checkpoint that takes longer is worth a word.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cluster to back up.
#[derive(Debug, Clone)]
pub struct ClusterSource {
    /// The connection's name in `agent.toml`.
    pub name: String,
    /// What stands there.
    pub connection: PostgresConnection,
    /// Ask for the checkpoint at once.
    pub fast_checkpoint: bool,
}

/// What a backup of a cluster works with.
pub struct ClusterOptions<'a> {
    /// What to back up.
    pub source: &'a ClusterSource,
    /// The last snapshot's trees.
    pub parents: ParentTrees,
    /// Told about progress and warnings.
    pub monitor: &'a Monitor,
    /// How fast files are read.
    pub pace: &'a Pace,
    /// Says when the copy began.
    pub clock: &'a SharedClock,
}

impl std::fmt::Debug for ClusterOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Saves a cluster; gives the root tree, what was met, and where in the log
/// the copy stands. Blocks: call it from a thread that is none of `runtime`'s.
pub fn save(
    writer: &Writer,
    runtime: &Handle,
    options: &ClusterOptions<'_>,
) -> Result<(BlobId, Counts, ClusterPoint), ClusterError> {
    let source = options.source;
    let connection =
        source
            .connection
            .resolve()
            .map_err(|source_error| ClusterError::Connection {
                name: source.name.clone(),
                source: source_error,
            })?;
    let session = until_halted(writer, runtime, Session::open(&connection, None))??;
    let facts = until_halted(writer, runtime, inspect(&session))??;
    let cluster = Cluster::examine(facts)?;
    let start = StartOptions {
        label: format!("strongroom {}", source.name),
        slot: format!("strongroom_{}", Uuid::new_v4().simple()),
        fast: source.fast_checkpoint,
    };
    let running = begin(&session, &cluster, &start, options.monitor);
    let running = until_halted(writer, runtime, running)??;
    tracing::info!(start = %running.start, hold = ?running.hold, "the server has begun a backup");
    let copied_from = options.clock.now();
    options.monitor.enter("backing up");
    let counts = Counts::default();
    let known = |wait: Duration| -> Result<BTreeSet<u32>, ClusterError> {
        let asking = async {
            tokio::time::sleep(wait).await;
            running.tablespaces().await
        };
        Ok(until_halted(writer, runtime, asking)??)
    };
    let tablespaces = tablespaces::find(&cluster, known)?;
    let survey = survey(writer, options, &cluster, &tablespaces, &counts)?;
    let is_lost = || running.is_lost();
    let copied = Copy {
        survey: &survey,
        page: cluster.control.block_size as usize,
        segment_pages: cluster.control.relation_segment_pages,
        verify: cluster.control.has_checksums().then_some(running.start),
        monitor: options.monitor,
        counts: &counts,
        pace: options.pace,
        owner: &cluster.owner,
        is_lost: &is_lost,
    }
    .run(writer)?;
    let global = &survey.dirs[survey.global];
    let (control, last) = control::read(&global.fd, &global.place, &cluster.owner)?;
    cluster.check_identity(&control)?;
    tablespaces.check_strays(|| known(Duration::ZERO))?;
    let hold = running.hold.clone();
    let ended = until_halted(writer, runtime, running.stop())??;
    let ended_at = options.clock.now();
    tracing::info!(stop = %ended.stop, "the server has ended the backup");
    let log = Log {
        dir: &survey.dirs[survey.wal],
        control: &cluster.control,
        major: cluster.facts.major,
        start: ended.label.start,
        stop: ended.stop,
        hold: &hold,
        owner: &cluster.owner,
        monitor: options.monitor,
        counts: &counts,
        pace: options.pace,
    }
    .save(writer)?;
    // The slot has served.
    drop(session);
    let assembly = Assembly {
        writer,
        survey: &survey,
        cluster: &cluster,
        tablespaces: &tablespaces,
        ended: &ended,
        copied_from,
        until: options.clock.now(),
        monitor: options.monitor,
    };
    let root = assembly.put_together(copied, &last, log, &counts)?;
    let point = ClusterPoint {
        system: SystemId(cluster.facts.system_identifier),
        timeline: ended.label.timeline,
        start: ended.label.start,
        stop: ended.stop,
        segment: cluster.control.wal_segment_size,
        major: cluster.facts.major,
        ended: ended_at,
    };
    Ok((root, counts, point))
}

/// Begins the backup, and says what it waits for when that takes long.
async fn begin<'s>(
    session: &'s Session,
    cluster: &Cluster,
    start: &StartOptions,
    monitor: &Monitor,
) -> Result<RunningBackup<'s>, PhysicalError> {
    monitor.enter("waiting for a checkpoint");
    let mut begun = std::pin::pin!(RunningBackup::start(session, &cluster.facts, start));
    if let Ok(begun) = tokio::time::timeout(PATIENCE, &mut begun).await {
        return begun;
    }
    let what = if start.fast {
        "waiting for the server to end a checkpoint, which it was asked to hurry"
    } else {
        "waiting for the server to end a checkpoint, which takes minutes if it spreads it \
         (checkpoint_timeout): fast_checkpoint = true in the policy, or CHECKPOINT, hurries it"
    };
    monitor.enter(what);
    tracing::info!("{what}");
    begun.await
}

fn survey(
    writer: &Writer,
    options: &ClusterOptions<'_>,
    cluster: &Cluster,
    tablespaces: &Tablespaces,
    counts: &Counts,
) -> Result<Survey, ClusterError> {
    let monitor = options.monitor;
    let survey = Surveyor {
        writer,
        parents: &options.parents,
        monitor,
        cluster,
        tablespaces,
    }
    .survey()?;
    let (kept, kept_bytes) = survey.kept;
    monitor
        .total_files
        .store(survey.files.len() as u64, Relaxed);
    monitor.total_bytes.store(survey.bytes, Relaxed);
    monitor.files.fetch_add(kept, Relaxed);
    monitor.bytes.fetch_add(kept_bytes, Relaxed);
    counts.files_unmodified.store(kept, Relaxed);
    counts.directories.store(survey.dirs.len() as u64, Relaxed);
    Ok(survey)
}

/// What the snapshot is put together from.
struct Assembly<'a> {
    writer: &'a Writer,
    survey: &'a Survey,
    cluster: &'a Cluster,
    tablespaces: &'a Tablespaces,
    ended: &'a EndedBackup,
    copied_from: Timestamp,
    until: Timestamp,
    monitor: &'a Monitor,
}

impl Assembly<'_> {
    fn put_together(
        &self,
        copied: Copied,
        control: &control::LastControl,
        log: Vec<LogFile>,
        counts: &Counts,
    ) -> Result<BlobId, ClusterError> {
        let (survey, owners) = (self.survey, &self.cluster.owners);
        let manifest = self.manifest(copied.pages.clone(), &log);
        let mut trees = Trees::of(survey, copied, owners);
        let blobs = save_bytes(self.writer, &control.bytes)?;
        let kind = NodeKind::File {
            size: control.bytes.len() as u64,
            content: blobs,
            allocated: false,
        };
        let node = metadata::node(b"pg_control", kind, &control.stat, owners, Vec::new());
        trees.put(Some(survey.global), node);
        let root = Some(survey.root);
        trees.put(
            root,
            self.made("backup_label", self.ended.backup_label.as_bytes())?,
        );
        if let Some(map) = self.tablespace_map() {
            trees.put(root, self.made("tablespace_map", map.as_bytes())?);
        }
        self.put_log(&mut trees, log)?;
        let config = config_files::collect(&self.cluster.facts, &self.cluster.owner, self.monitor);
        if !config.is_empty() {
            let nodes = config
                .iter()
                .map(|(name, bytes)| self.made(name, bytes))
                .collect::<Result<_, _>>()?;
            trees.put_dir(None, CONFIG, nodes, &self.cluster.stat, owners);
        }
        trees.put(None, self.made(MANIFEST, &manifest.to_json())?);
        trees.count(counts);
        trees.save(self.writer, survey, owners)
    }

    /// The tablespaces that are in the snapshot. The server names every link
    /// that it found: also those that it does not know, and one that was
    /// dropped when nobody had looked yet, which replay does without.
    fn mapped(&self) -> Vec<Tablespace> {
        let taken = self.tablespaces.oids();
        let all = self.ended.tablespaces.iter();
        all.filter(|it| taken.contains(&it.oid)).cloned().collect()
    }

    /// The server's own text, if it names no others.
    fn tablespace_map(&self) -> Option<String> {
        let mapped = self.mapped();
        if mapped.is_empty() {
            return None;
        }
        Some(if mapped.len() == self.ended.tablespaces.len() {
            self.ended.tablespace_map.clone()
        } else {
            write_tablespace_map(&mapped)
        })
    }

    /// The segments, and notes for the archiver of whoever restores them that
    /// they are archived: they are those of the original.
    fn put_log(&self, trees: &mut Trees, log: Vec<LogFile>) -> Result<(), ClusterError> {
        let (owners, wal) = (&self.cluster.owners, Some(self.survey.wal));
        let like = &self.survey.dirs[self.survey.wal].stat;
        let mut done = Vec::new();
        for file in log {
            if file.is_segment {
                done.push(self.made(&format!("{}.done", file.name), &[])?);
            }
            let kind = NodeKind::File {
                size: file.content.size,
                content: file.content.blobs,
                allocated: false,
            };
            let name = file.name.as_bytes();
            trees.put(
                wal,
                metadata::node(name, kind, &file.stat, owners, Vec::new()),
            );
        }
        trees.put_dir(wal, "archive_status", done, like, owners);
        if self.cluster.facts.major >= 17 {
            trees.put_dir(wal, "summaries", Vec::new(), like, owners);
        }
        Ok(())
    }

    fn made(&self, name: &str, bytes: &[u8]) -> Result<Node, Halted> {
        let blobs = save_bytes(self.writer, bytes)?;
        let (like, owners) = (&self.cluster.stat, &self.cluster.owners);
        let size = bytes.len() as u64;
        // The label's time says from when on writes may have been missed.
        Ok(made(name, blobs, size, like, owners, self.copied_from))
    }

    fn manifest(&self, pages: Pages, log: &[LogFile]) -> Manifest {
        let (facts, control) = (&self.cluster.facts, &self.cluster.control);
        Manifest {
            format: FORMAT,
            method: METHOD.into(),
            server_version: facts.version.clone(),
            major: facts.major,
            system_identifier: facts.system_identifier.to_string(),
            catalog_version: control.catalog_version,
            start_lsn: self.ended.label.start,
            stop_lsn: self.ended.stop,
            timeline: self.ended.label.timeline,
            wal_segment_size: control.wal_segment_size,
            wal_segments: log
                .iter()
                .filter(|file| file.is_segment)
                .map(|file| file.name.clone())
                .collect(),
            block_size: control.block_size,
            from_standby: self.ended.label.from_standby,
            began: self.copied_from.to_string(),
            ended: self.until.to_string(),
            data_directory: facts.data_directory.clone(),
            owner: self.cluster.owner.name.clone(),
            tablespaces: self.mapped(),
            settings: facts.settings.clone(),
            pages,
        }
    }
}
