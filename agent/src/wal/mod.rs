//! Archives the write-ahead log of a PostgreSQL cluster, for as long as its
//! policy wants it.
//!
//! - [`stream`] follows the server by the replication protocol: connections,
//!   the slot ([`server`]), where to go on ([`resume`]); [`follow`] is what goes
//!   on while the log comes: it is cut into parts ([`cut`]) and read along for
//!   commits ([`summary`]).
//! - [`push`] takes what the server's `archive_command` hands over.
//! - [`archive`] seals parts, stores them and enters them into the catalog.
//! - [`watermark`] says until when the log is known to be complete.
//!
//! A part is a *unit* of 16 MiB (or a whole segment, if those are smaller), or
//! a piece of the unit that the server is writing at the moment, so that what
//! was committed a few seconds ago is archived. A unit that is whole is stored
//! once more as one object, and the coordinator deletes its pieces.

mod archive;
mod cut;
mod error;
mod follow;
pub mod push;
mod resume;
mod server;
mod stream;
mod summary;
mod watermark;

use std::{sync::Arc, time::Duration};

use strongroom_repository::{Repository, store::SharedStore};
use strongroom_spec::{WalMethod, WalOutcome, WalSpec};
use tracing::warn;

pub use error::WalError;
pub use server::WalServer;

use self::{
    archive::{Archive, Vault},
    push::{Desks, Push},
    server::{Held, Room},
    stream::Stream,
    watermark::Heard,
};
use crate::{
    grants::{GrantAuthority, WalRecord},
    limits::JobLimits,
    monitor::Monitor,
};

/// Memory of a unit under way: as it is, and sealed.
const UNIT_MEMORY: usize = 32 << 20;
/// Units under way at once, unless threads or memory allow fewer.
const MOST_AT_ONCE: usize = 4;

/// What a job works with.
pub struct WalJob {
    /// Whose log.
    pub server: WalServer,
    /// What is asked.
    pub work: WalSpec,
    /// Where it goes.
    pub repository: Arc<Repository>,
    /// By which way.
    pub store: SharedStore,
    /// Who signs, and enters.
    pub authority: Arc<GrantAuthority>,
    /// Where it takes what is pushed.
    pub desks: Desks,
    /// What it may take of the host.
    pub limits: JobLimits,
    /// Told about progress and warnings.
    pub monitor: Arc<Monitor>,
}

impl std::fmt::Debug for WalJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalJob")
            .field("server", &self.server)
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

/// Archives until it is time for another job, or the monitor's token is
/// cancelled.
pub async fn run(job: WalJob) -> Result<WalOutcome, WalError> {
    let cancel = job.monitor.cancel.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(WalError::Cancelled),
        result = archive_log(&job) => result,
    }
}

async fn archive_log(job: &WalJob) -> Result<WalOutcome, WalError> {
    let vault = Vault::new(
        Arc::clone(&job.repository),
        Arc::clone(&job.store),
        Arc::clone(&job.authority),
    );
    // The repository is open, and so it is there: whoever waits for that may
    // begin.
    vault.authority().record_wal(WalRecord::default()).await?;
    match &job.work.method {
        WalMethod::Stream {
            slot,
            flush_seconds,
        } => {
            let stream = Stream {
                server: &job.server,
                slot,
                flush: Duration::from_secs((*flush_seconds).max(1).into()),
                room: room(&job.work),
                at_once: at_once(&job.limits),
                monitor: &job.monitor,
                archive: Archive::new(vault),
                known: None,
                entered: None,
                held: Held::default(),
                heard: Heard::default(),
                tell: false,
                problem: None,
                given_up: false,
                warned: false,
            };
            stream.run().await
        }
        WalMethod::Push => {
            let push = Push {
                server: &job.server,
                room: room(&job.work),
                at_once: at_once(&job.limits),
                monitor: &job.monitor,
                desks: &job.desks,
                archive: Archive::new(vault),
            };
            push.run().await
        }
        WalMethod::Forget { slot } => {
            forget(&job.server, slot).await?;
            Ok(WalOutcome::default())
        }
    }
}

fn room(work: &WalSpec) -> Room {
    Room {
        limit: work.limit,
        drop: work.drop,
    }
}

fn at_once(limits: &JobLimits) -> usize {
    let memory = limits
        .memory
        .map_or(usize::MAX, |bytes| bytes / UNIT_MEMORY);
    limits
        .threads
        .saturating_add(1)
        .min(memory)
        .clamp(1, MOST_AT_ONCE)
}

/// Drops the slot: nobody will read the log any more.
async fn forget(server: &WalServer, slot: &str) -> Result<(), WalError> {
    let connection = server.resolve().await?;
    let session = server.session(&connection).await?;
    server.drop_slot(&session, slot).await
}

/// Gives log up if more of it waits than may, although there is nobody to take
/// it: before a store is asked that may be away for long.
pub async fn relieve(server: &WalServer, work: &WalSpec) {
    let WalMethod::Stream { slot, .. } = &work.method else {
        return;
    };
    let relieved = async {
        let connection = server.resolve().await?;
        let session = server.session(&connection).await?;
        let held = server::held_back(server, &session, slot).await?;
        if let Err(full) = room(work).check(server, held) {
            warn!(%full, "giving up log: there is a gap until the next base backup");
            server.drop_slot(&session, slot).await?;
        }
        Ok::<_, WalError>(())
    };
    if let Err(error) = relieved.await {
        tracing::debug!(%error, "what waits on the server is not known");
    }
}
