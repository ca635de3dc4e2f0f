//! Offers a claimed job to its agent: with the repository's password, opened
//! for this job alone.

use strongroom_runtime::telemetry::trace;
use strongroom_spec::{Failure, FailureCode};
use strongroom_wire::{
    job::{JobOffer, Report, RepositoryAccess},
    session::CoordinatorMessage,
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::Dispatcher;
use crate::{
    catalog::{CatalogError, Dispatched},
    jobs::LiveAgent,
    keys::{KeyError, SealedRepository, new_password},
    model::{Job, NewRepository, Repository, RepositoryState},
    sessions::record_root_span,
    stores::StoreError,
};

/// Why a job cannot be offered.
#[derive(Debug, thiserror::Error)]
enum OfferError {
    /// The configuration lost the store.
    #[error("store {0:?} is not configured: add it again, or change the policy")]
    NoStore(String),
    /// A restore from a repository that nobody ever wrote to.
    #[error("repository {0:?} is not in the catalog")]
    NoRepository(String),
    /// The sealed password.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The sealed password could not be put into the bucket.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl OfferError {
    fn into_failure(self) -> Result<Failure, CatalogError> {
        let (code, retryable) = match &self {
            Self::NoStore(_) => (FailureCode::Store, false),
            // A wrong key or a missing bucket is put right by somebody who then says
            // so, not within an attempt's time.
            Self::Store(error) => (FailureCode::Store, error.may_pass()),
            Self::NoRepository(_) => (FailureCode::NotFound, false),
            Self::Key(_) => (FailureCode::Repository, false),
            Self::Catalog(_) => (FailureCode::Internal, true),
        };
        match self {
            Self::Catalog(error) => Err(error),
            other => Ok(Failure {
                code,
                message: other.to_string(),
                retryable,
            }),
        }
    }
}

impl Dispatcher {
    /// Offers the job, or puts it back, or fails the attempt with the cause.
    pub(super) async fn offer(&self, dispatched: Dispatched) -> Result<(), CatalogError> {
        let job = &dispatched.job;
        let (Some(attempt), Some(lease)) = (job.attempt_ref(), job.state.lease()) else {
            return Ok(());
        };
        let to = LiveAgent {
            agent: job.agent,
            boot_id: lease.boot_id,
        };
        let span = tracing::info_span!("dispatch", job = %job.id, attempt = job.attempt);
        trace::set_parent(&span, &job.trace.traceparent());
        let prepared = self
            .prepare(job, dispatched.repository.clone())
            .instrument(span)
            .await;
        match prepared {
            Ok(offer) => {
                let offer = CoordinatorMessage::JobOffer(Box::new(offer));
                if self.registry.send(to, offer).is_err() {
                    tracing::info!(%attempt, "the agent left before the offer: the job waits");
                    self.catalog.release_attempt(attempt).await?;
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%attempt, %error, "a job cannot be offered");
                let failure = error.into_failure()?;
                self.fail(job, attempt, failure).await
            }
        }
    }

    async fn prepare(
        &self,
        job: &Job,
        repository: Option<Repository>,
    ) -> Result<JobOffer, OfferError> {
        let repository = self.repository(job, repository).await?;
        let create = job.kind.writes() && repository.state == RepositoryState::New;
        if create {
            // Before any data: the key-encryption key and the bucket must be
            // enough to read what this job will write.
            self.keep_in_bucket(&repository).await?;
        }
        let password = self
            .key
            .open(&repository.name, &repository.sealed_password)?;
        let attempt = job
            .attempt_ref()
            .ok_or_else(|| OfferError::NoRepository(job.repository.clone()))?;
        let lease = self.config.lease.as_secs();
        Ok(JobOffer {
            attempt,
            lease_seconds: u32::try_from(lease).unwrap_or(u32::MAX).max(1),
            timeout_seconds: job.limits.timeout_seconds,
            traceparent: job.trace.traceparent(),
            repository: RepositoryAccess {
                name: repository.name,
                password,
                create,
            },
            limits: job.limits.resources,
            accept: job.limits.accept.clone(),
            spec: Ok(job.spec.clone()),
        })
    }

    /// The job's repository; a backup's is made in the catalog when it is not
    /// there, with a new password.
    async fn repository(
        &self,
        job: &Job,
        known: Option<Repository>,
    ) -> Result<Repository, OfferError> {
        if self.stores.get(&job.store).is_none() {
            return Err(OfferError::NoStore(job.store.clone()));
        }
        match (known, job.kind.writes()) {
            (Some(known), true) if known.agent != job.agent => {
                // A new agent under an old one's name takes over.
                let wanted = NewRepository {
                    name: known.name,
                    store: known.store,
                    prefix: known.prefix,
                    agent: job.agent,
                    sealed_password: known.sealed_password,
                };
                Ok(self.catalog.ensure_repository(&wanted).await?)
            }
            (Some(known), _) => Ok(known),
            (None, true) => {
                let sealed_password = self.key.seal(&job.repository, &new_password()?)?;
                let wanted = NewRepository {
                    name: job.repository.clone(),
                    store: job.store.clone(),
                    prefix: prefix_of(job),
                    agent: job.agent,
                    sealed_password,
                };
                Ok(self.catalog.ensure_repository(&wanted).await?)
            }
            (None, false) => Err(OfferError::NoRepository(job.repository.clone())),
        }
    }

    async fn keep_in_bucket(&self, repository: &Repository) -> Result<(), OfferError> {
        let store = self
            .stores
            .get(&repository.store)
            .ok_or_else(|| OfferError::NoStore(repository.store.clone()))?;
        let document = SealedRepository::new(
            &repository.name,
            &repository.prefix,
            &repository.sealed_password,
        );
        store
            .client
            .put(&document.path(), document.to_json())
            .await?;
        Ok(())
    }

    /// Ends the attempt on the coordinator's side, with the usual backoff.
    async fn fail(
        &self,
        job: &Job,
        attempt: strongroom_layout::AttemptRef,
        failure: Failure,
    ) -> Result<(), CatalogError> {
        let report = Report {
            report_id: Uuid::new_v4(),
            attempt,
            outcome: Err(failure),
            warnings: Vec::new(),
            warning_count: 0,
            peak_resident_bytes: 0,
            duration_ms: 0,
        };
        let finished = self
            .catalog
            .finish_attempt(job.agent, &report, true, &self.config.backoff)
            .await?;
        if let crate::catalog::Finished::Recorded(job) = finished {
            record_root_span(&job);
        }
        Ok(())
    }
}

/// Where a new repository lies in its store: its name without the store's.
fn prefix_of(job: &Job) -> String {
    job.repository
        .strip_prefix(&job.store)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(&job.repository)
        .to_owned()
}
