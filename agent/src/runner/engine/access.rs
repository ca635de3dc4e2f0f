//! From an offer to an open and locked repository.

use std::sync::Arc;

use rustix::process::{getegid, geteuid};
use strongroom_repository::{
    Repository, RepositoryError,
    format::key_file::KeyOwner,
    repository::{LockMode, LockOwner, RepositoryLock},
    store::{
        SharedStore,
        retry::{RetryPolicy, RetryStore},
        s3::S3Store,
    },
};
use strongroom_runtime::pki;
use strongroom_s3::{HttpClient, HttpOptions};
use strongroom_spec::Failure;
use strongroom_wire::job::RepositoryAccess;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Engine, SharedRepository};
use crate::{
    failure, grants::GrantAuthority, limits::JobLimits, monitor::Monitor,
    sources::files::owners::Owners, tasks::blocking,
};

/// The same objects, twice: for the work, which ends with the attempt, and
/// for the lock, which must be released all the more when it was cancelled.
pub(super) struct Stores {
    pub(super) working: SharedStore,
    locking: SharedStore,
}

impl Stores {
    pub(super) fn new(
        client: HttpClient,
        authority: Arc<GrantAuthority>,
        limits: &JobLimits,
        cancel: &CancellationToken,
    ) -> Self {
        let s3 = S3Store::new(client, authority)
            .throttled(limits.upload.clone(), limits.download.clone());
        let s3: SharedStore = Arc::new(s3);
        let retried = |cancel| -> SharedStore {
            Arc::new(RetryStore::new(s3.clone(), RetryPolicy::default(), cancel))
        };
        Self {
            working: retried(cancel.clone()),
            locking: retried(CancellationToken::new()),
        }
    }
}

impl Engine {
    /// The client for stores, made for the first job.
    pub(super) async fn http(&self) -> Result<HttpClient, Failure> {
        let engine = self.clone();
        blocking(move || {
            if let Some(client) = engine.0.http.get() {
                return Ok(client.clone());
            }
            let client = http_client(&engine.0.ca_pem)?;
            Ok(engine.0.http.get_or_init(|| client).clone())
        })
        .await?
    }

    /// Opens the repository, or creates it when this job is to.
    pub(super) async fn open(
        &self,
        stores: &Stores,
        access: RepositoryAccess,
    ) -> Result<Repository, Failure> {
        let open = || Repository::open(stores.working.clone(), &access.password);
        let opened = match open().await {
            Err(RepositoryError::NoRepository) if access.create => {
                let owner = KeyOwner {
                    created: self.0.clock.now(),
                    username: username(),
                    hostname: self.0.hostname.clone(),
                };
                let store = stores.working.clone();
                match Repository::create(store, &access.password, owner).await {
                    Err(RepositoryError::AlreadyExists) => open().await,
                    created => created,
                }
            }
            opened => opened,
        };
        let repository = opened.map_err(|error| failure::of_repository(&error))?;
        let store = repository.store().clone();
        let cached = self.0.cache.before(store, repository.config().id);
        Ok(repository.with_store(cached))
    }

    /// Keeps foreign `restic` commands from pruning meanwhile.
    pub(super) async fn lock(
        &self,
        repository: &SharedRepository,
        stores: &Stores,
        monitor: &Monitor,
    ) -> Result<RepositoryLock, Failure> {
        let repository = repository.with_store(stores.locking.clone());
        let owner = LockOwner {
            hostname: self.0.hostname.clone(),
            username: username(),
            pid: std::process::id(),
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        };
        let (mode, clock) = (LockMode::Shared, self.0.clock.clone());
        let acquire = RepositoryLock::acquire(&repository, mode, owner, clock, &self.0.locks);
        tokio::select! {
            lock = acquire => lock.map_err(|error| failure::of_repository(&error)),
            () = monitor.cancel.cancelled() => Err(failure::cancelled()),
        }
    }
}

fn username() -> String {
    Owners::of_host().user(geteuid().as_raw()).to_owned()
}

/// Trusts what the host trusts, and the coordinator's own authority.
fn http_client(ca_pem: &str) -> Result<HttpClient, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in native.errors {
        warn!(%error, "a trusted certificate of this host cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    let own = pki::parse_chain("the CA certificate", ca_pem)
        .map_err(|error| failure::internal(&error))?;
    roots.add_parsable_certificates(own);
    let tls = rustls::ClientConfig::builder_with_provider(pki::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failure::internal(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    HttpClient::new(HttpOptions::new(tls)).map_err(|error| failure::internal(&error))
}
