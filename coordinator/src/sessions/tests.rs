//! Over real TLS, against a whole coordinator in process.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use strongroom_layout::ObjectName;
use strongroom_proto::v1::{
    self, agent_gateway_client::AgentGatewayClient, enrolment_client::EnrolmentClient,
};
use strongroom_runtime::pki::{
    CertificateAuthority, Validity, inspect, new_key_and_request, parse_chain, tls,
};
use strongroom_spec::{BackupOutcome, Outcome};
use strongroom_wire::{
    grant::{Action, RefusalReason, SignAnswer},
    session::{AgentMessage, Connection, CoordinatorMessage, Heartbeat},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::{
    door::Limits,
    identity::ANSWERED_AT_ONCE,
    model::ContestSign,
    testing::{Coordinator, TestAgent, TestSession, connect, operator},
};

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
async fn bodiless(channel: Channel, method: &'static str) -> tonic::Status {
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
async fn an_agent_of_an_earlier_protocol_is_told_to_update() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    agent.session(1, &[]).await.next().await.unwrap();
    let before = coordinator.catalog.agent(agent.id).await.unwrap();
    for protocol in [0, 1] {
        let hello = v1::AgentHello {
            boot_id: Uuid::from_u128(7).to_string(),
            agent_version: "0.0.9".into(),
            protocol,
            consent: Some(v1::Consent::default()),
            hostname: "of-a-thief".into(),
            transfer_key: vec![7; 32],
            ..v1::AgentHello::default()
        };
        let message = v1::AgentMessage {
            message: Some(v1::agent_message::Message::Hello(hello)),
        };
        let stream = tokio_stream::iter([message]);
        let status = agent.client().session(stream).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(
            status.message().contains("update strongroom-agent"),
            "{status}"
        );
    }
    // Operators see what it is; whom uploads are sealed to is not for it to say.
    let mut known = coordinator.catalog.agent(agent.id).await.unwrap();
    assert_eq!(known.facts.version.as_deref(), Some("0.0.9"));
    known.facts.version.clone_from(&before.facts.version);
    assert_eq!(known, before);
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

fn message(message: v1::agent_message::Message) -> v1::AgentMessage {
    v1::AgentMessage {
        message: Some(message),
    }
}

#[tokio::test]
async fn the_first_message_of_a_session_is_small() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let hello = v1::AgentHello {
        hostname: "x".repeat(300 * 1024),
        ..v1::AgentHello::default()
    };
    let hello = message(v1::agent_message::Message::Hello(hello));
    let refused = agent.client().session(tokio_stream::iter([hello])).await;
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange);
    // It is no longer in anybody's way.
    let mut session = agent.session(1, &[]).await;
    session.next().await.unwrap();
    // What comes behind the first may be larger.
    session
        .send(AgentMessage::Inventory(vec![Connection {
            kind: "postgres".into(),
            name: "orders".into(),
            restore: false,
            checked_at: coordinator.now(),
            state: Err("x".repeat(300 * 1024)),
        }]))
        .await;
    assert_eq!(session.heartbeat(&[]).await, []);
    let shown = coordinator.catalog.connections(agent.id).await.unwrap();
    assert_eq!(shown[0].name, "orders");
}

