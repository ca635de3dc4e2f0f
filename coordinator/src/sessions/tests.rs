//! Over real TLS, against a whole coordinator in process.

use std::time::Duration;

use jiff::SignedDuration;
use strongroom_layout::ObjectName;
use strongroom_proto::v1::{self, agent_gateway_client::AgentGatewayClient};
use strongroom_runtime::pki::{
    CertificateAuthority, Validity, inspect, new_key_and_request, parse_chain, tls,
};
use strongroom_wire::{
    grant::{Action, RefusalReason, SignAnswer},
    session::CoordinatorMessage,
};
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tonic::Code;
use uuid::Uuid;

use crate::door::Limits;
use crate::testing::{Coordinator, TestAgent, TestSession, connect, operator};

const GET_CONFIG: (ObjectName, Action) = (ObjectName::Config, Action::Get { range: None });

#[tokio::test]
async fn an_enrolled_agent_gets_a_session_and_is_seen() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    assert_eq!(agent.name, "web-1");
    let mut session = agent.session(1, &[]).await;
    match session.next().await {
        Some(CoordinatorMessage::Hello(hello)) => {
            assert_eq!((hello.heartbeat_seconds, hello.lease_seconds), (10, 60));
            assert_eq!(hello.fenced, []);
        }
        other => panic!("{other:?}"),
    }
    assert!(coordinator.registry.is_live(agent.id));
    let known = coordinator.catalog.agent(agent.id).await.unwrap();
    assert_eq!(known.facts.architecture.as_deref(), Some("x86_64"));
    assert_eq!(session.heartbeat(&[]).await, []);
}

#[tokio::test]
async fn each_thing_that_can_be_wrong_with_a_token_is_said() {
    let coordinator = Coordinator::start().await;
    let enrol = async |token: &str, secret: &str| {
        let result = TestAgent::enrol(&coordinator, token, secret, "host").await;
        result
            .err()
            .map(|status| (status.code(), status.message().to_owned()))
    };
    let token = coordinator.invite().await;
    let (code, message) = enrol(&token, "guess").await.unwrap();
    assert_eq!(code, Code::Unauthenticated, "{message}");
    assert_eq!(enrol(&token, "secret").await, None);
    let (code, message) = enrol(&token, "secret").await.unwrap();
    assert_eq!(code, Code::PermissionDenied);
    assert!(message.contains("used"), "{message}");

    let token = coordinator.invite().await;
    let catalog = &coordinator.catalog;
    catalog
        .revoke_join_token(&token, &operator())
        .await
        .unwrap();
    let (_, message) = enrol(&token, "secret").await.unwrap();
    assert!(message.contains("revoked"), "{message}");

    let token = coordinator.invite().await;
    coordinator.advance(Duration::from_hours(1));
    let (_, message) = enrol(&token, "secret").await.unwrap();
    assert!(message.contains("expired"), "{message}");
}

#[tokio::test]
async fn a_token_admits_one_of_two_that_race_for_it() {
    let coordinator = Coordinator::start().await;
    let token = coordinator.invite().await;
    let (one, two) = tokio::join!(
        TestAgent::enrol(&coordinator, &token, "secret", "one"),
        TestAgent::enrol(&coordinator, &token, "secret", "two"),
    );
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1);
    assert_eq!(coordinator.catalog.agents().await.unwrap().len(), 1);
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let coordinator = Coordinator::start().await;
    let mut code = Code::Ok;
    for _ in 0..=20 {
        let guess = TestAgent::enrol(&coordinator, "guess", "guess", "host").await;
        code = guess.err().unwrap().code();
    }
    assert_eq!(code, Code::ResourceExhausted);
}

