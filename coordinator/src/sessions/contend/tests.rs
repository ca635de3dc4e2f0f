//! Two that hold one identity, over real TLS.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use strongroom_proto::v1;
use strongroom_runtime::pki::new_key_and_request;
use strongroom_wire::session::{AgentMessage, CoordinatorMessage, Heartbeat};
use tokio::sync::{mpsc, oneshot};
use tonic::Code;
use uuid::Uuid;

use super::{super::registry::End, Handle, Side, is_there, questions};
use crate::{
    catalog::{AuditFilter, CatalogError, SessionStart},
    model::{AuditRow, ContestSign, Labels, NewJoinToken, SecretHash},
    testing::{Coordinator, TestAgent, TestSession, operator},
};

fn heartbeat(challenge: Option<uuid::Uuid>) -> AgentMessage {
    AgentMessage::Heartbeat(Heartbeat {
        running: Vec::new(),
        resident_bytes: 1,
        challenge,
        leaving: false,
        clock: None,
    })
}

/// Answers the challenge as an agent does that is there; gives the goodbye.
async fn answer(session: &mut TestSession) -> (String, bool) {
    loop {
        match session.next().await {
            Some(CoordinatorMessage::Challenge(nonce)) => {
                session.send(heartbeat(Some(nonce))).await;
            }
            Some(CoordinatorMessage::Goodbye { reason, reconnect }) => return (reason, reconnect),
            Some(_) => {}
            None => panic!("no goodbye"),
        }
    }
}

async fn audited(coordinator: &Coordinator, action: &str) -> Vec<AuditRow> {
    let filter = AuditFilter {
        action: Some(action.into()),
        ..AuditFilter::default()
    };
    let log = coordinator.catalog.audit_log(&filter, 100).await;
    log.unwrap().items
}

/// Nothing that the agent asks for is answered.
async fn is_contested(agent: &TestAgent) {
    let session = agent.try_session(9, &[]).await.err().unwrap();
    let sign = agent.client().sign(v1::SignRequest::default()).await;
    let (_, csr_pem) = new_key_and_request().unwrap();
    let renew = agent.client().renew(v1::RenewRequest { csr_pem }).await;
    for status in [session, sign.unwrap_err(), renew.unwrap_err()] {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("contested"), "{status}");
    }
}

#[tokio::test]
async fn two_that_hold_one_identity_are_both_refused_until_an_operator_decides() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut first = agent.session(1, &[]).await;
    first.next().await.unwrap();
    let (second, (reason, reconnect)) = tokio::join!(agent.try_session(2, &[]), answer(&mut first));
    let status = second.err().unwrap();
    assert!(status.message().contains("contested"), "{status}");
    assert!(reason.contains("contested"), "{reason}");
    assert!(reconnect, "it comes back by itself once it is trusted");
    is_contested(&agent).await;

    let catalog = &coordinator.catalog;
    let contest = catalog.agent(agent.id).await.unwrap().contest.unwrap();
    assert_eq!(contest.sign, ContestSign::TwoSessions);
    let boots: Vec<_> = contest
        .holders
        .iter()
        .map(|it| it.boot.unwrap().as_u128())
        .collect();
    assert_eq!(boots, [1, 2]);
    let entries = audited(&coordinator, "agent.contest").await;
    assert_eq!(entries.len(), 1);
    let holders = entries[0].detail["holders"].as_array().unwrap();
    assert_eq!(holders.len(), 2);
    assert!(holders[0]["serial"].is_string() && holders[0]["address"].is_string());

    catalog
        .trust_agent(agent.id, None, &operator())
        .await
        .unwrap();
    agent.session(3, &[]).await.next().await.unwrap();
    let again = catalog.trust_agent(agent.id, None, &operator()).await;
    assert!(matches!(again, Err(CatalogError::Conflict { .. })));
}

#[tokio::test]
async fn who_was_replaced_by_an_invitation_has_no_say() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut first = agent.session(1, &[]).await;
    first.next().await.unwrap();
    let token = NewJoinToken {
        id: "again".into(),
        secret: SecretHash::of("secret"),
        labels: Labels::new(),
        agent_name: Some(agent.name.clone()),
        expires_at: coordinator.now() + SignedDuration::from_hours(1),
    };
    let catalog = &coordinator.catalog;
    catalog
        .create_join_token(&token, &operator())
        .await
        .unwrap();
    let again = TestAgent::enrol(&coordinator, "again", "secret", "new-host");
    let again = again.await.unwrap();
    assert_eq!(again.id, agent.id);
    again.session(2, &[]).await.next().await.unwrap();
    let (reason, reconnect) = answer(&mut first).await;
    assert!(reason.contains("took the place"), "{reason}");
    assert!(!reconnect);
    assert_eq!(catalog.agent(agent.id).await.unwrap().contest, None);
    let refused = agent.try_session(3, &[]).await.err().unwrap();
    assert!(refused.message().contains("enrol again"), "{refused}");
}

