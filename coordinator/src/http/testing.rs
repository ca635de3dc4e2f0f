//! An API in process, over a catalog of its own.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::Response,
};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use strongroom_layout::{AgentId, AttemptRef, ObjectId};
use strongroom_runtime::clock::ManualClock;
use strongroom_spec::{BackupOutcome, Entry, JobKind, ListOutcome, Outcome, Warning, WarningCode};
use strongroom_wire::{job::Report, session::Progress};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    auth::{self, Sentry},
    problem::Problem,
    router,
    state::{ApiState, Live, Passwords, StorePlace},
};
use crate::{
    catalog::{Catalog, Enrolment, JobFilter, Publication},
    jobs::{Backoff, Concurrency, LiveAgent},
    model::{
        Actor, Agent, AgentCertificate, Job, NewJoinToken, NewRepository, NotedProgress,
        Repository, SecretHash,
    },
};
use crate::{keys::KeyEncryptionKey, sessions::Skew, stores::Stores, transfers::Transfers};

/// An API with one operator, `admin`, and the store `primary`.
pub(super) struct TestApi {
    pub(super) catalog: Catalog,
    pub(super) clock: Arc<ManualClock>,
    pub(super) state: Arc<ApiState>,
    pub(super) live: Arc<FakeLive>,
    pub(super) shutdown: CancellationToken,
    router: Router,
    token: Zeroizing<String>,
    _directory: tempfile::TempDir,
}

/// Sessions as the test says.
pub(super) struct FakeLive {
    connected: Mutex<HashSet<AgentId>>,
    progress: Mutex<HashMap<AttemptRef, Progress>>,
    skews: Mutex<HashMap<AgentId, Skew>>,
    changes: watch::Sender<()>,
}

impl FakeLive {
    pub(super) fn connect(&self, agent: AgentId) {
        self.connected.lock().insert(agent);
    }

    pub(super) fn set_clock(&self, agent: AgentId, ahead_seconds: i64) {
        let skew = Skew(SignedDuration::from_secs(ahead_seconds));
        self.skews.lock().insert(agent, skew);
    }

    pub(super) fn report(&self, progress: Progress) {
        self.progress.lock().insert(progress.attempt, progress);
        self.changes.send_replace(());
    }
}

impl Live for FakeLive {
    fn live(&self) -> Vec<LiveAgent> {
        let connected = self.connected.lock();
        let live = connected.iter().map(|agent| LiveAgent {
            agent: *agent,
            boot_id: Uuid::nil(),
        });
        live.collect()
    }

    fn is_connected(&self, agent: AgentId) -> bool {
        self.connected.lock().contains(&agent)
    }

    fn skew(&self, agent: AgentId) -> Option<Skew> {
        self.skews.lock().get(&agent).copied()
    }

    fn last_heard(&self, _agent: AgentId) -> Option<Timestamp> {
        None
    }

    fn progress(&self, attempt: AttemptRef) -> Option<NotedProgress> {
        let progress = self.progress.lock().get(&attempt).cloned()?;
        let at = Timestamp::UNIX_EPOCH;
        Some(NotedProgress { at, progress })
    }

