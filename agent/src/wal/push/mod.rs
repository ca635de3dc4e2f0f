//! Takes what a server pushes by its `archive_command`.
//!
//! - [`client`] is what the server runs for each file, [`listen`] where the
//!   agent is asked, in the words of [`message`], and [`receivers`] how the question
//!   gets to the job of that log, which is here.
//! - [`directory`] is where the files lie, [`files`] reads what is asked for,
//!   [`pending`] knows how far each is.
//!
//! The server asks for one file at a time and waits. So the job looks ahead:
//! whatever else is ready to be pushed is archived in parallel, and when the
//! server comes to it, the answer is there. It is never told that something is
//! archived before it is entered into the catalog.

mod client;
mod directory;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod listen;
mod message;
mod pending;
mod receivers;

use std::{
    path::Path,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use strongroom_layout::{SystemId, position::TimelineId};
use strongroom_postgres::{rights::Purpose, wal::Layout};
use strongroom_runtime::{buffers::Buffers, units::ByteSize};
use strongroom_spec::{WalOutcome, WarningCode};
use strongroom_wire::wal::WalPosition;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

pub use client::{PushError, push};
pub use listen::listen;
pub use receivers::Desks;

use self::{
    directory::LogDirectory,
    files::{Compare, HistoryFile, Kind, Read},
    pending::Files,
    receivers::{Pushed, Seat},
};
use super::{
    WalError,
    archive::{Archive, Histories, Progress, histories_of},
    resume::{Archived, Tails},
    server::{Room, WalServer},
};
use crate::monitor::Monitor;

/// How often the coordinator is told how far the log is known.
const TELL: Duration = Duration::from_secs(10);
/// A job goes on for so long; the coordinator then makes the next one.
const LONG_ENOUGH: Duration = Duration::from_hours(24);
/// Files whose archiving is remembered, until the server asks.
const REMEMBERED: usize = 10_000;
/// Files that are looked at ahead of the server.
const AHEAD: usize = 64;

/// What takes a cluster's log.
pub(super) struct Push<'a> {
    pub(super) server: &'a WalServer,
    pub(super) room: Room,
    pub(super) at_once: usize,
    pub(super) monitor: &'a Monitor,
    pub(super) desks: &'a Desks,
    pub(super) archive: Archive<Tag>,
}

/// What a part is of: the file, and the place that is archived once the part
/// is, and the file with it.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    file: String,
    /// The file's last part.
    whole: Option<Archived>,
    last_commit: Option<Timestamp>,
}

/// A cluster that pushes.
struct Cluster {
    system: SystemId,
    layout: Layout,
    /// Where its log lies.
    directory: LogDirectory,
    seat: Seat,
    histories: Histories,
    /// Where the archive ended when this job began.
    tails: Tails,
    /// A file could not be read as one of this server's log: it may be another's.
    doubt: bool,
}

