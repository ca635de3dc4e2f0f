//! Where the repository lies, and what opens it.

use std::{env, path::Path, sync::Arc};

use anyhow::{Context, bail};
use strongroom_layout::ObjectId;
use strongroom_repository::{
    Repository,
    format::key_file::KeyOwner,
    repository::{LockMode, LockOwner, RepositoryLock},
    store::{
        SharedStore,
        fs::FsStore,
        retry::{RetryPolicy, RetryStore},
        s3::{S3Store, credentials::CredentialAuthority},
    },
};
use strongroom_runtime::printable::{self, Line};
use strongroom_s3::{Addressing, Credentials, HttpClient, HttpOptions, S3Location};
use zeroize::Zeroizing;

use super::{Common, Session, Style, limits::StoreLimits};
use crate::{host::hostname, sources::files::owners::Owners};

/// A repository that is not opened yet.
pub(super) struct Place<'a> {
    /// As given, for messages.
    name: String,
    store: SharedStore,
    password: Zeroizing<String>,
    session: &'a Session,
}

impl<'a> Place<'a> {
    pub(super) fn new(
        common: &Common,
        session: &'a Session,
        limits: StoreLimits,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            name: common.repository.clone(),
            store: store(common, session, limits)?,
            password: password(&common.password_file)?,
            session,
        })
    }

    /// Creates the repository; gives its id.
    pub(super) async fn create(&self) -> anyhow::Result<ObjectId> {
        let owner = lock_owner();
        let owner = KeyOwner {
            created: self.session.clock.now(),
            username: owner.username,
            hostname: owner.hostname,
        };
        let repository = Repository::create(self.store.clone(), &self.password, owner)
            .await
            .with_context(|| self.context())?;
        Ok(repository.config().id)
    }

    pub(super) async fn open(&self) -> anyhow::Result<Arc<Repository>> {
        self.session.monitor.enter("opening");
        let repository = Repository::open(self.store.clone(), &self.password)
            .await
            .with_context(|| self.context())?;
        Ok(Arc::new(repository))
    }

    fn context(&self) -> String {
        format!("repository {}", self.name)
    }
}

/// Locks a repository against a foreign prune, unless told not to.
pub(super) async fn lock(
    repository: &Repository,
    session: &Session,
    no_lock: bool,
) -> anyhow::Result<Option<RepositoryLock>> {
    if no_lock {
        return Ok(None);
    }
    let clock = session.clock.clone();
    let owner = lock_owner();
    let lock =
        RepositoryLock::acquire(repository, LockMode::Shared, owner, clock, &session.tracker);
    Ok(Some(lock.await?))
}

/// Releases a lock; what cannot be removed goes stale by itself.
pub(super) async fn release(lock: Option<RepositoryLock>) {
    if let Some(lock) = lock
        && let Err(error) = lock.release().await
    {
        printable::err(&format!(
            "strongroom-agent: the lock was not removed: {}",
            Line(error)
        ));
    }
}

fn lock_owner() -> LockOwner {
    let uid = rustix::process::getuid().as_raw();
    LockOwner {
        hostname: hostname(),
        username: Owners::of_host().user(uid).to_owned(),
        pid: std::process::id(),
        uid,
        gid: rustix::process::getgid().as_raw(),
    }
}

/// As restic does, white space around the password is no part of it.
fn password(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read the password file {}", path.display()))?;
    let password = text.trim();
    if password.is_empty() {
        bail!("the password file {} is empty", path.display());
    }
    Ok(Zeroizing::new(password.to_owned()))
}

fn store(common: &Common, session: &Session, limits: StoreLimits) -> anyhow::Result<SharedStore> {
    let repository = &common.repository;
    let store: SharedStore = if repository.starts_with("s3:") {
        Arc::new(limits.of_s3(s3(common, session)?))
    } else {
        let store = Arc::new(FsStore::new(std::path::absolute(repository)?));
        return Ok(limits.of_any(store));
    };
    let cancel = session.monitor.cancel.clone();
    Ok(Arc::new(RetryStore::new(
        store,
        RetryPolicy::default(),
        cancel,
    )))
}

fn s3(common: &Common, session: &Session) -> anyhow::Result<S3Store> {
    let mut location: S3Location = common.repository.parse()?;
    match common.addressing {
        Style::Auto => {}
        Style::Path => location = location.addressed(Addressing::Path)?,
        Style::VirtualHost => location = location.addressed(Addressing::VirtualHost)?,
    }
    let client = HttpClient::new(HttpOptions::new(tls()?))?;
    let authority = CredentialAuthority::new(
        location,
        credentials()?,
        client.clone(),
        session.clock.clone(),
    );
    Ok(S3Store::new(client, Arc::new(authority)))
}

fn credentials() -> anyhow::Result<Credentials> {
    let required = |name: &str| {
        env::var(name)
            .with_context(|| format!("{name} is not set: export the credentials of the S3 service"))
    };
    let region = env::var("AWS_REGION").or_else(|_| env::var("AWS_DEFAULT_REGION"));
    Ok(Credentials {
        access_key_id: required("AWS_ACCESS_KEY_ID")?,
        secret_access_key: Zeroizing::new(required("AWS_SECRET_ACCESS_KEY")?),
        session_token: env::var("AWS_SESSION_TOKEN").ok().map(Zeroizing::new),
        region: region.unwrap_or_else(|_| "us-east-1".into()),
    })
}

/// Trusts whom the host trusts (`SSL_CERT_FILE` adds to that).
fn tls() -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