    fn progress_changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

struct FakePasswords;

impl Passwords for FakePasswords {
    fn open(&self, repository: &Repository) -> Result<Zeroizing<String>, Problem> {
        Ok(Zeroizing::new(format!(
            "opened {}",
            repository.sealed_password
        )))
    }
}

impl TestApi {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let url = format!("sqlite:{}/catalog.sqlite", directory.path().display());
        let clock = ManualClock::new(now);
        let catalog = Catalog::open(&url, clock.clone()).await.unwrap();
        let live = Arc::new(FakeLive {
            connected: Mutex::default(),
            progress: Mutex::default(),
            skews: Mutex::default(),
            changes: watch::Sender::new(()),
        });
        let shutdown = CancellationToken::new();
        let key = KeyEncryptionKey::open_or_create(&directory.path().join("key")).unwrap();
        let key = Arc::new(key);
        let state = ApiState {
            catalog: catalog.clone(),
            live: Arc::clone(&live) as Arc<dyn Live>,
            passwords: Arc::new(FakePasswords),
            transfers: Transfers::new(catalog.clone(), Stores::default(), key),
            stores: BTreeMap::from([(
                "primary".into(),
                StorePlace {
                    restic: "s3:https://s3.example/bucket".into(),
                },
            )]),
            checked: Stores::default(),
            limits: watch::channel(Concurrency::default()).1,
            ca_certificate: "the CA".into(),
            ca_fingerprint: [7; 32],
            agents_address: "backup.example:7443".into(),
            started_at: now,
            sentry: Sentry::default(),
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
        };
        let (token, hash) = auth::new_token().unwrap();
        catalog
            .create_operator("admin", &hash, None, &Actor::Coordinator)
            .await
            .unwrap();
        let state = Arc::new(state);
        Self {
            catalog,
            clock,
            live,
            shutdown,
            router: router(Arc::clone(&state)),
            state,
            token,
            _directory: directory,
        }
    }

    /// That of `admin`.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Sends a request as it is.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends a request as it is; gives the answer's status and body.
    pub(super) async fn raw(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.answer(request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        (status, body)
    }

    /// Sends a request with the token of `admin`.
    pub(super) async fn send(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.send_as(&self.token, method, path, body).await
    }

    /// Sends a request with any token.
    pub(super) async fn send_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        self.raw(Self::request(token, method, path, &body)).await
    }

