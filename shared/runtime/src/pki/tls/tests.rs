//! Real handshakes over an in-memory pipe.

use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{
    clock::{Clock, SystemClock},
    pki::{CertificateAuthority, Validity, inspect, new_key_and_request},
};

const URI: &str = "strongroom:agent:00000000-0000-0000-0000-000000000007";

fn now() -> Timestamp {
    SystemClock.now()
}

fn week() -> Validity {
    Validity::starting(now(), SignedDuration::from_hours(24 * 7))
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::create(now()).unwrap().0
}

fn server_identity(ca: &CertificateAuthority) -> ServerIdentity {
    let key = ca.issue_server(&["localhost".into()], week()).unwrap();
    ServerIdentity::new(key).unwrap()
}

fn agent_config(
    trusts: &CertificateAuthority,
    signer: &CertificateAuthority,
    validity: Validity,
) -> ClientConfig {
    let (key, request) = new_key_and_request().unwrap();
    let issued = signer.issue_client(&request, URI, validity).unwrap();
    agent_client_config(trusts.certificate_pem(), &issued.chain_pem, &key).unwrap()
}

/// Connects, sends a byte each way, and gives the client's URIs as the server
/// saw them, or the errors of both sides.
async fn handshake(server: Arc<ServerConfig>, client: ClientConfig) -> Result<Vec<String>, String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serve = async {
        let mut stream = TlsAcceptor::from(server)
            .accept(far)
            .await
            .map_err(|error| format!("server: {error}"))?;
        let uris = match stream.get_ref().1.peer_certificates() {
            Some([leaf, ..]) => inspect(leaf).map_err(|error| error.to_string())?.uris,
            _ => Vec::new(),
        };
        stream.read_u8().await.map_err(|e| format!("server: {e}"))?;
        stream
            .write_u8(1)
            .await
            .map_err(|e| format!("server: {e}"))?;
        Ok::<_, String>(uris)
    };
    let connect = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client))
            .connect(name, near)
            .await
            .map_err(|error| format!("client: {error}"))?;
        stream
            .write_u8(1)
            .await
            .map_err(|e| format!("client: {e}"))?;
        stream.read_u8().await.map_err(|e| format!("client: {e}"))?;
        Ok::<_, String>(())
    };
    let (served, connected) = tokio::join!(serve, connect);
    match (served, connected) {
        (Ok(uris), Ok(())) => Ok(uris),
        (served, connected) => {
            let errors = [served.err(), connected.err()];
            Err(errors.into_iter().flatten().collect::<Vec<_>>().join("; "))
        }
    }
}

#[tokio::test]
async fn an_enrolled_agent_is_known_by_its_uri() {
    let ca = authority();
    let server = agent_server_config(&server_identity(&ca), ca.certificate()).unwrap();
    let uris = handshake(server, agent_config(&ca, &ca, week())).await;
    assert_eq!(uris.unwrap(), [URI]);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let ca = authority();
    let server = agent_server_config(&server_identity(&ca), ca.certificate()).unwrap();
    let refused = handshake(server, agent_config(&ca, &authority(), week())).await;
    let error = refused.unwrap_err();
    assert!(
        error.contains("server: invalid peer certificate"),
        "{error}"
    );
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let ca = authority();
    let server = agent_server_config(&server_identity(&ca), ca.certificate()).unwrap();
    let long_ago = now()
        .saturating_sub(SignedDuration::from_hours(48))
        .unwrap();
    let expired = Validity::starting(long_ago, SignedDuration::from_hours(1));
    let error = handshake(server, agent_config(&ca, &ca, expired))
        .await
        .unwrap_err();
    assert!(error.to_lowercase().contains("expired"), "{error}");
}

#[tokio::test]
async fn enrolment_trusts_the_pinned_authority_and_no_other() {
    let ca = authority();
    let server = agent_server_config(&server_identity(&ca), ca.certificate()).unwrap();
    let pinned = enrolment_client_config(ca.fingerprint()).unwrap();
    assert_eq!(handshake(server.clone(), pinned).await, Ok(vec![]));

    let other = enrolment_client_config(authority().fingerprint()).unwrap();
    let error = handshake(server, other).await.unwrap_err();
    assert!(error.contains("not the one of the join token"), "{error}");
}

#[tokio::test]
async fn the_operators_port_trusts_and_speaks_tls_1_3() {
    let ca = authority();
    let server = server_config(&server_identity(&ca), ALPN_HTTP).unwrap();
    let client = client_config(ca.certificate_pem(), ALPN_HTTP).unwrap();
    assert_eq!(handshake(server.clone(), client).await, Ok(vec![]));

    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate().clone()).unwrap();
    let old = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert!(handshake(server, old).await.is_err());
}

#[tokio::test]
async fn a_replaced_server_certificate_serves_new_connections() {
    let ca = authority();
    let identity = server_identity(&ca);
    let server = server_config(&identity, ALPN_HTTP).unwrap();
    identity
        .replace(ca.issue_server(&["other".into()], week()).unwrap())
        .unwrap();
    let client = client_config(ca.certificate_pem(), ALPN_HTTP).unwrap();
    let error = handshake(server, client).await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[test]
fn an_authority_is_made_once_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = CertificateAuthority::open_or_create(dir.path(), now()).unwrap();
    let again = CertificateAuthority::open_or_create(dir.path(), now()).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_eq!(
        again.fingerprint().to_string().parse(),
        Ok(first.fingerprint())
    );

    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = CertificateAuthority::open_or_create(dir.path(), now()).unwrap_err();
    assert!(
        error.to_string().contains("restore it from a backup"),
        "{error}"
    );
}

#[test]
fn a_request_cannot_choose_its_own_name() {
    let ca = authority();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.subject_alt_names.push(rcgen::SanType::URI(
        "strongroom:agent:somebody-else".try_into().unwrap(),
    ));
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let issued = ca.issue_client(&request, URI, week()).unwrap();
    let leaf = parse_chain("leaf", &issued.chain_pem)
        .unwrap()
        .swap_remove(0);
    let info = inspect(&leaf).unwrap();
    assert_eq!(info.uris, [URI]);
    assert_eq!(info.serial, issued.serial);
}