#[tokio::test]
async fn a_lost_stream_gives_way_without_an_alarm() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    // Open, and nobody reads it: as after a lost network.
    let mut lost = agent.session(1, &[]).await;
    lost.next().await.unwrap();
    let mut new = agent.session(1, &[]).await;
    new.next().await.unwrap();
    assert_eq!(new.heartbeat(&[]).await, []);
    let known = coordinator.catalog.agent(agent.id).await.unwrap();
    assert_eq!(known.contest, None);
    assert!(audited(&coordinator, "agent.contest").await.is_empty());
}

#[tokio::test]
async fn a_session_that_is_busy_is_not_taken_for_a_lost_one() {
    let (asker, mut asked) = questions();
    let start = SessionStart {
        address: Ipv4Addr::LOCALHOST.into(),
        boot: Uuid::from_u128(1),
        serial: "1".into(),
        version: None,
    };
    let older = Handle {
        session: Uuid::from_u128(1),
        boot: start.boot,
        since: Timestamp::UNIX_EPOCH,
        side: Side {
            start,
            answers_challenges: true,
        },
        sender: mpsc::channel(1).0,
        questions: asker,
        end: End::default(),
        leaving: false,
    };
    // Somebody asked and went away, before the session came to it.
    older.questions.try_send(oneshot::channel().0).unwrap();
    let comes_to_it = async {
        tokio::task::yield_now().await;
        while let Some(question) = asked.recv().await {
            let _ = question.send(());
        }
    };
    let patience = Duration::from_mins(1);
    tokio::select! {
        there = is_there(&older, patience, patience) => assert!(there),
        () = comes_to_it => unreachable!("the handle has the other end"),
    }
}

#[tokio::test]
async fn an_older_agent_is_there_when_its_heartbeats_go_on() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut first = agent.older_session(1).await;
    first.next().await.unwrap();
    let goes_on = async {
        loop {
            tokio::select! {
                message = first.next() => match message {
                    Some(CoordinatorMessage::Goodbye { .. }) => return,
                    Some(_) => {}
                    None => panic!("no goodbye"),
                },
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    first.send(heartbeat(None)).await;
                }
            }
        }
    };
    let (second, ()) = tokio::join!(agent.try_session(2, &[]), goes_on);
    let status = second.err().unwrap();
    assert!(status.message().contains("contested"), "{status}");
}

#[tokio::test]
async fn a_renewed_certificate_ends_its_predecessor() {
    let coordinator = Coordinator::start().await;
    let old = coordinator.enrolled("web-1").await;
    let (key_pem, csr_pem) = new_key_and_request().unwrap();
    coordinator.advance(Duration::from_secs(1));
    let renewed = old.client().renew(v1::RenewRequest { csr_pem }).await;
    let chain_pem = renewed.unwrap().into_inner().certificate_pem;
    // Its successor has not been seen: it may have been lost on its way.
    drop(old.session(1, &[]).await);
    let mut new = old.clone();
    (new.key_pem, new.chain_pem) = (key_pem, chain_pem);
    drop(new.session(1, &[]).await);

    // What was on its way is refused, and nobody is alarmed.
    let ask = async |agent: &TestAgent| {
        let answer = agent.client().sign(v1::SignRequest::default()).await;
        answer.unwrap_err()
    };
    let status = ask(&old).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("was replaced at"), "{status}");
    assert_ne!(ask(&new).await.code(), Code::Unavailable);

    coordinator.advance(Duration::from_mins(2));
    let status = ask(&old).await;
    assert!(status.message().contains("contested"), "{status}");
    is_contested(&new).await;
    let catalog = &coordinator.catalog;
    let contest = catalog.agent(old.id).await.unwrap().contest.unwrap();
    assert_eq!(contest.sign, ContestSign::EndedCertificate);
    let shown: BTreeSet<_> = contest.serials().into_iter().map(str::to_owned).collect();
    let known = catalog.certificates(old.id).await.unwrap();
    assert_eq!(shown, known.iter().map(|it| it.serial.clone()).collect());

    // The operator says which of them: the host that was restored, say.
    let unsaid = catalog.trust_agent(old.id, None, &operator()).await;
    assert!(unsaid.unwrap_err().to_string().contains("--serial"));
    let serial = &known.last().unwrap().serial;
    catalog
        .trust_agent(old.id, Some(serial), &operator())
        .await
        .unwrap();
    old.session(4, &[]).await.next().await.unwrap();
    for _ in 0..2 {
        let status = ask(&new).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    assert_eq!(audited(&coordinator, "certificate.refuse").await.len(), 1);
    let trusted = catalog.agent(old.id).await.unwrap();
    assert_eq!(trusted.contest, None);
}
