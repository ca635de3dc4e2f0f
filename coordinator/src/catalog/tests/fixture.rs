//! A fresh catalog with a clock that stands still, and things to put into it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection, Executor};
use strongroom_layout::{AgentId, AttemptRef, ObjectId};
use strongroom_runtime::clock::ManualClock;
use strongroom_spec::{BackupOutcome, Failure, FailureCode, Outcome, Warning, WarningCode};
use strongroom_wire::job::Report;
use uuid::Uuid;

use crate::{
    catalog::{Catalog, Enrolment, Finished, Publication, RedeemError},
    jobs::{Backoff, Concurrency, LiveAgent, request},
    model::{
        Actor, Agent, AgentCertificate, Job, NewJoinToken, NewRepository, Repository, SecretHash,
    },
    policy::Policy,
};

/// Superuser's URL of a Postgres server for tests; each makes its own
/// database in it.
const POSTGRES_URL: &str = "STRONGROOM_TEST_POSTGRES_URL";

/// A fresh catalog.
pub(super) struct Fixture {
    pub(super) catalog: Catalog,
    pub(super) clock: Arc<ManualClock>,
    /// Another coordinator may open it by this.
    pub(super) url: String,
    /// Removed at the end.
    pub(super) directory: Option<tempfile::TempDir>,
}

impl Fixture {
    pub(super) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/catalog.db", directory.path().display());
        Self::open(url, Some(directory)).await
    }

    pub(super) async fn postgres() -> Self {
        let server = std::env::var(POSTGRES_URL).unwrap_or_else(|_| {
            panic!(
                "set {POSTGRES_URL} to a superuser's URL of a Postgres server, for example \
                 postgres://postgres@127.0.0.1:5432/postgres, or run tests/run, which starts one"
            )
        });
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&server)
            .await
            .unwrap_or_else(|error| panic!("cannot reach the server of {POSTGRES_URL}: {error}"));
        let name = format!("catalog_{}", Uuid::new_v4().simple());
        connection
            .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .unwrap();
        connection.close().await.unwrap();
        let mut url = url::Url::parse(&server).unwrap();
        url.set_path(&name);
        Self::open(url.into(), None).await
    }

    async fn open(url: String, directory: Option<tempfile::TempDir>) -> Self {
        let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
        let catalog = Catalog::open(&url, clock.clone()).await.unwrap();
        Self {
            catalog,
            clock,
            url,
            directory,
        }
    }

    /// The directory of the SQLite file; `None` on Postgres.
    pub(super) fn directory(&self) -> Option<&std::path::Path> {
        self.directory.as_ref().map(tempfile::TempDir::path)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.catalog.now()
    }

    pub(super) fn in_seconds(&self, seconds: i64) -> Timestamp {
        self.now() + SignedDuration::from_secs(seconds)
    }

    pub(super) fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    /// A join token with this id and the secret `secret`, good for an hour.
    pub(super) async fn invite(&self, id: &str, name: Option<&str>) {
        let token = NewJoinToken {
            id: id.into(),
            secret: SecretHash::of("secret"),
            labels: BTreeMap::from([("role".into(), "web".into())]),
            agent_name: name.map(Into::into),
            expires_at: self.in_seconds(3600),
        };
        self.catalog
            .create_join_token(&token, &operator())
            .await
            .unwrap();
    }

    /// Redeems a token with a secret, from a host of that name.
    pub(super) async fn redeem(
        &self,
        id: &str,
        secret: &str,
        hostname: &str,
    ) -> Result<Agent, RedeemError> {
        let agent = AgentId(Uuid::new_v4());
        let serial = agent.0.simple().to_string();
        self.redeem_with(id, secret, agent, serial, hostname).await
    }

    /// The same as an agent that there is.
    pub(super) async fn redeem_as(
        &self,
        id: &str,
        agent: AgentId,
        hostname: &str,
    ) -> Result<Agent, RedeemError> {
        let serial = Uuid::new_v4().simple().to_string();
        self.redeem_with(id, "secret", agent, serial, hostname)
            .await
    }

    async fn redeem_with(
        &self,
        id: &str,
        secret: &str,
        agent: AgentId,
        serial: String,
        hostname: &str,
    ) -> Result<Agent, RedeemError> {
        let enrolment = Enrolment {
            agent,
            hostname: hostname.into(),
            version: "0.1.0".into(),
            certificate: AgentCertificate::new(agent, serial, self.now(), self.in_seconds(86_400)),
        };
        self.catalog
            .redeem_join_token(id, &SecretHash::of(secret), &enrolment)
            .await
    }

    /// An active agent labelled `role=web`.
    pub(super) async fn agent(&self, name: &str) -> Agent {
        let token = Uuid::new_v4().to_string();
        self.invite(&token, Some(name)).await;
        self.redeem(&token, "secret", "host").await.unwrap()
    }
}