    /// A request to a path below `/api/v1`.
    pub(super) fn request(token: &str, method: &str, path: &str, body: &Value) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap()
    }

    /// A request that must succeed.
    pub(super) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.send(method, path, body).await;
        assert!(status.is_success(), "{method} {path} {status}: {body:#}");
        body
    }

    /// `GET` that must succeed.
    pub(super) async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, Value::Null).await
    }

    /// A request that must be refused with this code; gives the message and
    /// the hint.
    pub(super) async fn refused(
        &self,
        code: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> (String, String) {
        let (status, body) = self.send(method, path, body).await;
        assert!(!status.is_success(), "{method} {path}: {body:#}");
        assert_eq!(body["code"], code, "{method} {path}: {body:#}");
        (
            body["detail"].as_str().unwrap().to_owned(),
            body["hint"].as_str().unwrap_or_default().to_owned(),
        )
    }

    /// An enrolled agent.
    pub(super) async fn agent(&self, name: &str) -> Agent {
        let id = AgentId(Uuid::new_v4());
        let secret = SecretHash::of(name);
        let now = self.catalog.clock().now();
        let later = now + SignedDuration::from_hours(1);
        let token = NewJoinToken {
            id: format!("token-{name}"),
            secret,
            labels: [("role".to_owned(), "web".to_owned())].into(),
            agent_name: Some(name.into()),
            expires_at: later,
        };
        self.catalog
            .create_join_token(&token, &Actor::Coordinator)
            .await
            .unwrap();
        let enrolment = Enrolment {
            agent: id,
            hostname: name.into(),
            version: "0.1.0".into(),
            certificate: AgentCertificate::new(id, id.to_string(), now, later),
        };
        self.catalog
            .redeem_join_token(&token.id, &secret, &enrolment)
            .await
            .unwrap()
    }

    /// Applies a policy `web` for the agents labelled `role = web`.
    pub(super) async fn web_policy(&self) {
        let toml = r#"
            [[policy]]
            name = "web"
            agents = { labels = { role = "web" } }
            source = { files = { paths = ["/srv"] } }
            store = "primary"
            schedule = "daily"
        "#;
        self.ok("POST", "/policies/apply", json!({ "toml": toml }))
            .await;
    }

    /// Starts `web` and hands the job to the agent, which accepts it.
    pub(super) async fn running_backup(&self, agent: &Agent) -> AttemptRef {
        self.ok("POST", "/policies/web/runs", json!({ "agent": agent.name }))
            .await;
        self.dispatched(agent).await.attempt_ref().unwrap()
    }

    /// The waiting job, with the agent and accepted.
    async fn dispatched(&self, agent: &Agent) -> Job {
        let live = [LiveAgent {
            agent: agent.id,
            boot_id: Uuid::from_u128(1),
        }];
        let lease = SignedDuration::from_mins(1);
        let dispatched = self
            .catalog
            .dispatch(&live, Concurrency::default(), lease)
            .await
            .unwrap();
        let attempt = dispatched[0].job.attempt_ref().unwrap();
        let accepted = self.catalog.accept_attempt(agent.id, attempt).await;
        accepted.unwrap().unwrap()
    }

    /// A backup of `web` with one warning; gives the snapshot's id.
    pub(super) async fn finished_backup(&self, agent: &Agent) -> String {
        let attempt = self.running_backup(agent).await;
        let name = Repository::name_of("primary", &agent.name);
        let repository = NewRepository {
            prefix: format!("agents/{}", agent.name),
            store: "primary".into(),
            agent: agent.id,
            sealed_password: "sealed".into(),
            name,
        };
        self.catalog.ensure_repository(&repository).await.unwrap();
        let result = BackupOutcome {
            snapshot: ObjectId([0xab; 32]),
            files: 7,
            directories: 1,
            files_unmodified: 0,
            bytes_read: 70,
            bytes_total: 70,
            bytes_new: 70,
            bytes_stored: 30,
            blobs_new: 7,
            packs_new: 1,
            cluster: None,
            partial: false,
        };
        let publication = Publication {
            attempt,
            length: 300,
            result: result.clone(),
            time: self.catalog.clock().now(),
        };
        self.catalog.publish(&publication).await.unwrap();
        let id = result.snapshot.to_string();
        self.report(agent, attempt, Outcome::Backup(result), 1)
            .await;
        id
    }

    /// Waits for a listing to be asked for, and answers it with one file.
    pub(super) async fn answer_listing(&self, agent: &Agent) {
        let mut changes = self.catalog.changes();
        let waiting = JobFilter {
            kind: Some(JobKind::List),
            ..JobFilter::default()
        };
        while self
            .catalog
            .jobs(&waiting, 1)
            .await
            .unwrap()
            .items
            .is_empty()
        {
            changes.changed().await;
        }
        let attempt = self.dispatched(agent).await.attempt_ref().unwrap();
        let listing = ListOutcome {
            entries: vec![Entry {
                path: "/srv/a".into(),
                kind: "file".into(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: 10,
                modified: "2026-11-21T12:00:00Z".into(),
                link_target: None,
            }],
            truncated: false,
        };
        self.report(agent, attempt, Outcome::List(listing), 0).await;
    }

    async fn report(&self, agent: &Agent, attempt: AttemptRef, success: Outcome, warnings: u64) {
        let warning = Warning {
            code: WarningCode::Unreadable,
            path: b"/srv/\xff\xff".to_vec().into(),
            cause: "vanished".into(),
            accepted: false,
        };
        let report = Report {
            report_id: Uuid::new_v4(),
            attempt,
            outcome: Ok(success),
            warnings: (0..warnings).map(|_| warning.clone()).collect(),
            warning_count: warnings,
            peak_resident_bytes: 1 << 20,
            duration_ms: 12,
        };
        self.catalog
            .finish_attempt(agent.id, &report, true, &Backoff::default())
            .await
            .unwrap();
    }

    /// Actions in the audit log, newest first.
    pub(super) async fn audited(&self) -> Vec<String> {
        let page = self.get("/audit").await;
        let entries = page["entries"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| {
                format!(
                    "{} {}",
                    entry["actor"].as_str().unwrap(),
                    entry["action"].as_str().unwrap()
                )
            })
            .collect()
    }
}
