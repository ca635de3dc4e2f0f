//! The composition root: wires and runs a coordinator.
//!
//! - [`data`]: the data directory, its version and its lock,
//! - [`stores`]: from the configuration to stores, the embedded one included,
//! - `keys`: the coordinator's own keys, and whether they fit the catalog,
//! - [`bootstrap`]: the first operator and the profile in the data directory,
//! - [`check`]: whether a configuration can be used, without using it,
//! - `reload`: SIGHUP,
//! - [`reset`]: a token for who holds the host and has lost every other,
//! - [`Coordinator`]: everything bound, then everything running.
//!
//! Nothing else in this crate spawns a task that outlives its caller; all of
//! them are tracked by one [`Shutdown`].

mod bootstrap;
mod check;
mod data;
mod keys;
mod live;
mod reload;
mod reset;
mod run;
mod stores;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use strongroom_runtime::{
    clock::SharedClock,
    files::FileError,
    pki::{
        PkiError,
        tls::{self, ALPN_HTTP},
    },
    shutdown::Shutdown,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::stores::BuiltStores;
pub use self::{
    bootstrap::FirstError,
    check::check,
    data::{DataDirectory, DataError},
    keys::{KeysError, OtherKeys},
    reset::{Reset, ResetError, as_owner, reset},
    run::run,
    stores::StoresError,
};
use crate::{
    catalog::{Catalog, CatalogError},
    config::Config,
    dispatch::Dispatcher,
    door::Limits,
    embedded::EmbeddedStore,
    grants::Grants,
    http::{
        self,
        auth::Sentry,
        server::ApiServer,
        state::{ApiState, SharedState},
    },
    identity::{Authority, EnrolmentService, Lifetimes},
    jobs::{Backoff, Concurrency},
    schedule,
    sessions::{AgentPort, CHALLENGE, Gateway, PortError, Registry, SessionConfig, keep_presence},
    stores::Stores,
    transfers::Transfers,
};

/// How long running work may take to end.
pub const GRACE: Duration = Duration::from_secs(20);

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file in it, or one that the configuration names.
    #[error(transparent)]
    File(#[from] FileError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The certificate authority, or what it issued.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The coordinator's own keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A store's configuration.
    #[error(transparent)]
    Stores(#[from] StoresError),
    /// The first operator.
    #[error(transparent)]
    First(#[from] FirstError),
    /// The agents' port.
    #[error("{0} Set another address as [agents] listen in the configuration")]
    AgentPort(#[from] PortError),
    /// The operators' port.
    #[error(
        "the coordinator cannot listen for operators on {address}: {source}; is it in use? Set \
         another address as [api] listen in the configuration"
    )]
    ApiPort {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// A coordinator with every port bound, ready to [`run`](Self::run).
pub struct Coordinator {
    catalog: Catalog,
    registry: Registry,
    authority: Arc<Authority>,
    gateway: Gateway,
    dispatcher: Dispatcher,
    agent_port: AgentPort,
    api: ApiServer,
    api_state: SharedState,
    stores: Stores,
    embedded: Option<EmbeddedStore>,
    /// Stores of others, described.
    external: Vec<String>,
    set_limits: watch::Sender<Concurrency>,
    profile: PathBuf,
    /// Held for as long as the coordinator lives.
    data: DataDirectory,
}

/// Where a running coordinator is reached.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The agents' port.
    pub agents: SocketAddr,
    /// What invitations name.
    pub agents_public: String,
    /// The operators' port.
    pub api: SocketAddr,
    /// The embedded store.
    pub embedded: Option<SocketAddr>,
    /// The others: name, bucket, endpoint and how they are addressed.
    pub stores: Vec<String>,
    /// The first operator's profile.
    pub profile: PathBuf,
}

impl Coordinator {
    /// Opens everything and binds every port; nothing runs yet.
    pub async fn open(
        config: &Config,
        others: OtherKeys,
        clock: SharedClock,
        shutdown: &Shutdown,
    ) -> Result<Self, ServeError> {
        let data = DataDirectory::open(&config.data_directory)?;
        let catalog = Catalog::open(&config.catalog_url()?, Arc::clone(&clock)).await?;
        let names = server_names(config);
        let made = (&*names, lifetimes(config));
        let (authority, key) =
            keys::open(&catalog, &data, made, Arc::clone(&clock), others).await?;
        catalog.coordinator_starts(data.id()).await?;
        let (authority, key) = (Arc::new(authority), Arc::new(key));
        let BuiltStores {
            stores,
            places,
            external,
            embedded,
        } = stores::build(config, &data, &authority, &clock).await?;
        let limits = Limits::of(config.agents.connections, config.agents.strangers);
        let agents_tls = authority.agent_tls()?;
        let agent_port = AgentPort::bind(config.agents.listen, agents_tls, limits).await?;
        let api_tls = tls::server_config(authority.server_identity(), ALPN_HTTP)?;
        let limits = Limits::of(config.api.connections, config.api.strangers);
        let api = ApiServer::bind(config.api.listen, api_tls, limits)
            .await
            .map_err(|source| ServeError::ApiPort {
                address: config.api.listen,
                source,
            })?;
        let profile = bootstrap::ensure(&catalog, &data, &authority, api.address()).await?;

        let registry = Registry::default();
        let grants = Arc::new(Grants::new(catalog.clone(), stores.clone()));
        let sessions = session_config(config);
        let gateway = Gateway::new(
            catalog.clone(),
            registry.clone(),
            Arc::clone(&grants),
            Arc::clone(&authority),
            sessions,
            shutdown.soft(),
        );
        let (set_limits, limits) = watch::channel(concurrency(config));
        let transfers = Transfers::new(catalog.clone(), stores.clone(), Arc::clone(&key));
        let dispatcher = Dispatcher::new(
            catalog.clone(),
            registry.clone(),
            stores.clone(),
            Arc::clone(&grants),
            Arc::clone(&key),
            limits.clone(),
            sessions,
        );
        let api_state = Arc::new(ApiState {
            catalog: catalog.clone(),
            live: Arc::new(registry.clone()),
            passwords: key,
            transfers,
            stores: places,
            checked: stores.clone(),
            limits,
            ca_certificate: authority.ca_pem().to_owned(),
            ca_fingerprint: authority.fingerprint().to_bytes(),
            agents_address: public_address(&names, config, agent_port.address()),
            started_at: clock.now(),
            sentry: Sentry::default(),
            tasks: TaskTracker::new(),
            shutdown: shutdown.soft(),
        });
        Ok(Self {
            catalog,
            registry,
            authority,
            gateway,
            dispatcher,
            agent_port,
            api,
            api_state,
            stores,
            embedded,
            external,
            set_limits,
            profile,
            data,
        })
    }

    /// Where it is reached.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            agents: self.agent_port.address(),
            agents_public: self.api_state.agents_address.clone(),
            api: self.api.address(),
            embedded: self.embedded.as_ref().map(EmbeddedStore::address),
            stores: self.external.clone(),
            profile: self.profile.clone(),
        }
    }

    /// Starts every task; they end with `shutdown`. What comes back is closed
    /// when they have.
    pub fn run(self, shutdown: &Shutdown) -> Running {
        let soft = shutdown.soft();
        let failed = Arc::new(AtomicBool::new(false));
        let enrolment = EnrolmentService::new(self.catalog.clone(), Arc::clone(&self.authority));
        shutdown.spawn(enrolment.report(soft.clone()));
        let agents = self.agent_port.serve(enrolment, self.gateway, soft.clone());
        end_on_failure(shutdown, &failed, "the agents' port has failed", agents);
        let sentry = &self.api_state.sentry;
        shutdown.spawn(sentry.report(self.catalog.clone(), soft.clone()));
        let (tasks, ended) = (self.api_state.tasks.clone(), soft.clone());
        shutdown.spawn(async move {
            ended.cancelled().await;
            tasks.close();
            tasks.wait().await;
        });
        let router = http::router(self.api_state);
        shutdown.spawn(self.api.serve(router, soft.clone()));
        if let Some(embedded) = self.embedded {
            shutdown.spawn(embedded.serve(soft.clone()));
        }
        shutdown.spawn(watch(self.catalog.clone(), soft.clone()));
        shutdown.spawn(self.catalog.clone().listen(soft.clone()));
        let reached = crate::stores::watch(self.stores.clone(), soft.clone());
        shutdown.spawn(reached);
        let checks = crate::stores::keep(self.stores, self.catalog.clone(), soft.clone());
        shutdown.spawn(checks);
        shutdown.spawn(self.dispatcher.run(soft.clone()));
        shutdown.spawn(schedule::run(self.catalog.clone(), soft.clone()));
        let (catalog, registry) = (self.catalog.clone(), self.registry.clone());
        shutdown.spawn(keep_presence(
            catalog,
            registry,
            self.data.id(),
            soft.clone(),
        ));
        let authority = self.authority;
        shutdown.spawn(async move { authority.keep_fresh(soft).await });
        Running {
            catalog: self.catalog,
            registry: self.registry,
            failed,
            set_limits: self.set_limits,
            _data: self.data,
        }
    }
}

/// A coordinator at work.
#[derive(Debug)]
pub struct Running {
    catalog: Catalog,
    registry: Registry,
    failed: Arc<AtomicBool>,
    set_limits: watch::Sender<Concurrency>,
    _data: DataDirectory,
}

impl Running {
    /// Waits until the agent of this name has a session here.
    pub async fn agent_connected(&self, name: &str) -> Result<(), CatalogError> {
        let mut sessions = self.registry.changes();
        loop {
            let agent = self.catalog.find_agent(name).await?;
            if self.registry.is_live(agent.id) {
                return Ok(());
            }
            if sessions.changed().await.is_err() {
                // The registry outlives this; without it nobody connects.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Changes how many jobs may be at work at once.
    pub(super) fn limits(&self) -> watch::Sender<Concurrency> {
        self.set_limits.clone()
    }

    /// Once every task has ended: closes the catalog and lets the data
    /// directory go. `false`: a port had failed.
    pub async fn close(self) -> bool {
        let heard = self.registry.all_heard();
        if let Err(error) = self.catalog.coordinator_stops(&heard).await {
            tracing::warn!(%error, "the catalog does not know that this coordinator has ended");
        }
        self.catalog.close().await;
        !self.failed.load(Ordering::Relaxed)
    }
}

/// How often to look.
const HEALTH: Duration = Duration::from_secs(15);

/// Tells the log when the catalog cannot be written, and when it can again.
async fn watch(catalog: Catalog, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(HEALTH) => {}
            () = cancel.cancelled() => return,
        }
        // It says itself what has changed.
        let _ = catalog.health().await;
    }
}

/// A coordinator without one of its ports is none: the rest ends too.
fn end_on_failure<E: std::error::Error>(
    shutdown: &Shutdown,
    failed: &Arc<AtomicBool>,
    what: &'static str,
    task: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    let (asker, failed) = (shutdown.clone(), Arc::clone(failed));
    shutdown.spawn(async move {
        if let Err(error) = task.await {
            tracing::error!(%error, "{what}");
            failed.store(true, Ordering::Relaxed);
            asker.request();
        }
    });
}

/// Names of the server certificate, beside this host's loopback.
fn server_names(config: &Config) -> Vec<String> {
    let mut names = config.agents.public_names.clone();
    if names.is_empty() {
        names.extend(hostname());
    }
    for address in [config.agents.listen.ip(), config.api.listen.ip()] {
        let name = address.to_string();
        if !address.is_unspecified() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// This host's own name, if a certificate can hold it.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    rustls::pki_types::DnsName::try_from(name).ok()?;
    Some(name.to_owned())
}

/// Host and port that invitations name: the first public name, else the
/// address it listens on, else this host's name.
fn public_address(names: &[String], config: &Config, bound: SocketAddr) -> String {
    let listens_on = Some(bound.ip()).filter(|ip| !ip.is_unspecified());
    let host = match (config.agents.public_names.first(), listens_on) {
        (Some(name), _) => name.clone(),
        (None, Some(ip)) => ip.to_string(),
        (None, None) => names.first().cloned().unwrap_or_else(|| "127.0.0.1".into()),
    };
    match host.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", bound.port()),
        _ => format!("{host}:{}", bound.port()),
    }
}

fn lifetimes(config: &Config) -> Lifetimes {
    Lifetimes {
        agent: SignedDuration::from_secs(config.agents.certificate_lifetime.seconds().into()),
        ..Lifetimes::default()
    }
}

fn session_config(config: &Config) -> SessionConfig {
    SessionConfig {
        heartbeat: Duration::from_secs(config.sessions.heartbeat_seconds.into()),
        lease: Duration::from_secs(config.sessions.lease_seconds.into()),
        backoff: Backoff::default(),
        challenge: CHALLENGE,
    }
}

fn concurrency(config: &Config) -> Concurrency {
    Concurrency {
        global: config.limits.global,
        per_agent: config.limits.per_agent,
        per_store: config.limits.per_store,
    }
}