#[tokio::test]
async fn without_a_certificate_nothing_but_enrolment_answers() {
    let coordinator = Coordinator::start().await;
    let config = tls::client_config(coordinator.authority.ca_pem(), tls::ALPN_GRPC).unwrap();
    let client = || AgentGatewayClient::new(connect(coordinator.address, config.clone()));
    let status = TestSession::open(client(), 1, &[]).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("enrol"), "{status}");
    let status = client().sign(v1::SignRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

/// A call whose body never comes, of somebody with these credentials or none.
async fn bodiless(channel: tonic::transport::Channel, method: &'static str) -> tonic::Status {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let body = tonic::Request::new(futures::stream::pending::<v1::SignRequest>());
    let path = http::uri::PathAndQuery::from_static(method);
    let codec = tonic_prost::ProstCodec::<v1::SignRequest, v1::SignResponse>::default();
    client
        .client_streaming(body, path, codec)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn callers_are_refused_before_anything_of_a_call_is_read() {
    let coordinator = Coordinator::start().await;
    let config = tls::client_config(coordinator.authority.ca_pem(), tls::ALPN_GRPC).unwrap();
    for method in [
        "/strongroom.v1.AgentGateway/Sign",
        "/strongroom.v1.AgentGateway/Session",
        "/strongroom.v1.Nothing/Nowhere",
    ] {
        let channel = connect(coordinator.address, config.clone());
        let status = bodiless(channel, method).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{method}: {status}");
    }
    let agent = coordinator.enrolled("web-1").await;
    let catalog = &coordinator.catalog;
    catalog.revoke_agent(agent.id, &operator()).await.unwrap();
    let status = bodiless(agent.channel(), "/strongroom.v1.AgentGateway/Sign").await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
}

#[tokio::test]
async fn what_a_call_may_send_is_bounded() {
    let coordinator = Coordinator::start().await;
    let token = coordinator.invite().await;
    let config = tls::client_config(coordinator.authority.ca_pem(), tls::ALPN_GRPC).unwrap();
    let channel = connect(coordinator.address, config);
    let mut enrolment = v1::enrolment_client::EnrolmentClient::new(channel);
    let request = v1::EnrolRequest {
        token_id: token,
        token_secret: "secret".into(),
        csr_pem: "x".repeat(65 * 1024),
        hostname: "host".into(),
        agent_version: "0.1.0".into(),
    };
    let status = enrolment.enrol(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");

    let agent = coordinator.enrolled("web-1").await;
    let csr_pem = "x".repeat(65 * 1024);
    let status = agent.client().renew(v1::RenewRequest { csr_pem }).await;
    assert_eq!(status.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn agents_are_served_while_strangers_hang() {
    let coordinator = Coordinator::start_with(Limits::of(64, 8)).await;
    let agent = coordinator.enrolled("web-1").await;
    let mut session = agent.session(1, &[]).await;
    session.next().await.unwrap();
    let mut hanging = Vec::new();
    for _ in 0..100 {
        hanging.push(TcpStream::connect(coordinator.address).await.unwrap());
    }
    assert_eq!(session.heartbeat(&[]).await, []);
    let other = coordinator.enrolled("web-2").await;
    other.session(1, &[]).await.next().await.unwrap();
    assert_eq!(session.heartbeat(&[]).await, []);
    // Those that came first were sent away for them.
    let mut byte = [0];
    let closed = hanging[0].read(&mut byte).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn certificates_of_another_authority_and_ended_ones_are_refused_by_tls() {
    let coordinator = Coordinator::start().await;
    let mut agent = coordinator.enrolled("web-1").await;
    let (key, request) = new_key_and_request().unwrap();
    agent.key_pem = key;

    let now = coordinator.now();
    let (other, _) = CertificateAuthority::create(now).unwrap();
    let hour = Validity::starting(now, SignedDuration::from_hours(1));
    let forged = other.issue_client(&request, &agent.id.to_uri(), hour);
    agent.chain_pem = forged.unwrap().chain_pem;
    assert!(agent.try_session(1, &[]).await.is_err());

    let pki = coordinator.directory.path().join("pki");
    let own = CertificateAuthority::open_or_create(&pki, now).unwrap();
    let over = Validity {
        not_before: now - SignedDuration::from_hours(2),
        not_after: now - SignedDuration::from_hours(1),
    };
    let ended = own.issue_client(&request, &agent.id.to_uri(), over);
    agent.chain_pem = ended.unwrap().chain_pem;
    assert!(agent.try_session(1, &[]).await.is_err());

    let good = own.issue_client(&request, &agent.id.to_uri(), hour);
    agent.chain_pem = good.unwrap().chain_pem;
    assert!(agent.try_session(1, &[]).await.is_ok());
}

#[tokio::test]
async fn a_server_of_another_authority_gets_no_token() {
    let coordinator = Coordinator::start().await;
    let (other, _) = CertificateAuthority::create(coordinator.now()).unwrap();
    let config = tls::enrolment_client_config(other.fingerprint()).unwrap();
    let channel = connect(coordinator.address, config);
    let mut client = v1::enrolment_client::EnrolmentClient::new(channel);
    let status = client.enrol(v1::EnrolRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut session = agent.session(1, &[]).await;
    session.next().await.unwrap();
    let mut client = agent.client();
    client.sign(v1::SignRequest::default()).await.unwrap_err();
    // Longer than the certificate holds; TLS goes by the real time.
    coordinator.advance(Duration::from_hours(2));
    let status = client.sign(v1::SignRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    session.heartbeat(&[]).await;
    let goodbye = session.next().await;
    assert!(
        matches!(
            goodbye,
            Some(CoordinatorMessage::Goodbye {
                reconnect: true,
                ..
            })
        ),
        "{goodbye:?}"
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_the_same_agents() {
    let coordinator = Coordinator::start().await;
    let mut agent = coordinator.enrolled("web-1").await;
    let (key, csr_pem) = new_key_and_request().unwrap();
    let response = agent.client().renew(v1::RenewRequest { csr_pem }).await;
    agent.chain_pem = response.unwrap().into_inner().certificate_pem;
    agent.key_pem = key;
    let chain = parse_chain("chain", &agent.chain_pem).unwrap();
    let uris = inspect(&chain[0]).unwrap().uris;
    assert_eq!(uris, [agent.id.to_uri()]);
    agent.session(1, &[]).await.next().await.unwrap();
    let certificates = coordinator.catalog.certificates(agent.id).await.unwrap();
    assert_eq!(certificates.len(), 2);
    let damaged = v1::RenewRequest {
        csr_pem: "no request".into(),
    };
    let status = agent.client().renew(damaged).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_revoked_agent_is_refused_at_once_and_its_stream_ends_for_good() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut session = agent.session(1, &[]).await;
    session.next().await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let dispatcher = tokio::spawn(coordinator.dispatcher().run(stop.clone()));

    let catalog = &coordinator.catalog;
    catalog.revoke_agent(agent.id, &operator()).await.unwrap();
    match session.next().await {
        Some(CoordinatorMessage::Goodbye { reason, reconnect }) => {
            assert!(!reconnect);
            assert!(reason.contains("revoked"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(session.next().await, None);
    let status = agent.try_session(1, &[]).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    let status = agent.client().sign(v1::SignRequest::default()).await;
    assert_eq!(status.unwrap_err().code(), Code::PermissionDenied);
    stop.cancel();
    dispatcher.await.unwrap();
}

#[tokio::test]
async fn a_newer_session_replaces_an_older_one() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut old = agent.session(1, &[]).await;
    old.next().await.unwrap();
    let mut new = agent.session(2, &[]).await;
    new.next().await.unwrap();
    // It was asked whether it is there, and did not say so.
    assert!(matches!(
        old.next().await,
        Some(CoordinatorMessage::Challenge(_))
    ));
    assert!(matches!(
        old.next().await,
        Some(CoordinatorMessage::Goodbye {
            reconnect: true,
            ..
        })
    ));
    assert_eq!(old.next().await, None);
    assert_eq!(new.heartbeat(&[]).await, []);
    let live = coordinator.registry.live();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].boot_id, Uuid::from_u128(2));
}

#[tokio::test]
async fn a_session_begins_with_one_hello_and_ends_with_its_stream() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(v1::AgentMessage::default()).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let status = agent.client().session(stream).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    let mut changes = coordinator.registry.changes();
    let session = agent.session(1, &[]).await;
    changes.changed().await.unwrap();
    assert!(coordinator.registry.is_live(agent.id));
    drop(session);
    changes.changed().await.unwrap();
    assert!(!coordinator.registry.is_live(agent.id));
}

#[tokio::test]
async fn a_coordinator_that_shuts_down_says_goodbye() {
    let mut coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut session = agent.session(1, &[]).await;
    session.next().await.unwrap();
    let watch = async {
        let goodbye = session.next().await;
        assert!(
            matches!(
                goodbye,
                Some(CoordinatorMessage::Goodbye {
                    reconnect: true,
                    ..
                })
            ),
            "{goodbye:?}"
        );
        assert_eq!(session.next().await, None);
        drop(session);
    };
    tokio::join!(coordinator.shut_down(), watch);
}

#[tokio::test]
async fn an_attempt_of_nobody_is_refused_and_audited() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let attempt = strongroom_layout::AttemptRef {
        job: strongroom_layout::JobId(Uuid::from_u128(4)),
        attempt: 1,
    };
    let answers = agent.sign(attempt, vec![GET_CONFIG, GET_CONFIG]).await;
    assert_eq!(answers.len(), 2);
    for answer in answers {
        let SignAnswer::Refusal(refusal) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(refusal.reason, RefusalReason::UnknownAttempt);
    }
    let audited = coordinator.refusals().await;
    assert_eq!(audited.len(), 1, "one entry for two of a sort");
    assert_eq!(audited[0].detail["reason"], "unknown-attempt");
}

#[tokio::test]
async fn a_revoked_agent_is_a_stranger_at_the_door() {
    let limits = Limits {
        stranger_requests: 3,
        ..Limits::of(64, 8)
    };
    let coordinator = Coordinator::start_with(limits).await;
    let answers = async |agent: &TestAgent| {
        // One connection for all of them, as long as it stays open.
        let mut client = agent.client();
        let mut codes = Vec::new();
        for _ in 0..12 {
            let answer = client.sign(v1::SignRequest::default()).await;
            codes.push(answer.unwrap_err().code());
        }
        codes
    };
    let agent = coordinator.enrolled("web-1").await;
    let served = answers(&agent).await;
    assert_eq!(served, [Code::InvalidArgument; 12]);
    let catalog = &coordinator.catalog;
    catalog.revoke_agent(agent.id, &operator()).await.unwrap();
    // A stranger's connection ends with its fourth request.
    let refused = answers(&agent).await;
    assert_eq!(refused[..3], [Code::PermissionDenied; 3]);
    assert!(
        refused.iter().any(|code| *code != Code::PermissionDenied),
        "{refused:?}"
    );
}

#[tokio::test]
async fn renewals_wait_like_grants() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    coordinator.grants.exhaust(agent.id);
    let request = v1::RenewRequest {
        csr_pem: "no request".into(),
    };
    let status = agent.client().renew(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}
