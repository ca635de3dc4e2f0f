//! The real work: from an offer to a published snapshot, a restored directory
//! or a listing.

mod access;
mod failure;
mod transfer;
mod work;

use std::sync::{Arc, OnceLock};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use strongroom_repository::{Repository, repository::RepositoryLock, store::cache::Cache};
use strongroom_runtime::clock::SharedClock;
use strongroom_s3::HttpClient;
use strongroom_wire::job::{Failure, JobOffer, ResourceLimits, Success, Work};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, info_span};

use super::{Worker, consent};
use crate::{
    config::{AgentConfig, LiveConfig},
    grants::GrantAuthority,
    limits::HostLimits,
    link::Link,
    monitor::Monitor,
    wal::{self, WalJob, push::Desks},
};
use access::Stores;

/// Does what the coordinator asks and `agent.toml` allows. Cheap to share; the one of
/// a job goes by the configuration of its beginning.
#[derive(Clone)]
pub struct Engine(Arc<Inner>, Arc<AgentConfig>);

struct Inner {
    /// As it is now.
    live: LiveConfig,
    /// Of the configuration that they were made from.
    limits: Mutex<(ResourceLimits, Arc<HostLimits>)>,
    link: Link,
    ca_pem: String,
    hostname: String,
    clock: SharedClock,
    cache: Cache,
    /// Made for the first job: an idle agent needs no roots in memory.
    http: OnceLock<HttpClient>,
    locks: TaskTracker,
    desks: Desks,
}

impl Engine {
    /// `ca_pem` is trusted for stores too: the certificate of the coordinator's
    /// embedded one comes from there. What servers push comes by `desks`.
    pub fn new(
        live: LiveConfig,
        link: Link,
        ca_pem: String,
        hostname: String,
        clock: SharedClock,
        desks: Desks,
    ) -> Self {
        let config = live.borrow().clone();
        let cache = Cache::new(&config.cache_directory(), config.cache.size.0);
        let own = config.limits.resources();
        let shared = Inner {
            limits: Mutex::new((own, Arc::new(HostLimits::new(own)))),
            live,
            link,
            ca_pem,
            hostname,
            clock,
            cache,
            http: OnceLock::new(),
            locks: TaskTracker::new(),
            desks,
        };
        Self(Arc::new(shared), config)
    }

    fn config(&self) -> &Arc<AgentConfig> {
        &self.1
    }

    /// The host's limits for a job that begins now. Jobs of before keep to those of
    /// before. What counts is the configuration as it is, not that of this job's
    /// beginning: there is one line for all that begin.
    fn limits(&self) -> Arc<HostLimits> {
        let own = self.0.live.borrow().limits.resources();
        let mut limits = self.0.limits.lock();
        if limits.0 != own {
            *limits = (own, Arc::new(HostLimits::new(own)));
        }
        Arc::clone(&limits.1)
    }
}

impl Worker for Engine {
    fn run(
        &self,
        offer: JobOffer,
        monitor: Arc<Monitor>,
    ) -> BoxFuture<'static, Result<Success, Failure>> {
        let engine = Self(Arc::clone(&self.0), self.0.live.borrow().clone());
        Box::pin(async move { engine.run(offer, monitor).await })
    }
}

impl Engine {
    async fn run(self, offer: JobOffer, monitor: Arc<Monitor>) -> Result<Success, Failure> {
        let config = Arc::clone(self.config());
        let asked = offer.work.clone();
        blocking({
            let asked = asked.clone();
            move || consent::check(&config, &asked)
        })
        .await??;
        let withdrawn = consent::withdrawn(self.0.live.clone(), &asked);
        let cancel = monitor.cancel.clone();

        let (authority, signing) =
            GrantAuthority::new(offer.attempt, self.0.link.clone(), monitor.cancel.clone());
        let mut signing = std::pin::pin!(signing.run().fuse());
        let mut work = std::pin::pin!(self.attempt(offer, Arc::new(authority), monitor));
        let mut attempt = std::pin::pin!(async {
            tokio::select! {
                outcome = &mut work => outcome,
                // It ends with the last use of the authority, just before the work.
                () = &mut signing => work.await,
            }
        });
        tokio::select! {
            outcome = &mut attempt => outcome,
            failure = withdrawn => {
                cancel.cancel();
                attempt.await.or(Err(failure))
            }
        }
    }

