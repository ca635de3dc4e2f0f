//! A coordinator in process, and agents that speak to it over real TLS: for
//! the tests of sessions, grants and dispatch.

mod agent;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::ObjectId;
use strongroom_runtime::clock::{Clock as _, ManualClock, SharedClock, SystemClock};
use strongroom_spec::{BackupSpec, CommandSource, DirectoryTarget, JobSpec, RestoreSpec, Source};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use agent::{TestAgent, TestSession, connect, success};

use crate::{
    catalog::{AuditFilter, Catalog},
    dispatch::Dispatcher,
    door::Limits,
    embedded::{self, Bounds, EmbeddedConfig, EmbeddedStore},
    grants::Grants,
    identity::{Authority, EnrolmentService, Lifetimes},
    jobs::Concurrency,
    keys::KeyEncryptionKey,
    model::{Actor, AuditRow, DatasetName, Job, JobLimits, NewJob, NewJoinToken, SecretHash},
    sessions::{AgentPort, Gateway, Registry, SessionConfig},
    stores::{self, Store, StoreConfig, Stores},
};

pub(crate) const STORE: &str = "primary";
const BUCKET: &str = "bucket";

/// Who asks in the tests.
pub(crate) fn operator() -> Actor {
    Actor::Operator("alice".into())
}

/// A whole coordinator without its API.
pub(crate) struct Coordinator {
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) registry: Registry,
    pub(crate) authority: Arc<Authority>,
    pub(crate) stores: Stores,
    pub(crate) address: SocketAddr,
    pub(crate) directory: TempDir,
    pub(crate) grants: Arc<Grants>,
    pub(crate) config: SessionConfig,
    limits: Limits,
    key: Arc<KeyEncryptionKey>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Coordinator {
    /// Its clock stands at the real time until it is moved.
    pub(crate) async fn start() -> Self {
        Self::start_with(Limits::of(256, 64)).await
    }

    /// With these limits of the agents' port.
    pub(crate) async fn start_with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(SystemClock.now());
        let shared: SharedClock = clock.clone();
        let stop = CancellationToken::new();
        let (store, serving) = start_store(&directory, &stop).await;
        let stores = Stores::new([store], &shared).unwrap();
        let url = format!("sqlite:{}/catalog.db", directory.path().display());
        let catalog = Catalog::open(&url, shared.clone()).await.unwrap();
        let lifetimes = Lifetimes {
            agent: SignedDuration::from_hours(1),
            ..Lifetimes::default()
        };
        let pki = directory.path().join("pki");
        std::fs::create_dir(&pki).unwrap();
        let authority = Authority::open(&pki, &[], lifetimes, shared).unwrap();
        let checks = stores::keep(stores.clone(), catalog.clone(), stop.clone());
        let checks = tokio::spawn(checks);
        let authority = Arc::new(authority);
        let key = KeyEncryptionKey::open_or_create(&directory.path().join("kek")).unwrap();
        let grants = Arc::new(Grants::new(catalog.clone(), stores.clone()));
        let mut coordinator = Self {
            registry: Registry::default(),
            config: SessionConfig {
                challenge: Duration::from_secs(2),
                ..SessionConfig::default()
            },
            limits,
            address: "127.0.0.1:0".parse().unwrap(),
            tasks: vec![serving, checks],
            key: Arc::new(key),
            catalog,
            clock,
            authority,
            stores,
            directory,
            grants,
            stop,
        };
        coordinator.listen().await;
        coordinator
    }

    async fn listen(&mut self) {
        let tls = self.authority.agent_tls().unwrap();
        let port = AgentPort::bind(self.address, tls, self.limits)
            .await
            .unwrap();
        self.address = port.address();
        let enrolment = EnrolmentService::new(self.catalog.clone(), self.authority.clone());
        let gateway = Gateway::new(
            self.catalog.clone(),
            self.registry.clone(),
            self.grants.clone(),
            self.authority.clone(),
            self.config,
            self.stop.clone(),
        );
        let stop = self.stop.clone();
        self.tasks.push(tokio::spawn(async move {
            port.serve(enrolment, gateway, stop).await.unwrap();
        }));
    }

    /// Ends as a coordinator does that is asked to.
    pub(crate) async fn shut_down(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(SignedDuration::try_from(by).unwrap());
    }

    pub(crate) fn store(&self) -> &Store {
        self.stores.get(STORE).unwrap()
    }

    pub(crate) fn dispatcher(&self) -> Dispatcher {
        self.dispatcher_with(self.stores.clone())
    }

    pub(crate) fn dispatcher_with(&self, stores: Stores) -> Dispatcher {
        Dispatcher::new(
            self.catalog.clone(),
            self.registry.clone(),
            stores,
            self.grants.clone(),
            self.key.clone(),
            tokio::sync::watch::channel(Concurrency::default()).1,
            self.config,
        )
    }

    /// A join token with the secret `secret`, good for an hour.
    pub(crate) async fn invite(&self) -> String {
        let id = Uuid::new_v4().to_string();
        let token = NewJoinToken {
            id: id.clone(),
            secret: SecretHash::of("secret"),
            labels: std::collections::BTreeMap::new(),
            agent_name: None,
            expires_at: self.now() + SignedDuration::from_hours(1),
        };
        self.catalog
            .create_join_token(&token, &operator())
            .await
            .unwrap();
        id
    }

    /// An agent that has enrolled over the wire.
    pub(crate) async fn enrolled(&self, hostname: &str) -> TestAgent {
        let token = self.invite().await;
        TestAgent::enrol(self, &token, "secret", hostname)
            .await
            .unwrap()
    }

    /// A job for an agent that waits.
    pub(crate) async fn job(&self, agent: &TestAgent, spec: JobSpec) -> Job {
        self.job_in(agent, STORE, spec).await
    }

    pub(crate) async fn job_in(&self, agent: &TestAgent, store: &str, spec: JobSpec) -> Job {
        let new = NewJob {
            dataset: Some(DatasetName::new("files", &agent.name)),
            agent: agent.id,
            store: store.into(),
            repository: format!("{store}/{}", agent.name),
            spec,
            limits: JobLimits {
                max_attempts: 3,
                ..JobLimits::default()
            },
            after: None,
            trace: None,
            requested_by: operator(),
            idempotency_key: None,
        };
        self.catalog.create_job(&new).await.unwrap().job
    }

    /// The refusals in the audit log, oldest first.
    pub(crate) async fn refusals(&self) -> Vec<AuditRow> {
        let filter = AuditFilter {
            action: Some("grant.refuse".into()),
            ..AuditFilter::default()
        };
        let mut rows = self.catalog.audit_log(&filter, 100).await.unwrap().items;
        rows.reverse();
        rows
    }
}

