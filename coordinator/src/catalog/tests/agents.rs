//! Join tokens, agents, certificates, operators.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use strongroom_transfer::PublicKey;
use strongroom_wire::session::{Connection, Consent};
use uuid::Uuid;

use super::{
    Fixture, contract,
    fixture::{BOOT, operator, policy},
};
use crate::{
    catalog::{AuditFilter, Catalog, CatalogError, PresenceChange, RedeemError},
    model::{
        Actor, AgentCertificate, AgentFacts, AgentState, AuditOutcome, JoinTokenState,
        NewJoinToken, SecretHash, Session,
    },
};

contract!(
    a_token_admits_one_agent_once,
    a_token_that_admits_nobody_says_why,
    only_one_of_two_that_redeem_at_once_gets_in,
    hostnames_get_numbers_and_named_tokens_take_over_revoked_names,
    an_invitation_for_an_agent_replaces_its_certificates_and_nothing_else,
    an_agent_is_found_by_name_or_id_and_revoked_once,
    what_an_agent_says_of_itself_is_kept,
    it_is_known_when_an_agent_last_allowed_something_else,
    connections_are_those_of_the_agents_asked_for,
    certificates_are_kept,
    operators_come_and_go,
    an_operator_is_reset_beside_a_running_coordinator,
    labels_change_what_policies_choose_at_once,
    names_that_would_break_paths_are_refused,
);

async fn a_token_admits_one_agent_once(fixture: Fixture) {
    fixture.invite("t1", None).await;
    let agent = fixture.redeem("t1", "secret", "web-1").await.unwrap();
    assert_eq!(agent.name, "web-1");
    assert_eq!(agent.labels["role"], "web");
    assert_eq!(agent.state, AgentState::Active);
    assert_eq!(agent.enrolled_at, fixture.now());
    assert_eq!(agent.facts.hostname.as_deref(), Some("web-1"));
    let again = fixture.redeem("t1", "secret", "web-2").await.unwrap_err();
    assert!(matches!(again, RedeemError::Used { by, .. } if by == agent.id));
    let tokens = fixture.catalog.join_tokens().await.unwrap();
    assert!(matches!(tokens[0].state, JoinTokenState::Used { by, .. } if by == agent.id));
    let certificates = fixture.catalog.certificates(agent.id).await.unwrap();
    assert_eq!(certificates.len(), 1);
    let filter = AuditFilter {
        action: Some("agent.enrol".into()),
        ..AuditFilter::default()
    };
    let log = fixture.catalog.audit_log(&filter, 10).await.unwrap().items;
    assert_eq!(log.len(), 2, "the success and the refusal");
    assert_eq!(log[0].outcome, AuditOutcome::Refused);
    assert_eq!(log[1].outcome, AuditOutcome::Ok);
    assert_eq!(log[1].actor, Actor::Agent(agent.id));
    assert_eq!(fixture.catalog.agents().await.unwrap(), [agent]);
}

async fn a_token_that_admits_nobody_says_why(fixture: Fixture) {
    fixture.invite("t1", None).await;
    let redeem = async |id, secret| fixture.redeem(id, secret, "h").await.unwrap_err();
    assert!(matches!(redeem("t1", "wrong").await, RedeemError::Unknown));
    assert!(matches!(redeem("t2", "secret").await, RedeemError::Unknown));
    fixture.invite("t3", None).await;
    fixture
        .catalog
        .revoke_join_token("t3", &operator())
        .await
        .unwrap();
    assert!(matches!(
        redeem("t3", "secret").await,
        RedeemError::Revoked { .. }
    ));
    fixture.advance(3600);
    assert!(matches!(
        redeem("t1", "secret").await,
        RedeemError::Expired { .. }
    ));
    assert!(fixture.catalog.agents().await.unwrap().is_empty());
    let unknown = fixture
        .catalog
        .revoke_join_token("t9", &operator())
        .await
        .unwrap_err();
    assert!(matches!(unknown, CatalogError::NotFound { .. }));
}

async fn only_one_of_two_that_redeem_at_once_gets_in(fixture: Fixture) {
    fixture.invite("t1", None).await;
    let (one, two) = tokio::join!(
        fixture.redeem("t1", "secret", "a"),
        fixture.redeem("t1", "secret", "b")
    );
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1);
    assert_eq!(fixture.catalog.agents().await.unwrap().len(), 1);
}

