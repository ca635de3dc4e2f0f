//! The real work: from an offer to a published snapshot, a restored directory
//! or a listing.

mod access;

use std::sync::{Arc, OnceLock};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use strongroom_repository::{Repository, repository::RepositoryLock, store::cache::Cache};
use strongroom_runtime::clock::SharedClock;
use strongroom_s3::HttpClient;
use strongroom_spec::{Failure, JobSpec, Lock, Outcome, ResourceLimits};
use strongroom_wire::job::JobOffer;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, info_span};

use super::Worker;
use crate::{
    config::{AgentConfig, LiveConfig},
    consent, failure,
    grants::GrantAuthority,
    limits::HostLimits,
    link::Link,
    monitor::Monitor,
    tasks::{self, Task, blocking},
    wal::push::Desks,
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
    ) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let engine = Self(Arc::clone(&self.0), self.0.live.borrow().clone());
        Box::pin(async move { engine.run(offer, monitor).await })
    }
}

impl Engine {
    async fn run(self, offer: JobOffer, monitor: Arc<Monitor>) -> Result<Outcome, Failure> {
        let config = Arc::clone(self.config());
        let asked = offer.spec.clone()?;
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
        let mut work =
            std::pin::pin!(self.attempt(offer, asked.clone(), Arc::new(authority), monitor));
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
        spec: JobSpec,
        authority: Arc<GrantAuthority>,
        monitor: Arc<Monitor>,
    ) -> Result<Outcome, Failure> {
        monitor.enter("opening");
        let limits = self.limits().for_job(offer.limits);
        limits.show(&Span::current());
        if let JobSpec::Wal(spec) = &spec {
            tasks::relieve(self.config(), spec).await?;
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
        let lock = match spec.kind().lock() {
            Lock::None => None,
            Lock::Shared => Some(self.lock(&repository, &stores, &monitor).await?),
        };
        let watched = Arc::clone(&monitor);
        let task = Task {
            config: Arc::clone(self.config()),
            hostname: self.0.hostname.clone(),
            clock: self.0.clock.clone(),
            desks: self.0.desks.clone(),
            attempt: offer.attempt,
            store: stores.working,
            repository,
            authority,
            limits,
            monitor,
        };
        held(lock, &watched, Box::pin(task.run(spec))).await
    }
}

/// Works for as long as the lock is held, then releases it.
async fn held(
    lock: Option<RepositoryLock>,
    monitor: &Monitor,
    work: impl Future<Output = Result<Outcome, Failure>>,
) -> Result<Outcome, Failure> {
    let Some(lock) = lock else {
        return work.await;
    };
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

/// An open repository, for threads.
type SharedRepository = Arc<Repository>;

#[cfg(test)]
mod tests;