async fn start_store(
    directory: &TempDir,
    stop: &CancellationToken,
) -> (StoreConfig, JoinHandle<()>) {
    let credentials =
        embedded::load_or_create_credentials(&directory.path().join("embedded.json")).unwrap();
    let store = EmbeddedStore::bind(EmbeddedConfig {
        directory: directory.path().join("objects"),
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        credentials: credentials.clone(),
        bounds: Bounds::of(256, 64),
    })
    .await
    .unwrap();
    store.ensure_bucket(BUCKET).unwrap();
    let config = StoreConfig {
        name: STORE.into(),
        endpoint: format!("http://{}", store.address()).parse().unwrap(),
        region: "us-east-1".into(),
        bucket: BUCKET.into(),
        prefix: "fleet".into(),
        path_style: true,
        credentials,
        extra_ca_pem: None,
        accept_risks: std::collections::BTreeSet::new(),
    };
    (config, tokio::spawn(store.serve(stop.clone())))
}

/// A backup of a command's output.
pub(crate) fn backup() -> JobSpec {
    JobSpec::Backup(BackupSpec {
        dataset: "files@host".into(),
        source: Source::Command(CommandSource {
            name: "dump".into(),
        }),
        parent: None,
        tags: Vec::new(),
    })
}

/// A restore of a snapshot.
pub(crate) fn restore(snapshot: ObjectId) -> JobSpec {
    let target = DirectoryTarget {
        directory: "/tmp/x".into(),
        ..DirectoryTarget::default()
    };
    RestoreSpec::new(snapshot, target.into()).into()
}

pub(crate) fn sha256(bytes: &[u8]) -> ObjectId {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    ObjectId::from_slice(digest.as_ref()).unwrap()
}