    /// Opens the repository and does the work on it.
    async fn attempt(
        &self,
        offer: JobOffer,
        authority: Arc<GrantAuthority>,
        monitor: Arc<Monitor>,
    ) -> Result<Success, Failure> {
        monitor.enter("opening");
        let limits = self.limits().for_job(offer.limits);
        limits.show(&Span::current());
        if let Work::Wal(work) = &offer.work {
            // A store that is away must not fill the server's disk.
            let server = self.wal_server(&work.connection)?;
            wal::relieve(&server, work).await;
        }
        let stores = Stores::new(
            self.http().await?,
            authority.clone(),
            &limits,
            &monitor.cancel,
        );
        let repository = self
            .open(&stores, offer.repository)
            .instrument(info_span!("open repository"))
            .await
            .map(Arc::new)?;
        match offer.work {
            // Over in a moment, and harmless if a prune comes in between.
            Work::List(work) => self.list(repository, work, monitor).await,
            Work::Wal(work) => {
                let server = self.wal_server(&work.connection)?;
                let job = WalJob {
                    server,
                    work,
                    repository,
                    store: Arc::clone(&stores.working),
                    authority,
                    desks: self.0.desks.clone(),
                    limits,
                    monitor,
                };
                // Larger than the futures of all other jobs.
                let archived = Box::pin(wal::run(job)).await;
                archived
                    .map(Success::Wal)
                    .map_err(|error| failure::of_wal(&error))
            }
            Work::Upload(work) => {
                let lock = self.lock(&repository, &stores, &monitor).await?;
                let upload = self.upload(&stores, repository, &authority, work, &limits, &monitor);
                held(lock, &monitor, upload).await
            }
            Work::Download(work) => {
                let lock = self.lock(&repository, &stores, &monitor).await?;
                let download = self.download(&stores, repository, work, &monitor);
                held(lock, &monitor, download).await
            }
            Work::Backup(work) => {
                let lock = self.lock(&repository, &stores, &monitor).await?;
                let backup = self.backup(&stores, repository, &authority, work, &limits, &monitor);
                held(lock, &monitor, backup).await
            }
            Work::RestoreCluster(work) => {
                let lock = self.lock(&repository, &stores, &monitor).await?;
                let restore = self.restore_cluster(repository, &authority, work, &limits, &monitor);
                held(lock, &monitor, restore).await
            }
            Work::RestorePostgres(work) => {
                let lock = self.lock(&repository, &stores, &monitor).await?;
                let restore =
                    self.restore_postgres(repository, work, offer.attempt, &limits, &monitor);
                held(lock, &monitor, restore).await
            }
            Work::RestoreRedis(work) => {
                let lock = self.lock(&repository, &stores, &monitor).await?;
                let restore = self.restore_redis(repository, work, &monitor);
                held(lock, &monitor, restore).await
            }
            Work::Restore(work) => {
                let lock = self.lock(&repository, &stores, &monitor).await?;
                let restore = self.restore(repository, work, &limits, &monitor);
                held(lock, &monitor, restore).await
            }
        }
    }
}

/// Works for as long as the lock is held, then releases it.
async fn held(
    lock: RepositoryLock,
    monitor: &Monitor,
    work: impl Future<Output = Result<Success, Failure>>,
) -> Result<Success, Failure> {
    let mut work = std::pin::pin!(work);
    let lost = lock.lost().clone();
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        () = lost.cancelled() => {
            monitor.cancel.cancel();
            work.await.map_err(|_| failure::lock_lost())
        }
    };
    // What could not be released was logged, and goes stale by itself.
    let _ = lock.release().await;
    outcome
}

/// Runs what blocks, in the caller's span, where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| failure::of_thread(&error))
}

/// An open repository, for threads.
type SharedRepository = Arc<Repository>;

#[cfg(test)]
mod tests;