async fn hostnames_get_numbers_and_named_tokens_take_over_revoked_names(fixture: Fixture) {
    let first = fixture.agent("web-1").await;
    fixture.invite("by-host", None).await;
    let other = fixture.redeem("by-host", "secret", "web-1").await.unwrap();
    assert_eq!(other.name, "web-1-2");
    fixture.invite("by-name", Some("web-1")).await;
    fixture.invite("too-late", Some("web-7")).await;
    fixture.invite("in-time", Some("web-7")).await;
    fixture.redeem("in-time", "secret", "y").await.unwrap();
    let taken = fixture.redeem("too-late", "secret", "x").await.unwrap_err();
    assert!(
        matches!(taken, RedeemError::NameTaken { .. }),
        "who was invited as new takes nobody's place"
    );
    fixture
        .catalog
        .revoke_agent(first.id, &operator())
        .await
        .unwrap();
    fixture.invite("by-host-2", None).await;
    let third = fixture
        .redeem("by-host-2", "secret", "web-1")
        .await
        .unwrap();
    assert_eq!(third.name, "web-1-3", "a hostname is nobody's word");
    let reinstalled = fixture.redeem("by-name", "secret", "x").await.unwrap();
    assert_eq!(reinstalled.name, "web-1");
    assert_ne!(reinstalled.id, first.id);
    let found = fixture.catalog.find_agent("web-1").await.unwrap();
    assert_eq!(found.id, reinstalled.id);
}

async fn an_invitation_for_an_agent_replaces_its_certificates_and_nothing_else(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let first = fixture.agent("web-1").await;
    let old = catalog.certificates(first.id).await.unwrap();
    fixture.advance(1);
    let token = NewJoinToken {
        id: "again".into(),
        secret: SecretHash::of("secret"),
        labels: BTreeMap::from([("tier".into(), "2".into())]),
        agent_name: Some("web-1".into()),
        expires_at: fixture.in_seconds(3600),
    };
    let made = catalog.create_join_token(&token, &operator()).await;
    assert_eq!(made.unwrap().replaces, Some(first.id));
    let guess = SecretHash::of("guess");
    let wrong = catalog.agent_to_replace("again", &guess).await;
    assert_eq!(wrong.unwrap(), None);
    let id = catalog.agent_to_replace("again", &token.secret);
    assert_eq!(id.await.unwrap(), Some(first.id));

    let again = fixture
        .redeem_as("again", first.id, "new-host")
        .await
        .unwrap();
    assert_eq!((again.id, &again.name), (first.id, &first.name));
    assert_eq!(again.facts.hostname.as_deref(), Some("new-host"));
    let mut labels = first.labels.clone();
    labels.extend(token.labels);
    assert_eq!(again.labels, labels);
    let certificates = catalog.certificates(first.id).await.unwrap();
    assert_eq!(certificates.len(), old.len() + 1);
    for certificate in &certificates {
        let ended = certificate.ended.is_some_and(|end| end.by_operator);
        assert_eq!(ended, old.iter().any(|it| it.serial == certificate.serial));
    }
    let used = fixture.redeem_as("again", first.id, "thief").await;
    assert!(matches!(used, Err(RedeemError::Used { .. })));
    assert_eq!(catalog.agents().await.unwrap().len(), 1);
}

async fn an_agent_is_found_by_name_or_id_and_revoked_once(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let by_id = fixture.catalog.find_agent(&agent.id.to_string()).await;
    assert_eq!(by_id.unwrap(), agent);
    assert_eq!(fixture.catalog.agent(agent.id).await.unwrap(), agent);
    let unknown = fixture.catalog.find_agent("web-9").await.unwrap_err();
    assert!(unknown.to_string().contains("web-9"), "{unknown}");
    fixture.advance(5);
    for _ in 0..2 {
        let revoked = fixture.catalog.revoke_agent(agent.id, &operator()).await;
        assert!(!revoked.unwrap().is_active());
        fixture.advance(5);
    }
    let filter = AuditFilter {
        action: Some("agent.revoke".into()),
        ..AuditFilter::default()
    };
    let log = fixture.catalog.audit_log(&filter, 10).await.unwrap().items;
    assert_eq!(log.len(), 1);
}

async fn what_an_agent_says_of_itself_is_kept(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let facts = AgentFacts {
        version: Some("0.2.0".into()),
        hostname: Some("web-1.example.org".into()),
        os: Some("linux".into()),
        architecture: Some("aarch64".into()),
        consent: Some(Consent {
            sources: vec!["files".into()],
            read_paths: vec!["/srv".into()],
            ..Consent::default()
        }),
        transfer_key: Some(PublicKey([7; 32])),
    };
    fixture.advance(7);
    fixture.catalog.agent_hello(agent.id, &facts).await.unwrap();
    let seen = fixture.catalog.agent(agent.id).await.unwrap();
    assert_eq!(seen.facts, facts);
    assert_eq!(seen.last_seen, Some(fixture.now()));
    fixture.advance(7);
    let session = Session {
        agent: agent.id,
        id: Uuid::from_u128(1),
        boot: BOOT,
        since: fixture.now(),
    };
    let change = PresenceChange {
        ended: vec![(session, fixture.now())],
        ..PresenceChange::default()
    };
    fixture.catalog.write_presence(&change).await.unwrap();
    let seen = fixture.catalog.agent(agent.id).await.unwrap();
    assert_eq!(seen.last_seen, Some(fixture.now()));
}

