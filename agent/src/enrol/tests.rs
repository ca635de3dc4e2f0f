use std::{os::unix::fs::PermissionsExt, path::Path};

use strongroom_runtime::{
    clock::{Clock, SystemClock},
    pki::CertificateAuthority,
};
use strongroom_wire::identity::EnrolResponse;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::*;
use crate::fake::{Call, Fake, days};

fn token(ca: &CertificateAuthority) -> JoinToken {
    let fingerprint: strongroom_layout::ObjectId = ca.fingerprint().to_string().parse().unwrap();
    JoinToken {
        id: "t1".into(),
        secret: Zeroizing::new("s3cret".into()),
        ca_fingerprint: fingerprint.0,
    }
}

fn enrolment(fake: &Fake, state: &Path) -> Enrolment {
    Enrolment {
        coordinator: fake.address.clone(),
        token: token(&fake.ca),
        state_dir: state.into(),
        force: false,
        hostname: "web-1.example.org".into(),
    }
}

/// Answers one enrolment as a coordinator would.
async fn admit(fake: &mut Fake) -> EnrolRequest {
    let Call::Enrol(request, answer) = fake.call().await else {
        panic!("no enrolment");
    };
    let agent_id = strongroom_layout::AgentId(Uuid::from_u128(7));
    let issued = fake
        .ca
        .issue_client(&request.csr_pem, &agent_id.to_uri(), days(7))
        .unwrap();
    let response = EnrolResponse {
        agent_id,
        agent_name: "web-1".into(),
        certificate_pem: issued.chain_pem,
        ca_pem: fake.ca.certificate_pem().to_owned(),
    };
    answer.send(Ok(response)).unwrap();
    request
}

#[tokio::test]
async fn a_token_becomes_an_identity_that_only_its_owner_reads() {
    let mut fake = Fake::start().await;
    let state = tempfile::tempdir().unwrap();
    let (identity, request) = tokio::join!(enrol(enrolment(&fake, state.path())), admit(&mut fake));
    let identity = identity.unwrap();
    assert_eq!(request.token_id, "t1");
    assert_eq!(*request.token_secret, "s3cret");
    assert_eq!(request.hostname, "web-1.example.org");

    let loaded = Identity::load(state.path()).unwrap();
    assert_eq!(loaded.agent_id, identity.agent_id);
    assert_eq!(loaded.coordinator, fake.address);
    assert_eq!(loaded.key_pem, identity.key_pem);
    let mode = std::fs::metadata(Identity::path(state.path()))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert!(!format!("{loaded:?}").contains("PRIVATE"));
}

#[tokio::test]
async fn another_authority_is_refused_before_the_secret_is_sent() {
    let fake = Fake::start().await;
    let state = tempfile::tempdir().unwrap();
    let (other, _) = CertificateAuthority::create(SystemClock.now()).unwrap();
    let mut enrolment = enrolment(&fake, state.path());
    enrolment.token = token(&other);
    let error = enrol(enrolment).await.unwrap_err();
    assert!(
        matches!(error, EnrolError::Connect(ConnectError::Untrusted { .. })),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("not the one of the join token"),
        "{message}"
    );
    assert!(!Identity::path(state.path()).exists());
}

#[tokio::test]
async fn a_refused_token_says_why_and_what_to_do() {
    let mut fake = Fake::start().await;
    let state = tempfile::tempdir().unwrap();
    let enrolment = enrolment(&fake, state.path());
    let refuse = async {
        let Call::Enrol(_, answer) = fake.call().await else {
            panic!("no enrolment");
        };
        let status = Status::permission_denied("the token was used on 2026-11-01 by web-9");
        answer.send(Err(status)).unwrap();
    };
    let (error, ()) = tokio::join!(enrol(enrolment), refuse);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("used on 2026-11-01 by web-9"), "{message}");
    assert!(message.contains("strongroom agents invite"), "{message}");
    assert!(!Identity::path(state.path()).exists());
}

#[tokio::test]
async fn an_unreachable_coordinator_is_named() {
    let mut fake = Fake::start().await;
    let state = tempfile::tempdir().unwrap();
    let enrolment = enrolment(&fake, state.path());
    fake.stop();
    // The listener is closed by another thread: wait until nobody answers.
    while tokio::net::TcpStream::connect(("localhost", fake.address.port))
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    let error = enrol(enrolment).await.unwrap_err();
    assert!(
        matches!(error, EnrolError::Connect(ConnectError::Unreachable { .. })),
        "{error}"
    );
    assert!(error.to_string().contains(&fake.address.to_string()));
}

#[tokio::test]
async fn an_identity_is_replaced_only_by_force() {
    let mut fake = Fake::start().await;
    let state = tempfile::tempdir().unwrap();
    let old = fake.identity(state.path(), days(7));
    let error = enrol(enrolment(&fake, state.path())).await.unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");

    let mut forced = enrolment(&fake, state.path());
    forced.force = true;
    let (identity, _) = tokio::join!(enrol(forced), admit(&mut fake));
    assert_ne!(identity.unwrap().agent_id, old.agent_id);
}

#[test]
fn a_missing_or_damaged_identity_says_what_to_do() {
    let state = tempfile::tempdir().unwrap();
    let error = Identity::load(state.path()).unwrap_err().to_string();
    assert!(error.contains("strongroom-agent enroll"), "{error}");
    strongroom_runtime::files::write_atomic(&Identity::path(state.path()), b"{}", 0o600).unwrap();
    let error = Identity::load(state.path()).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
}