impl Fixture {
    /// The agent's own repository in the store `primary`.
    pub(super) async fn repository(&self, agent: &Agent) -> Repository {
        let wanted = NewRepository {
            name: Repository::name_of("primary", &agent.name),
            store: "primary".into(),
            prefix: agent.name.clone(),
            agent: agent.id,
            sealed_password: format!("sealed for {}", agent.id),
        };
        self.catalog.ensure_repository(&wanted).await.unwrap()
    }

    /// A new job that backs up the agent by [`policy`].
    pub(super) async fn backup(&self, agent: &Agent, name: &str) -> Job {
        let new = request::backup(&policy(name), agent, operator());
        self.catalog.create_job(&new).await.unwrap().job
    }

    /// What the agent's process [`BOOT`] gets now, with a lease of a minute.
    pub(super) async fn dispatch(&self, agent: &Agent) -> Vec<Job> {
        let live = LiveAgent {
            agent: agent.id,
            boot_id: BOOT,
        };
        let lease = SignedDuration::from_mins(1);
        let dispatched = self
            .catalog
            .dispatch(&[live], Concurrency::default(), lease)
            .await;
        dispatched.unwrap().into_iter().map(|it| it.job).collect()
    }

    /// The attempt of a new backup that the agent has accepted.
    pub(super) async fn started(&self, agent: &Agent, policy: &str) -> AttemptRef {
        let job = self.backup(agent, policy).await;
        let dispatched = self.dispatch(agent).await;
        let attempt = dispatched[0].attempt_ref().unwrap();
        assert_eq!(attempt.job, job.id);
        let accepted = self.catalog.accept_attempt(agent.id, attempt).await;
        assert!(accepted.unwrap().is_some());
        attempt
    }

    /// Publishes the snapshot of [`success`]`(number)`.
    pub(super) async fn publish(&self, attempt: AttemptRef, number: u8, time: Timestamp) {
        let Outcome::Backup(result) = success(number) else {
            unreachable!("success is of a backup");
        };
        let publication = Publication {
            attempt,
            length: 300,
            result,
            time,
        };
        self.catalog.publish(&publication).await.unwrap();
    }

    /// Reports the end of an attempt, which counts; a success has published its
    /// snapshot.
    pub(super) async fn finish(
        &self,
        agent: &Agent,
        attempt: AttemptRef,
        outcome: Result<Outcome, Failure>,
    ) -> Job {
        if let Ok(Outcome::Backup(result)) = &outcome {
            self.publish(attempt, result.snapshot.0[0], self.now())
                .await;
        }
        let report = report(attempt, outcome);
        let backoff = Backoff::default();
        let finished = self
            .catalog
            .finish_attempt(agent.id, &report, true, &backoff);
        match finished.await.unwrap() {
            Finished::Recorded(job) => *job,
            other => panic!("{other:?}"),
        }
    }
}

/// The agent's process in the tests.
pub(super) const BOOT: Uuid = Uuid::from_u128(0xb007);

/// A policy for agents labelled `role=web`: three attempts of an hour.
pub(super) fn policy(name: &str) -> Policy {
    serde_json::from_str(&format!(
        r#"{{"name": "{name}", "agents": {{"labels": {{"role": "web"}}}}, "store": "primary",
            "source": {{"files": {{"paths": ["/srv"]}}}}, "schedule": "daily",
            "limits": {{"timeout": "1h", "attempts": 3}}}}"#
    ))
    .unwrap()
}

/// An id whose every byte is `number`.
pub(super) fn snapshot_id(number: u8) -> ObjectId {
    ObjectId([number; 32])
}

/// A backup that wrote [`snapshot_id`]`(number)`.
pub(super) fn success(number: u8) -> Outcome {
    Outcome::Backup(BackupOutcome {
        snapshot: snapshot_id(number),
        files: 10,
        directories: 2,
        files_unmodified: 1,
        bytes_read: 1000,
        bytes_total: 2000,
        bytes_new: 500,
        bytes_stored: 250,
        blobs_new: 5,
        packs_new: 2,
        cluster: None,
        partial: false,
    })
}

pub(super) fn failure(code: FailureCode, retryable: bool) -> Failure {
    Failure {
        code,
        message: "it broke".into(),
        retryable,
    }
}

/// A new report with one warning.
pub(super) fn report(attempt: AttemptRef, outcome: Result<Outcome, Failure>) -> Report {
    Report {
        report_id: Uuid::new_v4(),
        attempt,
        outcome,
        warnings: vec![Warning {
            code: WarningCode::Unreadable,
            path: b"/srv/\xff".to_vec().into(),
            cause: "vanished".into(),
            accepted: false,
        }],
        warning_count: 1,
        peak_resident_bytes: 1 << 27,
        duration_ms: 1234,
    }
}

/// Who asks in the tests.
pub(super) fn operator() -> Actor {
    Actor::Operator("alice".into())
}
