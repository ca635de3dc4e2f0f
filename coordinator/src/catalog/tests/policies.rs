//! Policies, datasets and repositories.

use super::{
    Fixture, contract,
    fixture::{operator, policy},
};
use crate::{
    catalog::{AuditFilter, CatalogError, DueRun},
    jobs::request,
    model::{Actor, NewRepository, Repository, RepositoryState},
    policy::Change,
};

contract!(
    policies_are_applied_together_and_counted,
    an_unchanged_policy_is_left_alone,
    a_changed_schedule_begins_anew_and_another_change_does_not,
    datasets_follow_from_policies_and_agents,
    a_scheduled_run_is_made_once,
    a_repository_is_entered_once_and_becomes_ready,
    a_repository_goes_with_its_agents_name,
);

async fn policies_are_applied_together_and_counted(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let (web, db) = (policy("web"), policy("db"));
    let changes = catalog
        .apply_policies(&[web.clone(), db.clone()], &operator())
        .await
        .unwrap();
    assert!(changes.iter().all(|it| it.change == Change::Created));
    fixture.advance(10);
    let mut changed = db.clone();
    changed.store = "offsite".into();
    let changes = catalog
        .apply_policies(std::slice::from_ref(&changed), &operator())
        .await
        .unwrap();
    assert!(matches!(changes[0].change, Change::Changed(_)));
    let stored = catalog.policies().await.unwrap();
    let names: Vec<_> = stored.iter().map(|it| it.policy.name.as_str()).collect();
    assert_eq!(names, ["db", "web"], "what is not named stays");
    assert_eq!(stored[0].policy, changed);
    assert_eq!(stored[0].revision, 2);
    assert_eq!(stored[0].updated_at, fixture.now());
    assert_eq!(catalog.policy("web").await.unwrap().revision, 1);
    catalog.delete_policy("web", &operator()).await.unwrap();
    let gone = catalog.policy("web").await.unwrap_err();
    assert!(matches!(gone, CatalogError::NotFound { .. }));
    let gone = catalog.delete_policy("web", &operator()).await.unwrap_err();
    assert!(matches!(gone, CatalogError::NotFound { .. }));
    let filter = AuditFilter {
        actor: Some(operator()),
        ..AuditFilter::default()
    };
    let log = catalog.audit_log(&filter, 10).await.unwrap().items;
    let actions: Vec<_> = log.iter().map(|it| it.action.as_str()).collect();
    let expected = [
        "policy.delete",
        "policy.change",
        "policy.create",
        "policy.create",
    ];
    assert_eq!(actions, expected);
}

async fn an_unchanged_policy_is_left_alone(fixture: Fixture) {
    let web = [policy("web")];
    let apply = async || {
        let changes = fixture.catalog.apply_policies(&web, &operator()).await;
        changes.unwrap().remove(0).change
    };
    assert_eq!(apply().await, Change::Created);
    fixture.advance(10);
    assert_eq!(apply().await, Change::Unchanged);
    let stored = fixture.catalog.policy("web").await.unwrap();
    assert_eq!(stored.revision, 1);
    assert!(stored.updated_at < fixture.now());
}

async fn a_changed_schedule_begins_anew_and_another_change_does_not(fixture: Fixture) {
    let mut web = policy("web");
    let mut apply = async |change: fn(&mut crate::policy::Policy)| {
        fixture.advance(10);
        change(&mut web);
        let applied = fixture
            .catalog
            .apply_policies(std::slice::from_ref(&web), &operator())
            .await;
        applied.unwrap();
        fixture.catalog.policy("web").await.unwrap().scheduled_since
    };
    let first = apply(|_| {}).await;
    assert_eq!(apply(|it| it.limits.attempts = 9).await, first);
    let second = apply(|it| it.schedule = None).await;
    assert!(second > first);
}