async fn it_is_known_when_an_agent_last_allowed_something_else(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("db-1").await;
    let told = async || {
        fixture.advance(60);
        catalog.agent(agent.id).await.unwrap().told_at
    };
    let hello = async |sources: &[&str]| {
        let facts = AgentFacts {
            consent: Some(Consent {
                sources: sources.iter().map(ToString::to_string).collect(),
                ..Consent::default()
            }),
            ..AgentFacts::default()
        };
        catalog.agent_hello(agent.id, &facts).await.unwrap();
        fixture.now()
    };
    assert_eq!(told().await, None);
    let first = hello(&["files"]).await;
    assert_eq!(told().await, Some(first));
    hello(&["files"]).await;
    assert_eq!(told().await, Some(first));
    let second = hello(&["files", "postgres"]).await;
    assert_eq!(told().await, Some(second));

    let found = async |names: &[&str], problem: &str| {
        let found = names.iter().map(|name| Connection {
            kind: "postgres".into(),
            name: (*name).into(),
            restore: false,
            checked_at: fixture.now(),
            state: Err(problem.into()),
        });
        let found: Vec<_> = found.collect();
        catalog.note_connections(agent.id, &found).await.unwrap();
        fixture.now()
    };
    let named = found(&["orders"], "refused").await;
    assert_eq!(told().await, Some(named));
    // What answers there is not its configuration.
    found(&["orders"], "away").await;
    assert_eq!(told().await, Some(named));
    let more = found(&["orders", "other"], "away").await;
    assert_eq!(told().await, Some(more));
}

async fn certificates_are_kept(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.advance(60);
    let renewed = AgentCertificate::new(
        agent.id,
        "00ff".into(),
        fixture.now(),
        fixture.in_seconds(86_400),
    );
    let first = fixture
        .catalog
        .certificates(agent.id)
        .await
        .unwrap()
        .remove(0);
    let recorded = fixture.catalog.record_certificate(&renewed, &first.serial);
    recorded.await.unwrap();
    let all = fixture.catalog.certificates(agent.id).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0], renewed);
}

async fn operators_come_and_go(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let secret = SecretHash::of("s3cr3t");
    let alice = catalog
        .create_operator("alice", &secret, None, &Actor::Coordinator)
        .await
        .unwrap();
    let taken = catalog
        .create_operator("alice", &SecretHash::of("other"), None, &operator())
        .await
        .unwrap_err();
    assert!(matches!(taken, CatalogError::Exists { .. }));
    let verified = catalog.verify_operator(&secret).await.unwrap().unwrap();
    assert_eq!(verified.id, alice.id);
    let wrong = SecretHash::of("wrong");
    assert_eq!(catalog.verify_operator(&wrong).await.unwrap(), None);
    let used = catalog.operators().await.unwrap().remove(0).last_used;
    assert_eq!(used, Some(fixture.now()));
    catalog.revoke_operator("alice", &operator()).await.unwrap();
    assert_eq!(catalog.verify_operator(&secret).await.unwrap(), None);
    let gone = catalog.revoke_operator("alice", &operator()).await;
    assert!(matches!(gone, Err(CatalogError::NotFound { .. })));
    let again = SecretHash::of("new");
    catalog
        .create_operator("alice", &again, None, &operator())
        .await
        .unwrap();
    assert!(catalog.verify_operator(&again).await.unwrap().is_some());
}

async fn an_operator_is_reset_beside_a_running_coordinator(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let lost = SecretHash::of("lost");
    catalog
        .create_operator("admin", &lost, None, &Actor::Coordinator)
        .await
        .unwrap();
    let beside = Catalog::attach(&fixture.url, fixture.clock.clone())
        .await
        .unwrap();
    let by = serde_json::json!({ "user": 0 });
    let (found, none) = (SecretHash::of("found"), SecretHash::of("none"));
    let reset = async |name, secret| beside.reset_operator(name, secret, &by).await.unwrap();
    assert!(reset("admin", &found).await);
    assert!(!reset("bob", &none).await);
    beside.close().await;
    assert_eq!(catalog.verify_operator(&lost).await.unwrap(), None);
    for secret in [found, none] {
        assert!(catalog.verify_operator(&secret).await.unwrap().is_some());
    }
    let filter = AuditFilter {
        action: Some("operator.reset".into()),
        ..AuditFilter::default()
    };
    let log = catalog.audit_log(&filter, 10).await.unwrap().items;
    let objects: Vec<_> = log.iter().map(|it| it.object.as_str()).collect();
    assert_eq!(objects, ["bob", "admin"]);
    assert_eq!(log[1].detail["renewed"], true);
    assert_eq!(log[1].detail["by"]["user"], 0);
}

