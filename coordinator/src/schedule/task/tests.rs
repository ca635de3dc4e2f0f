//! Tests of the scheduler on a real catalog.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::AgentId;
use strongroom_runtime::clock::ManualClock;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{pass, run};
use crate::{
    catalog::{Catalog, Enrolment, JobFilter},
    model::{Actor, AgentCertificate, Job, NewJoinToken, SecretHash},
    policy::Policy,
};

struct World {
    catalog: Catalog,
    clock: Arc<ManualClock>,
    _directory: tempfile::TempDir,
}

const NIGHTLY: &str = r#"{"cron": "0 2 * * *", "timezone": "UTC"}"#;

impl World {
    /// One agent, at noon on 1 March.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
        let url = format!("sqlite:{}/catalog.db", directory.path().display());
        let catalog = Catalog::open(&url, clock.clone()).await.unwrap();
        let world = Self {
            catalog,
            clock,
            _directory: directory,
        };
        world.enrol().await;
        world
    }

    async fn enrol(&self) {
        let until = "2030-01-01T00:00:00Z".parse().unwrap();
        let token = NewJoinToken {
            id: "t".into(),
            secret: SecretHash::of("s"),
            labels: [].into(),
            agent_name: Some("web-1".into()),
            expires_at: until,
        };
        let created = self.catalog.create_join_token(&token, &Actor::Coordinator);
        created.await.unwrap();
        let agent = AgentId(Uuid::from_u128(1));
        let enrolment = Enrolment {
            agent,
            hostname: "web-1".into(),
            version: "0".into(),
            certificate: AgentCertificate::new(agent, "1".into(), until, until),
        };
        let redeemed = self
            .catalog
            .redeem_join_token("t", &token.secret, &enrolment);
        redeemed.await.unwrap();
    }

    async fn apply(&self, schedule: &str) {
        let policy: Policy = serde_json::from_str(&format!(
            r#"{{"name": "web", "agents": {{"names": ["web-1"]}}, "store": "primary",
                "source": {{"files": {{"paths": ["/srv"]}}}}, "schedule": {schedule}}}"#
        ))
        .unwrap();
        let by = Actor::Coordinator;
        self.catalog.apply_policies(&[policy], &by).await.unwrap();
    }

    fn set(&self, time: &str) {
        let time: Timestamp = time.parse().unwrap();
        self.clock
            .advance(time.duration_since(self.catalog.clock().now()));
    }

    async fn pass(&self) -> Option<String> {
        pass(&self.catalog).await.unwrap().map(|it| it.to_string())
    }

    async fn unfinished(&self) -> Vec<Job> {
        let filter = JobFilter {
            unfinished: true,
            ..JobFilter::default()
        };
        self.catalog.jobs(&filter, 10).await.unwrap().items
    }

    async fn end_all(&self) {
        for job in self.unfinished().await {
            let ended = self.catalog.cancel_job(job.id, &Actor::Coordinator, "done");
            ended.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_job_is_made_when_due_and_not_before() {
    let world = World::new().await;
    world.apply(NIGHTLY).await;
    assert_eq!(world.pass().await.as_deref(), Some("2026-03-02T02:00:00Z"));
    assert!(world.unfinished().await.is_empty());
    world.set("2026-03-02T02:00:00Z");
    world.pass().await;
    let jobs = world.unfinished().await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].repository, "primary/web-1");
    assert_eq!(jobs[0].limits.max_attempts, 3);
    assert_eq!(jobs[0].dataset.as_ref().unwrap().to_string(), "web@web-1");
    world.end_all().await;
    assert_eq!(world.pass().await.as_deref(), Some("2026-03-03T02:00:00Z"));
    assert!(world.unfinished().await.is_empty());
}

#[tokio::test]
async fn a_dataset_does_not_overlap_itself_and_catches_up_once() {
    let world = World::new().await;
    world.apply(NIGHTLY).await;
    world.set("2026-03-02T02:00:00Z");
    world.pass().await;
    world.set("2026-03-05T03:00:00Z");
    world.pass().await;
    assert_eq!(world.unfinished().await.len(), 1, "still the first");
    world.end_all().await;
    world.pass().await;
    assert_eq!(world.unfinished().await.len(), 1, "one for three missed");
    world.end_all().await;
    assert_eq!(world.pass().await.as_deref(), Some("2026-03-06T02:00:00Z"));
    assert!(world.unfinished().await.is_empty());
}

#[tokio::test]
async fn a_new_schedule_does_not_catch_up_its_own_past() {
    let world = World::new().await;
    world.apply(NIGHTLY).await;
    world.set("2026-03-04T15:00:00Z");
    let afternoon = r#"{"cron": "0 14 * * *", "timezone": "UTC"}"#;
    world.apply(afternoon).await;
    assert_eq!(world.pass().await.as_deref(), Some("2026-03-05T14:00:00Z"));
    assert!(world.unfinished().await.is_empty());
}

#[tokio::test]
async fn the_task_makes_what_becomes_due_and_ends_when_cancelled() {
    let world = World::new().await;
    let cancel = CancellationToken::new();
    let mut changes = world.catalog.changes();
    let task = tokio::spawn(run(world.catalog.clone(), cancel.clone()));
    world.apply(NIGHTLY).await;
    world.clock.advance(SignedDuration::from_hours(24));
    // Any change of the catalog makes it look at the clock again.
    let touched = world.catalog.mark_repository_ready("none");
    touched.await.unwrap();
    while world.unfinished().await.is_empty() {
        changes.changed().await;
    }
    cancel.cancel();
    task.await.unwrap();
    assert_eq!(world.unfinished().await.len(), 1);
}