async fn datasets_follow_from_policies_and_agents(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let other = fixture.agent("web-2").await;
    fixture.advance(10);
    let policies = [policy("files"), policy("logs")];
    catalog
        .apply_policies(&policies, &operator())
        .await
        .unwrap();
    let names = async || {
        let datasets = catalog.datasets().await.unwrap();
        let names: Vec<_> = datasets.iter().map(|it| it.name.to_string()).collect();
        names.join(" ")
    };
    assert_eq!(
        names().await,
        "files@web-1 files@web-2 logs@web-1 logs@web-2"
    );
    catalog.revoke_agent(other.id, &operator()).await.unwrap();
    assert_eq!(names().await, "files@web-1 logs@web-1");
    let dataset = catalog.datasets().await.unwrap().remove(0);
    assert_eq!(dataset.scheduled_since, fixture.now());
    assert!(!dataset.busy);
    assert_eq!(dataset.last_due, None);
    let job = request::backup(&policies[0], &agent, operator());
    catalog.create_job(&job).await.unwrap();
    let dataset = catalog.datasets().await.unwrap().remove(0);
    assert!(dataset.busy);
}

async fn a_scheduled_run_is_made_once(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let web = policy("web");
    let run = DueRun {
        policy: "web".into(),
        agent: agent.id,
        nominal: fixture.now(),
    };
    let new = request::backup(&web, &agent, Actor::Coordinator);
    let (one, two) = tokio::join!(
        catalog.create_scheduled_job(&run, &new),
        catalog.create_scheduled_job(&run, &new)
    );
    let made: Vec<_> = [one.unwrap(), two.unwrap()].into_iter().flatten().collect();
    assert_eq!(made.len(), 1);
    catalog
        .cancel_job(made[0].id, &operator(), "enough")
        .await
        .unwrap();
    let again = catalog.create_scheduled_job(&run, &new).await.unwrap();
    assert_eq!(again, None, "the run is remembered");
    let later = DueRun {
        nominal: fixture.in_seconds(60),
        ..run
    };
    let next = catalog.create_scheduled_job(&later, &new).await.unwrap();
    assert!(next.is_some());
    catalog.apply_policies(&[web], &operator()).await.unwrap();
    let dataset = catalog.datasets().await.unwrap().remove(0);
    assert_eq!(dataset.last_due, Some(later.nominal));
}

async fn a_repository_is_entered_once_and_becomes_ready(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let wanted = NewRepository {
        name: Repository::name_of("primary", "web-1"),
        store: "primary".into(),
        prefix: "web-1".into(),
        agent: agent.id,
        sealed_password: "sealed".into(),
    };
    let first = catalog.ensure_repository(&wanted).await.unwrap();
    assert_eq!(first.state, RepositoryState::New);
    let again = NewRepository {
        sealed_password: "another".into(),
        ..wanted
    };
    assert_eq!(catalog.ensure_repository(&again).await.unwrap(), first);
    for _ in 0..2 {
        let marked = catalog.mark_repository_ready("primary/web-1").await;
        marked.unwrap();
        fixture.advance(1);
    }
    let ready = catalog.repository("primary/web-1").await.unwrap();
    assert_eq!(
        ready.state,
        RepositoryState::Ready {
            at: first.created_at
        }
    );
    assert_eq!(catalog.repositories().await.unwrap(), [ready]);
    let unknown = catalog.repository("primary/web-2").await.unwrap_err();
    assert!(matches!(unknown, CatalogError::NotFound { .. }));
}

async fn a_repository_goes_with_its_agents_name(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let old = fixture.agent("web-1").await;
    let first = fixture.repository(&old).await;
    catalog.revoke_agent(old.id, &operator()).await.unwrap();
    let new = fixture.agent("web-1").await;
    let taken = fixture.repository(&new).await;
    assert_eq!(taken.agent, new.id);
    assert_eq!(taken.sealed_password, first.sealed_password);
    let filter = AuditFilter {
        action: Some("repository.take-over".into()),
        ..AuditFilter::default()
    };
    assert_eq!(catalog.audit_log(&filter, 9).await.unwrap().items.len(), 1);
}