async fn labels_change_what_policies_choose_at_once(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let mut databases = policy("databases");
    databases.agents = serde_json::from_str(r#"{"labels": {"role": "db", "zone": "a"}}"#).unwrap();
    let policies = [policy("files"), databases];
    let applied = catalog.apply_policies(&policies, &operator()).await;
    applied.unwrap();
    let datasets = async || {
        let datasets = catalog.datasets().await.unwrap();
        datasets
            .into_iter()
            .map(|it| (it.name.to_string(), it.last_due))
            .collect::<Vec<_>>()
    };
    let files = ("files@web-1".to_owned(), None);
    assert_eq!(datasets().await, std::slice::from_ref(&files));
    fixture.advance(60);
    let label = async |set: &[(&str, &str)], remove: &[&str]| {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let set = set.iter().map(owned).collect();
        let remove = remove.iter().map(|it| (*it).to_owned()).collect();
        catalog
            .label_agent(agent.id, (&set, &remove), false, &operator())
            .await
    };
    let changed = label(&[("role", "db"), ("zone", "a")], &[]).await.unwrap();
    assert_eq!(changed.labels["role"], "db");
    // Of what it would have run before, nothing is made up for.
    let chosen = ("databases@web-1".to_owned(), Some(fixture.now()));
    assert_eq!(datasets().await, std::slice::from_ref(&chosen));
    fixture.advance(60);
    label(&[("rack", "7")], &[]).await.unwrap();
    assert_eq!(datasets().await, [chosen]);
    label(&[("role", "web")], &["zone"]).await.unwrap();
    assert_eq!(datasets().await, [(files.0, Some(fixture.now()))]);
    // What is so already is no change.
    label(&[("role", "web")], &[]).await.unwrap();
    let filter = AuditFilter {
        action: Some("agent.label".into()),
        ..AuditFilter::default()
    };
    let log = catalog.audit_log(&filter, 10).await.unwrap().items;
    assert_eq!(log.len(), 3);
    assert_eq!(log[0].detail["before"]["zone"], "a");
    assert_eq!(
        log[0].detail["labels"],
        serde_json::json!({ "role": "web", "rack": "7" })
    );
    // A log is not let go of by a slip.
    let mut archived = policy("databases");
    archived.agents = serde_json::from_str(r#"{"labels": {"rack": "7"}}"#).unwrap();
    archived.wal = Some(serde_json::from_str("{}").unwrap());
    let applied = catalog.apply_policies(&[archived], &operator()).await;
    applied.unwrap();
    let refused = label(&[], &["rack"]).await.unwrap_err();
    assert!(refused.to_string().contains("--yes"), "{refused}");
    assert_eq!(datasets().await.len(), 2);
    let (set, rack) = (BTreeMap::new(), BTreeSet::from(["rack".to_owned()]));
    let by = operator();
    let confirmed = catalog
        .label_agent(agent.id, (&set, &rack), true, &by)
        .await;
    confirmed.unwrap();
    assert_eq!(datasets().await.len(), 1);
    let missing = label(&[], &["zone"]).await.unwrap_err();
    assert!(matches!(missing, CatalogError::Conflict { .. }));
    let bad = label(&[("a b", "c")], &[]).await.unwrap_err();
    assert!(matches!(bad, CatalogError::InvalidLabel(_)));
}

async fn names_that_would_break_paths_are_refused(fixture: Fixture) {
    let secret = SecretHash::of("x");
    let error = fixture
        .catalog
        .create_operator("../alice", &secret, None, &operator())
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::InvalidName(_)));
}

async fn connections_are_those_of_the_agents_asked_for(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let (db, web) = (fixture.agent("db-1").await, fixture.agent("web-1").await);
    let silent = fixture.agent("silent").await;
    let found = vec![Connection {
        kind: "redis".into(),
        name: "a".into(),
        restore: false,
        checked_at: fixture.now(),
        state: Err("refused".into()),
    }];
    for agent in [&db, &web] {
        catalog.note_connections(agent.id, &found).await.unwrap();
    }
    let of = async |ids: &[_]| {
        let ids = ids.iter().copied().collect();
        catalog.connections_of(&ids).await.unwrap()
    };
    assert!(of(&[]).await.is_empty());
    assert_eq!(
        of(&[db.id, silent.id]).await,
        HashMap::from([(db.id, found)])
    );
}
