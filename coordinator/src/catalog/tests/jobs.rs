//! Jobs: made, found, listed, cancelled.

use std::num::{NonZeroU32, NonZeroU64};

use strongroom_layout::JobId;
use strongroom_spec::{JobKind, ResourceLimits};
use strongroom_wire::session::Progress;
use uuid::Uuid;

use super::{
    Fixture, contract,
    fixture::{operator, policy, success},
};
use crate::{
    catalog::{AuditFilter, CatalogError, JobFilter},
    jobs::request,
    model::{DatasetName, JobState, StateWord, TraceRef},
};

contract!(
    a_job_comes_back_as_it_was_made,
    one_key_makes_one_job,
    jobs_that_belong_together_are_made_all_or_none,
    revoked_agents_get_no_jobs_and_lose_those_they_had,
    jobs_are_listed_by_page_and_filter,
    a_job_is_found_by_part_of_its_id,
    a_waiting_job_is_cancelled_at_once,
    the_audit_log_is_listed_by_page,
    figures_count_what_waits_and_what_runs,
    of_a_jobs_stages_the_newest_are_kept,
);

async fn a_job_comes_back_as_it_was_made(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let mut new = request::backup(&policy("web"), &agent, operator());
    new.limits.timeout_seconds = Some(60);
    new.limits.resources = ResourceLimits {
        upload: NonZeroU64::new(1 << 40),
        download: NonZeroU64::new(2),
        read: NonZeroU64::new(3),
        threads: NonZeroU32::new(4),
        memory: NonZeroU64::new(5),
    };
    let trace = TraceRef::random();
    new.trace = Some(trace.clone());
    let made = fixture.catalog.create_job(&new).await.unwrap();
    assert!(made.new);
    let job = fixture.catalog.job(made.job.id).await.unwrap();
    assert_eq!(job, made.job);
    assert_eq!(job.kind, JobKind::Backup);
    assert_eq!(job.dataset, Some(DatasetName::new("web", "web-1")));
    assert_eq!(job.spec, new.spec);
    assert_eq!(job.limits, new.limits);
    assert_eq!(job.trace, trace);
    assert_eq!(job.requested_by, operator());
    assert_eq!(job.created_at, fixture.now());
    assert_eq!(job.attempt_ref(), None);
    let unknown = fixture.catalog.job(JobId(Uuid::nil())).await.unwrap_err();
    assert!(matches!(unknown, CatalogError::NotFound { .. }));
    let filter = AuditFilter {
        object: Some(job.id.to_string()),
        ..AuditFilter::default()
    };
    let log = fixture.catalog.audit_log(&filter, 9).await.unwrap().items;
    assert_eq!(log[0].action, "job.create");
    assert_eq!(log[0].trace_id, Some(trace.trace_id));
}

async fn jobs_that_belong_together_are_made_all_or_none(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let one = fixture.agent("web-1").await;
    let other = fixture.agent("web-2").await;
    let backup = |agent| request::backup(&policy("web"), agent, operator());
    let made = catalog
        .create_jobs(&[backup(&one), backup(&other)])
        .await
        .unwrap();
    let agents: Vec<_> = made.iter().map(|job| job.agent).collect();
    assert_eq!(agents, [one.id, other.id]);
    let second = catalog
        .create_job_after(&backup(&one), backup(&other))
        .await
        .unwrap();
    let first = catalog.job(second.after.unwrap()).await.unwrap();
    assert_eq!(first.agent, one.id);

    catalog.revoke_agent(other.id, &operator()).await.unwrap();
    let all = catalog.jobs(&JobFilter::default(), 10).await.unwrap();
    catalog
        .create_jobs(&[backup(&one), backup(&other)])
        .await
        .unwrap_err();
    catalog
        .create_job_after(&backup(&one), backup(&other))
        .await
        .unwrap_err();
    let after = catalog.jobs(&JobFilter::default(), 10).await.unwrap();
    assert_eq!(after.items, all.items);
}

async fn one_key_makes_one_job(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let mut new = request::backup(&policy("web"), &agent, operator());
    new.idempotency_key = Some("k".into());
    let (one, two) = tokio::join!(
        fixture.catalog.create_job(&new),
        fixture.catalog.create_job(&new)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.job, two.job);
    assert!(one.new ^ two.new);
}

async fn revoked_agents_get_no_jobs_and_lose_those_they_had(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let pending = fixture.backup(&agent, "files").await;
    let other = fixture.agent("web-2").await;
    let spared = fixture.backup(&other, "files").await;
    let running = fixture.backup(&agent, "logs").await;
    fixture.dispatch(&agent).await;
    catalog.revoke_agent(agent.id, &operator()).await.unwrap();
    for job in [pending, running] {
        let job = catalog.job(job.id).await.unwrap();
        let JobState::Failed { failure, .. } = job.state else {
            panic!("{job:?}");
        };
        assert!(failure.message.contains("revoked"), "{failure:?}");
    }
    let spared = catalog.job(spared.id).await.unwrap();
    assert_eq!(spared.state.word(), StateWord::Pending);
    let refused = catalog
        .create_job(&request::backup(&policy("web"), &agent, operator()))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("web-1"), "{refused}");
}