#[tokio::test]
async fn nobody_keeps_an_agent_out_by_saying_nothing() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut client = agent.client();
        silent.push(tokio::spawn(async move {
            let nothing = futures::stream::pending::<v1::AgentMessage>();
            client.session(nothing).await.err().map(|it| it.code())
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut session = agent.session(1, &[]).await;
    session.next().await.unwrap();
    assert_eq!(session.heartbeat(&[]).await, []);
    for refused in silent {
        let code = refused.await.unwrap();
        // Displaced; or it came behind the session, and nothing came of it.
        assert!(
            matches!(code, Some(Code::Unavailable | Code::DeadlineExceeded)),
            "{code:?}"
        );
    }
}

/// The first answer to a session: its id.
async fn session_id(session: &mut TestSession) -> Uuid {
    match session.next().await {
        Some(CoordinatorMessage::Hello(hello)) => hello.session_id,
        other => panic!("{other:?}"),
    }
}

fn a_heartbeat(challenge: Option<Uuid>) -> AgentMessage {
    AgentMessage::Heartbeat(Heartbeat {
        running: vec![],
        resident_bytes: 1,
        challenge,
        leaving: false,
        clock: None,
    })
}

#[tokio::test]
async fn whoever_says_too_much_is_sent_away() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut session = agent.session(1, &[]).await;
    let id = session_id(&mut session).await;
    let hour = Duration::from_hours(1);
    coordinator.grants.slow_down_session(id, hour);
    session.send(a_heartbeat(None)).await;
    match session.next().await {
        Some(CoordinatorMessage::Goodbye { reason, reconnect }) => {
            assert!(reconnect);
            assert!(reason.contains("faster"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    // Another session of it has a bucket of its own, and so has what it asks.
    let mut again = agent.session(2, &[]).await;
    session_id(&mut again).await;
    assert_eq!(again.heartbeat(&[]).await, []);
    let answer = agent.client().sign(v1::SignRequest::default()).await;
    assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn starts_of_sessions_are_charged_before_they_displace_anything() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    // One is just beginning.
    let beginning = coordinator.registry.begin(agent.id).unwrap();
    let (here, hour) = (Ipv4Addr::LOCALHOST.into(), Duration::from_hours(1));
    coordinator.grants.slow_down_starts(agent.id, here, hour);
    let refused = agent.try_session(2, &[]).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(beginning.heard(), "it was not displaced");
    drop(beginning);
    // From elsewhere the agent begins as ever, and so do others from here.
    let elsewhere = "192.0.2.7".parse().unwrap();
    coordinator
        .grants
        .slow_down_starts(agent.id, here, Duration::ZERO);
    coordinator
        .grants
        .slow_down_starts(agent.id, elsewhere, hour);
    agent.session(1, &[]).await.next().await.unwrap();
    let other = coordinator.enrolled("web-2").await;
    other.session(1, &[]).await.next().await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_paced_is_there() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let mut session = agent.session(1, &[]).await;
    let id = session_id(&mut session).await;
    // Longer than a challenge waits: what it says is not read before that.
    let wait = coordinator.config.challenge * 3;
    coordinator.grants.slow_down_session(id, wait);
    session.send(a_heartbeat(None)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refused = agent.try_session(2, &[]).await.err().unwrap();
    assert!(refused.message().contains("contested"), "{refused}");
    let shown = coordinator.catalog.agent(agent.id).await.unwrap();
    let contest = shown.contest.expect("a contest");
    assert_eq!(contest.sign, ContestSign::TwoSessions);
}

#[tokio::test]
async fn who_lets_certificates_be_renewed_and_uses_none_is_a_sign_of_two() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    agent.session(1, &[]).await.next().await.unwrap();
    let renew = async || {
        let (_, csr_pem) = new_key_and_request().unwrap();
        agent.client().renew(v1::RenewRequest { csr_pem }).await
    };
    let mut signed = 0;
    let refused = loop {
        match renew().await {
            Ok(_) => signed += 1,
            Err(status) => break status,
        }
        assert!(signed < 7, "there is a bound");
    };
    assert_eq!(signed, 5, "the first one was signed when it enrolled");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("contested"), "{refused}");
    let shown = coordinator.catalog.agent(agent.id).await.unwrap();
    let contest = shown.contest.expect("a contest");
    assert_eq!(contest.sign, ContestSign::UnusedRenewals);
    assert_eq!(contest.holders.len(), 2);
}

#[tokio::test]
async fn so_many_calls_of_a_connection_are_answered_at_a_time() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    agent.session(1, &[]).await.next().await.unwrap();
    let (full, free) = (
        counted(&coordinator, &agent).0,
        counted(&coordinator, &agent).0,
    );
    let guess = async |channel: &Channel| {
        let mut client = EnrolmentClient::new(channel.clone());
        let request = v1::EnrolRequest {
            token_id: "none".into(),
            token_secret: "guess".into(),
            csr_pem: "none".into(),
            hostname: "x".into(),
            agent_version: "0".into(),
        };
        client.enrol(request).await.unwrap_err().code()
    };
    coordinator
        .grants
        .slow_down(agent.id, Duration::from_secs(5));
    let slow: Vec<_> = (0..ANSWERED_AT_ONCE)
        .map(|_| {
            let mut client = AgentGatewayClient::new(full.clone());
            let request = v1::ListObjectsRequest {
                attempt: Some(v1::AttemptRef {
                    job_id: Uuid::from_u128(4).to_string(),
                    attempt: 1,
                }),
                directory: v1::Directory::Keys.into(),
                after: Vec::new(),
            };
            tokio::spawn(async move { client.list_objects(request).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waits = tokio::time::timeout(Duration::from_secs(2), guess(&full));
    assert!(waits.await.is_err(), "it waits for its turn");
    assert_eq!(guess(&free).await, Code::Unauthenticated);
    for call in slow {
        call.await.unwrap().unwrap_err();
    }
    assert_eq!(guess(&full).await, Code::Unauthenticated);
}

#[tokio::test]
async fn whoever_asks_too_fast_is_sent_away_from_every_call() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let attempt = Some(v1::AttemptRef {
        job_id: Uuid::from_u128(4).to_string(),
        attempt: 1,
    });
    let mut client = agent.client();
    coordinator.grants.exhaust(agent.id);
    let sign = v1::SignRequest {
        attempt: attempt.clone(),
        requests: vec![v1::RequestToSign {
            verb: v1::Verb::Get.into(),
            object: Some(v1::ObjectName {
                kind: v1::ObjectKind::Config.into(),
                ..v1::ObjectName::default()
            }),
            ..v1::RequestToSign::default()
        }],
    };
    let list = v1::ListObjectsRequest {
        attempt: attempt.clone(),
        directory: v1::Directory::Index.into(),
        ..v1::ListObjectsRequest::default()
    };
    let release = v1::ReleaseLocksRequest {
        attempt: attempt.clone(),
        ids: vec![vec![7; 32]],
    };
    let publish = v1::PublishRequest {
        attempt: attempt.clone(),
        snapshot: vec![7; 32],
        outcome: Outcome::Backup(BackupOutcome::of(strongroom_layout::ObjectId([7; 32]))).to_json(),
        ..v1::PublishRequest::default()
    };
    let record = v1::RecordWalRequest {
        attempt: attempt.clone(),
        ..v1::RecordWalRequest::default()
    };
    let archived = v1::ArchivedWalRequest {
        attempt,
        ..v1::ArchivedWalRequest::default()
    };
    for (call, answer) in [
        ("sign", client.sign(sign).await.map(drop)),
        ("list", client.list_objects(list).await.map(drop)),
        ("release", client.release_locks(release).await.map(drop)),
        ("publish", client.publish(publish).await.map(drop)),
        ("record", client.record_wal(record).await.map(drop)),
        ("archived", client.archived_wal(archived).await.map(drop)),
    ] {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{call}: {status}");
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_six_times_an_hour_at_most() {
    let coordinator = Coordinator::start().await;
    let mut agent = coordinator.enrolled("web-1").await;
    let mut codes = Vec::new();
    for _ in 0..8 {
        let (key, csr_pem) = new_key_and_request().unwrap();
        let renewed = agent.client().renew(v1::RenewRequest { csr_pem }).await;
        codes.push(
            renewed
                .as_ref()
                .map_or_else(tonic::Status::code, |_| Code::Ok),
        );
        // It uses them, but for the last ones.
        if let (Ok(renewed), true) = (renewed, codes.len() < 3) {
            agent.chain_pem = renewed.into_inner().certificate_pem;
            agent.key_pem = key;
        }
    }
    // With the one that it enrolled with.
    assert_eq!(codes[..5], [Code::Ok; 5]);
    assert_eq!(codes[5..], [Code::ResourceExhausted; 3]);
    let certificates = coordinator.catalog.certificates(agent.id).await.unwrap();
    let unused = certificates
        .iter()
        .filter(|it| it.ended.is_none() && it.first_used_at.is_none());
    assert_eq!((certificates.len(), unused.count()), (6, 1));
}

#[tokio::test]
async fn enrolments_that_come_at_once_pass_no_throttle() {
    let coordinator = Coordinator::start().await;
    let guesses = (0..60).map(|_| TestAgent::enrol(&coordinator, "guess", "guess", "host"));
    let codes: Vec<_> = futures::future::join_all(guesses)
        .await
        .into_iter()
        .map(|guess| guess.err().unwrap().code())
        .collect();
    let heard = codes.iter().filter(|it| **it == Code::Unauthenticated);
    assert_eq!(heard.count(), 20, "{codes:?}");
    let filter = crate::catalog::AuditFilter {
        action: Some("agent.enrol".into()),
        ..crate::catalog::AuditFilter::default()
    };
    let log = coordinator.catalog.audit_log(&filter, 100).await.unwrap();
    assert_eq!(log.items.len(), 20);
}

#[tokio::test]
async fn nothing_is_signed_for_who_has_no_token() {
    let coordinator = Coordinator::start().await;
    let config = tls::client_config(coordinator.authority.ca_pem(), tls::ALPN_GRPC).unwrap();
    let channel = connect(coordinator.address, config);
    let mut enrolment = v1::enrolment_client::EnrolmentClient::new(channel);
    let request = |token: &str| v1::EnrolRequest {
        token_id: token.into(),
        token_secret: "secret".into(),
        csr_pem: "no request".into(),
        hostname: "host".into(),
        agent_version: "0.1.0".into(),
    };
    // The token is looked at first.
    let status = enrolment.enrol(request("guess")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let token = coordinator.invite().await;
    let status = enrolment.enrol(request(&token)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn a_connection_has_a_hundred_calls_at_a_time() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let config = tls::agent_client_config(&agent.ca_pem, &agent.chain_pem, &agent.key_pem).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(coordinator.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    // The preface of HTTP/2, and settings of none.
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(hello).await.unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.unwrap();
    assert_eq!(header[3], 4, "its settings come first");
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let mut settings = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut settings).await.unwrap();
    let setting = |number: u8| {
        let found = settings.chunks(6).find(|it| it[..2] == [0, number])?;
        found[2..].try_into().ok().map(u32::from_be_bytes)
    };
    assert_eq!(setting(3), Some(100), "streams at a time");
    assert_eq!(setting(4), Some(256 * 1024), "bytes of each ahead of us");
    assert_eq!(setting(6), Some(16 * 1024), "bytes of headers");
}

/// A channel that counts its connections.
fn counted(coordinator: &Coordinator, agent: &TestAgent) -> (Channel, Arc<AtomicU32>) {
    let config = tls::agent_client_config(&agent.ca_pem, &agent.chain_pem, &agent.key_pem).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let (address, count) = (coordinator.address, Arc::new(AtomicU32::new(0)));
    let counting = Arc::clone(&count);
    let dial = tower::service_fn(move |_: http::Uri| {
        counting.fetch_add(1, Ordering::Relaxed);
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = "localhost".try_into().unwrap();
            let stream = connector.connect(name, stream).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://coordinator");
    (endpoint.connect_with_connector_lazy(dial), count)
}

#[tokio::test]
async fn an_agents_connection_that_is_idle_is_closed_and_one_at_work_is_not() {
    let limits = Limits {
        idle: Duration::from_millis(300),
        ..Limits::of(64, 8)
    };
    let coordinator = Coordinator::start_with(limits).await;
    let agent = coordinator.enrolled("web-1").await;
    let (idle, connections) = counted(&coordinator, &agent);
    let ask = async || {
        let mut client = AgentGatewayClient::new(idle.clone());
        let answer = client.sign(v1::SignRequest::default()).await;
        answer.unwrap_err().code()
    };
    assert_eq!(ask().await, Code::InvalidArgument);
    let (busy, of_session) = counted(&coordinator, &agent);
    let client = AgentGatewayClient::new(busy.clone());
    let mut session = TestSession::open(client, 1, &[]).await.unwrap();
    session.next().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(session.heartbeat(&[]).await, []);
    ask().await;
    assert_eq!(of_session.load(Ordering::Relaxed), 1);
    assert!(connections.load(Ordering::Relaxed) >= 2, "it was kept");
}
