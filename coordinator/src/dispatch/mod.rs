//! Hands due jobs to live agents and ends lost attempts.
//!
//! What happens, in this order, on each round:
//!
//! 1. sessions of revoked and of contested agents end,
//! 2. leases that ran out are fenced; their jobs wait again or fail,
//! 3. agents are told of jobs that operators cancelled,
//! 4. waiting jobs are claimed in the catalog and offered (`offer`).
//!
//! A round begins when the catalog changes, a session begins or ends, or the
//! time of a retry or lease has come. It takes no other input: whatever it
//! missed, the next one sees. Beside it, `sweep` settles in the stores what
//! ended attempts left open, and [`losses`](crate::losses) looks whether the
//! stores still hold what they held.

mod offer;
mod sweep;

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::SignedDuration;
use strongroom_layout::AttemptRef;
use strongroom_wire::session::CoordinatorMessage;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use sweep::Sweeper;

use crate::{
    catalog::{Catalog, CatalogError, JobFilter},
    grants::Grants,
    identity::{contested, revoked},
    jobs::{Concurrency, LiveAgent},
    keys::KeyEncryptionKey,
    losses::Comparer,
    model::Job,
    sessions::{Registry, SessionConfig, record_root_span},
    stores::Stores,
};

/// A round at least so often: other coordinators write to the same catalog.
const ROUND_AT_LEAST: Duration = Duration::from_secs(15);
/// After a round that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Unfinished jobs that are looked through for cancellations.
const MAX_UNFINISHED: u32 = 10_000;

/// Cancelled attempts, and the sessions over which their agents were told.
type Told = HashSet<(AttemptRef, Uuid)>;

/// The task that hands out jobs.
#[derive(Debug)]
pub struct Dispatcher {
    catalog: Catalog,
    registry: Registry,
    stores: Stores,
    grants: Arc<Grants>,
    key: Arc<KeyEncryptionKey>,
    limits: watch::Receiver<Concurrency>,
    config: SessionConfig,
}

impl Dispatcher {
    /// Ready to [`run`](Self::run).
    pub fn new(
        catalog: Catalog,
        registry: Registry,
        stores: Stores,
        grants: Arc<Grants>,
        key: Arc<KeyEncryptionKey>,
        limits: watch::Receiver<Concurrency>,
        config: SessionConfig,
    ) -> Self {
        Self {
            catalog,
            registry,
            stores,
            grants,
            key,
            limits,
            config,
        }
    }

    /// Works until `cancel`. Attempts of before get a fresh lease first: their
    /// agents go on working and reconnect.
    pub async fn run(self, cancel: CancellationToken) {
        let sweeper = Sweeper::new(self.catalog.clone(), self.stores.clone());
        let comparer = Comparer::new(self.catalog.clone(), self.stores.clone());
        tokio::join!(
            self.dispatch(cancel.clone()),
            sweeper.run(cancel.clone()),
            comparer.run(cancel)
        );
    }

    async fn dispatch(&self, cancel: CancellationToken) {
        let mut told = Told::new();
        let mut changes = self.catalog.changes();
        let mut sessions = self.registry.changes();
        let mut limits = self.limits.clone();
        self.give_grace().await;
        while !cancel.is_cancelled() {
            // What changes during the round starts the next one.
            sessions.mark_unchanged();
            let wait = match self.round(&mut told).await {
                Ok(()) => self.until_next().await,
                Err(error) => {
                    tracing::error!(%error, "the dispatcher's round failed");
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                () = changes.changed() => {}
                _ = sessions.changed() => {}
                Ok(()) = limits.changed() => {}
                () = tokio::time::sleep(wait) => {}
                () = cancel.cancelled() => {}
            }
        }
    }

    async fn give_grace(&self) {
        let until = self.config.lease_end(self.catalog.clock().now());
        if let Err(error) = self.catalog.extend_leases(until).await {
            tracing::error!(%error, "cannot extend the leases of attempts under way");
        }
    }

    /// One round.
    async fn round(&self, told: &mut Told) -> Result<(), CatalogError> {
        self.end_refused_sessions().await?;
        let expired = self.catalog.expire_leases(&self.config.backoff).await?;
        self.note_ended(&expired);
        self.tell_cancelled(told).await?;
        self.hand_out().await?;
        self.grants.flush_refusals().await
    }

    async fn end_refused_sessions(&self) -> Result<(), CatalogError> {
        let live = self.registry.live();
        if live.is_empty() {
            return Ok(());
        }
        for agent in self.catalog.agents().await? {
            if !agent.is_active() {
                self.registry.end(agent.id, &revoked(&agent.name), false);
            } else if agent.contest.is_some() {
                self.registry.end(agent.id, &contested(&agent.name), true);
            }
        }
        Ok(())
    }

    fn note_ended(&self, jobs: &[Job]) {
        for job in jobs {
            tracing::warn!(
                job = %job.id,
                attempt = job.attempt,
                agent = job.agent_name,
                trace_id = job.trace.trace_id,
                "an attempt was lost"
            );
            record_root_span(job);
            if let Some(attempt) = job.attempt_ref() {
                self.registry.forget_progress(attempt);
            }
        }
    }

    /// Tells the agents of cancelled jobs, once per attempt and session.
    async fn tell_cancelled(&self, told: &mut Told) -> Result<(), CatalogError> {
        let filter = JobFilter {
            unfinished: true,
            ..JobFilter::default()
        };
        let jobs = self.catalog.jobs(&filter, MAX_UNFINISHED).await?.items;
        let mut still = Told::new();
        for job in jobs {
            let (Some(cancel), Some(lease), Some(attempt)) =
                (&job.cancel, job.state.lease(), job.attempt_ref())
            else {
                continue;
            };
            let to = LiveAgent {
                agent: job.agent,
                boot_id: lease.boot_id,
            };
            let message = CoordinatorMessage::CancelJob {
                attempt,
                reason: cancel.reason.clone(),
            };
            let Some(session) = self.registry.session(to) else {
                continue;
            };
            let key = (attempt, session);
            if told.contains(&key) || self.registry.send(to, message).is_ok() {
                still.insert(key);
            }
        }
        *told = still;
        Ok(())
    }

    async fn hand_out(&self) -> Result<(), CatalogError> {
        let live = self.registry.live();
        let lease = SignedDuration::try_from(self.config.lease).unwrap_or(SignedDuration::MAX);
        let limits = *self.limits.borrow();
        let dispatched = self.catalog.dispatch(&live, limits, lease).await?;
        // At once: one store that does not answer must not hold up the rest.
        let offers = dispatched.into_iter().map(|each| self.offer(each));
        let offered = futures::future::join_all(offers).await;
        offered.into_iter().collect()
    }

    async fn until_next(&self) -> Duration {
        let deadline = match self.catalog.next_deadline().await {
            Ok(deadline) => deadline,
            Err(error) => {
                tracing::error!(%error, "the catalog does not say what is due next");
                return AFTER_FAILURE;
            }
        };
        let now = self.catalog.clock().now();
        deadline.map_or(ROUND_AT_LEAST, |at| {
            Duration::try_from(at.duration_since(now))
                .unwrap_or_default()
                .min(ROUND_AT_LEAST)
        })
    }
}

#[cfg(test)]
mod tests;