async fn jobs_are_listed_by_page_and_filter(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agents = [fixture.agent("a").await, fixture.agent("b").await];
    let mut made = Vec::new();
    for index in 0..5 {
        let name = if index < 3 { "files" } else { "logs" };
        made.push(fixture.backup(&agents[index % 2], name).await.id);
    }
    let cancelled = catalog.cancel_job(made[0], &operator(), "no").await;
    cancelled.unwrap();
    made.reverse();
    let mut filter = JobFilter::default();
    let mut seen = Vec::new();
    loop {
        let page = catalog.jobs(&filter, 2).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|job| job.id));
        let Some(next) = page.next else { break };
        filter.before = Some(next);
    }
    assert_eq!(seen, made, "newest first, each once");
    let count = async |filter: JobFilter| catalog.jobs(&filter, 100).await.unwrap().items.len();
    let all = JobFilter::default;
    assert_eq!(count(all()).await, 5);
    assert_eq!(
        count(JobFilter {
            unfinished: true,
            ..all()
        })
        .await,
        4
    );
    let state = Some(StateWord::Cancelled);
    assert_eq!(count(JobFilter { state, ..all() }).await, 1);
    let kind = Some(JobKind::Restore);
    assert_eq!(count(JobFilter { kind, ..all() }).await, 0);
    let policy = Some("logs".into());
    assert_eq!(count(JobFilter { policy, ..all() }).await, 2);
    let agent = Some(agents[0].id);
    assert_eq!(count(JobFilter { agent, ..all() }).await, 3);
    let dataset = Some(DatasetName::new("files", "a"));
    assert_eq!(count(JobFilter { dataset, ..all() }).await, 2);
}

async fn a_job_is_found_by_part_of_its_id(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let one = fixture.backup(&agent, "a").await.id.to_string();
    let two = fixture.backup(&agent, "b").await.id.to_string();
    for part in [&one[..], &one[30..]] {
        let found = fixture.catalog.find_job(part).await.unwrap();
        assert_eq!(found.id.to_string(), one);
    }
    let both = fixture.catalog.find_job(&one[..8]).await.unwrap_err();
    let text = both.to_string();
    assert!(matches!(both, CatalogError::Ambiguous { .. }), "{text}");
    assert!(text.contains(&one) && text.contains(&two), "{text}");
    for none in ["zzz", "%", "_", "\\"] {
        let error = fixture.catalog.find_job(none).await.unwrap_err();
        assert!(matches!(error, CatalogError::NotFound { .. }), "{none}");
    }
}

async fn a_waiting_job_is_cancelled_at_once(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let job = fixture.backup(&agent, "web").await;
    fixture.advance(3);
    let cancel = async || {
        fixture
            .catalog
            .cancel_job(job.id, &operator(), "typo")
            .await
    };
    let cancelled = cancel().await.unwrap();
    let expected = JobState::Cancelled {
        at: fixture.now(),
        reason: "typo".into(),
    };
    assert_eq!(cancelled.state, expected);
    assert_eq!(fixture.catalog.job(job.id).await.unwrap(), cancelled);
    let again = cancel().await.unwrap_err();
    assert!(matches!(again, CatalogError::Transition(_)));
    assert!(again.to_string().contains("cancelled"), "{again}");
}

async fn the_audit_log_is_listed_by_page(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    for _ in 0..3 {
        fixture.backup(&agent, "web").await;
    }
    let mut filter = AuditFilter {
        action: Some("job.create".into()),
        ..AuditFilter::default()
    };
    let first = fixture.catalog.audit_log(&filter, 2).await.unwrap();
    assert_eq!(first.items.len(), 2);
    filter.before = first.next;
    let second = fixture.catalog.audit_log(&filter, 2).await.unwrap();
    assert_eq!(second.items.len(), 1);
    assert_eq!(second.next, None);
    assert!(second.items[0].id < first.items[1].id);
}

async fn figures_count_what_waits_and_what_runs(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "a").await;
    fixture.finish(&agent, attempt, Ok(success(1))).await;
    fixture.started(&agent, "b").await;
    fixture.backup(&agent, "c").await;
    let figures = fixture.catalog.figures().await.unwrap();
    assert_eq!(figures.jobs_pending, 1);
    assert_eq!(figures.jobs_running, 1);
    assert_eq!(figures.snapshots, 1);
}

async fn of_a_jobs_stages_the_newest_are_kept(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    // Of attempts before.
    sqlx::query(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2100)
         INSERT INTO job_marks (job_id, attempt, at, stage, files, bytes)
         SELECT $1, 0, n, 'old', n, 0 FROM numbers",
    )
    .bind(attempt.job.to_string())
    .execute(catalog.writers())
    .await
    .unwrap();
    let stage = |stage: &str| Progress {
        attempt,
        stage: stage.into(),
        files: 0,
        bytes: 0,
        total_files: None,
        total_bytes: None,
        bytes_stored: 0,
        warnings: 0,
    };
    catalog.note_marks(&[stage("opening")]).await.unwrap();
    fixture.advance(1);
    catalog.note_marks(&[stage("reading")]).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM job_marks")
        .fetch_one(catalog.writers())
        .await
        .unwrap();
    assert_eq!(kept, 2_000);
    let marks = catalog.job_marks(attempt.job).await.unwrap();
    assert_eq!(marks.len(), 2_000);
    assert_eq!((marks[0].stage.as_str(), marks[0].files), ("old", 103));
    let last: Vec<_> = marks[1_998..].iter().map(|it| it.stage.as_str()).collect();
    assert_eq!(last, ["opening", "reading"]);
}