impl Push<'_> {
    /// Takes for a day, or until the job is cancelled.
    pub(super) async fn run(mut self) -> Result<WalOutcome, WalError> {
        let mut cluster = self.cluster().await?;
        let mut files = Files::default();
        info!(directory = %cluster.directory.path().display(), "the log may be pushed");
        self.monitor.enter("taking what is pushed");
        let mut tell = interval(TELL);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut over = std::pin::pin!(tokio::time::sleep_until(
            (Instant::now() + LONG_ENOUGH).into()
        ));
        loop {
            let room = self.archive.under_way() < self.at_once;
            tokio::select! {
                Some(pushed) = cluster.seat.pushed.recv() => {
                    self.asked(&cluster, &mut files, pushed);
                    self.look_ahead(&cluster, &mut files);
                }
                Some((file, stamp, read)) = files.reading.next(), if room => {
                    files.under_way.insert(file.clone(), stamp);
                    self.read(&mut cluster, &mut files, file, read);
                    if std::mem::take(&mut cluster.doubt) {
                        verify(self.server, &cluster).await?;
                    }
                }
                progress = self.archive.advance() => {
                    self.proceed(&cluster, &mut files, progress?);
                    self.look_ahead(&cluster, &mut files);
                }
                _ = tell.tick() => {
                    self.look_ahead(&cluster, &mut files);
                    if files.reading.is_empty() && self.archive.is_idle() {
                        files.buffers = Buffers::default();
                    }
                    if self.archive.may_enter() {
                        let position = self.position(&cluster, &files);
                        self.archive.enter(position);
                    }
                }
                () = &mut over => break,
            }
        }
        while !self.archive.is_idle() {
            let progress = self.archive.advance().await?;
            self.proceed(&cluster, &mut files, progress);
        }
        Ok(self.archive.figures)
    }

    async fn cluster(&mut self) -> Result<Cluster, WalError> {
        let connection = self.server.resolve().await?;
        let session = self.server.session(&connection).await?;
        let facts = self.server.facts(&session, Purpose::Push).await?;
        let settings = self.server.archiving(&session).await?;
        let layout = Layout {
            major: session.version().major(),
            system_identifier: facts.system_identifier,
            segment_size: facts.wal_segment_size,
            block_size: facts.wal_block_size,
        };
        session.close().await;
        if settings.archive_mode == "off" {
            return Err(WalError::ArchiveMode {
                name: self.server.name.clone(),
                mode: settings.archive_mode,
            });
        }
        let directory = LogDirectory::of_server(Path::new(&settings.data_directory))?;
        let system = SystemId(facts.system_identifier);
        let authority = self.archive.vault().authority();
        let known = authority.archived_wal((system, 0), None).await?;
        Ok(Cluster {
            system,
            layout,
            seat: self
                .desks
                .open(directory.path().to_owned(), directory.owner()),
            directory,
            histories: histories_of(&known),
            tails: Tails::new(known.tails),
            doubt: false,
        })
    }

    /// The server wants to be rid of a file.
    fn asked(&mut self, cluster: &Cluster, files: &mut Files, pushed: Pushed) {
        let Pushed { file, answer } = pushed;
        match Kind::of(&file, cluster.layout) {
            None => {
                let cause = format!("{file:?} is no file of a write-ahead log");
                let _hung_up = answer.send(Err(cause));
            }
            Some(Kind::Needless) => {
                let _hung_up = answer.send(Ok(()));
            }
            Some(kind) => {
                let stamp = cluster.directory.stamp(&file);
                if files.is_done(&file, stamp) || self.gives_way(cluster, files) {
                    let _hung_up = answer.send(Ok(()));
                    return;
                }
                let waiting = files.waiting.entry(file.clone()).or_default();
                waiting.push((stamp, answer));
                self.begin(cluster, files, file, kind);
            }
        }
    }

    /// Whether so much waits that log is given up, as the policy says.
    fn gives_way(&self, cluster: &Cluster, files: &mut Files) -> bool {
        let waiting = files.waiting_bytes(cluster.layout);
        let full = self.room.check(self.server, waiting);
        match &full {
            Err(error) if !files.dropping => {
                let cause = format!(
                    "{error}: log is given up unarchived, as when_full = \"drop-log\" says; there \
                     is a gap, and the next base backup ends it"
                );
                warn!("{cause}");
                self.monitor.warn(
                    WarningCode::LogGap,
                    cluster.directory.path().display().to_string(),
                    cause,
                );
            }
            _ => {}
        }
        files.dropping = full.is_err();
        files.dropping
    }

    /// Begins with what is ready, in the order in which the server will ask.
    fn look_ahead(&mut self, cluster: &Cluster, files: &mut Files) {
        // A directory of some entries, in memory.
        let Ok(ready) = cluster.directory.ready() else {
            return;
        };
        files.ready = ready.len();
        files
            .done
            .retain(|file, _| ready.binary_search(file).is_ok());
        for file in ready.into_iter().take(AHEAD) {
            if files.reading.len() >= self.at_once || files.done.len() >= REMEMBERED {
                break;
            }
            if files.done.contains_key(&file) {
                continue;
            }
            if let Some(kind) = Kind::of(&file, cluster.layout) {
                self.begin(cluster, files, file, kind);
            }
        }
        self.archive.hurry = files.more_wait();
    }

    fn begin(&self, cluster: &Cluster, files: &mut Files, file: String, kind: Kind) {
        if kind == Kind::Needless || files.under_way.contains_key(&file) {
            return;
        }
        files.under_way.insert(file.clone(), None);
        let (directory, layout) = (cluster.directory.clone(), cluster.layout);
        let (name, buffers) = (file.clone(), files.buffers.clone());
        let compare = Compare {
            digester: self.archive.vault().digester(),
            tail: match kind {
                Kind::Segment(segment) => cluster.tails.of(segment.timeline),
                _ => None,
            },
        };
        let read = move || {
            // Before: what comes in its place is read again.
            let stamp = directory.stamp(&name);
            let read = files::read(&directory, &name, kind, layout, &buffers, &compare);
            (stamp, read)
        };
        let reading = async move {
            let read = tokio::task::spawn_blocking(read).await;
            let (stamp, read) = read.unwrap_or((None, Err(WalError::Cancelled)));
            (file, stamp, read)
        };
        files.reading.push_back(reading.boxed());
    }

    /// A file was read: archives it.
    fn read(
        &mut self,
        cluster: &mut Cluster,
        files: &mut Files,
        file: String,
        read: Result<Read, WalError>,
    ) {
        match read {
            Ok(Read::Segment(whole, segment)) => {
                let parts = segment.parts.len();
                for (number, (cut, summary)) in segment.parts.into_iter().enumerate() {
                    self.monitor
                        .bytes
                        .fetch_add(cut.bytes.len() as u64, Relaxed);
                    let tag = Tag {
                        file: file.clone(),
                        whole: (number + 1 == parts).then_some(whole),
                        last_commit: segment.last_commit,
                    };
                    let (system, timeline) = (cluster.system, segment.timeline);
                    self.archive.store(system, timeline, cut, summary, tag);
                }
                self.monitor.files.fetch_add(1, Relaxed);
            }
            Ok(Read::History(timeline, history)) => {
                let histories = &mut cluster.histories;
                let content = &history.content;
                if !self.archive.wants_history(histories, timeline, content) {
                    return files.finish(&file, &Ok(()));
                }
                let tag = Tag {
                    file,
                    whole: None,
                    last_commit: None,
                };
                let HistoryFile { content, legs } = history;
                self.archive
                    .store_history(cluster.system, timeline, content, legs, tag);
            }
            Err(error) => {
                cluster.doubt |= files.waiting.contains_key(&file);
                // Only this file: whoever looks ahead may look at what has gone.
                files.finish(&file, &Err(error.to_string()));
            }
        }
    }

    fn proceed(&mut self, cluster: &Cluster, files: &mut Files, progress: Progress<Tag>) {
        if let Progress::Entered(tags) = progress {
            for tag in tags {
                files.tail = files.tail.max(tag.whole);
                files.last_commit = files.last_commit.max(tag.last_commit);
                let is_history = TimelineId::of_history_file(&tag.file).is_some();
                if tag.whole.is_some() || is_history {
                    files.finish(&tag.file, &Ok(()));
                }
            }
        }
        if self.archive.may_enter() && self.archive.waiting().next().is_some() {
            let position = self.position(cluster, files);
            self.archive.enter(position);
        }
    }

    /// How far the log is known once what is stored is entered. Behind the last
    /// segment there may be commits: it is complete up to the last in it.
    fn position(&self, cluster: &Cluster, files: &Files) -> Option<WalPosition> {
        let stored = self.archive.waiting();
        let (mut tail, mut last_commit) = (files.tail, files.last_commit);
        for tag in stored {
            tail = tail.max(tag.whole);
            last_commit = last_commit.max(tag.last_commit);
        }
        let tail = tail?;
        let waiting = files.waiting_bytes(cluster.layout);
        let given_up = files.dropping.then(|| {
            format!(
                "{} of log wait on the server: it is given up, as the policy says",
                ByteSize(waiting)
            )
        });
        Some(WalPosition {
            system: cluster.system,
            timeline: tail.timeline,
            lsn: tail.end,
            as_of: last_commit,
            waiting,
            problem: given_up.or_else(|| self.room.problem(waiting)),
        })
    }
}

/// An error when the connection leads to another cluster by now.
async fn verify(server: &WalServer, cluster: &Cluster) -> Result<(), WalError> {
    let facts = async {
        let connection = server.resolve().await?;
        let session = server.session(&connection).await?;
        let facts = server.facts(&session, Purpose::Push).await;
        session.close().await;
        facts
    };
    match facts.await {
        Ok(facts) if SystemId(facts.system_identifier) != cluster.system => {
            Err(WalError::OtherCluster {
                name: server.name.clone(),
                before: cluster.system,
                now: SystemId(facts.system_identifier),
            })
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "whose log this is cannot be asked");
            Ok(())
        }
    }
}
