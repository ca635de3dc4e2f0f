//! Over real sockets: against a server that verifies signatures and hashes,
//! and against one that answers whatever a test wants.

mod answers;
mod checksums;
mod exists;
mod faults;
mod trouble;

use std::{sync::Arc, time::Duration};

use strongroom_runtime::clock::{SharedClock, SystemClock};
use strongroom_s3::{Credentials, HttpOptions};
use strongroom_test_s3::service::{KEY_ID, SECRET};
use zeroize::Zeroizing;

use super::{S3Store, credentials::CredentialAuthority, *};

const REGION: &str = "eu-test-1";

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn client(stall_timeout: Duration) -> HttpClient {
    HttpClient::new(HttpOptions {
        stall_timeout,
        ..HttpOptions::new(tls())
    })
    .unwrap()
}

fn credentials() -> Credentials {
    Credentials {
        access_key_id: KEY_ID.into(),
        secret_access_key: Zeroizing::new(SECRET.into()),
        session_token: None,
        region: REGION.into(),
    }
}

fn authority(
    location: &str,
    credentials: Credentials,
    client: &HttpClient,
    clock: SharedClock,
) -> Arc<CredentialAuthority> {
    let location = location.parse().unwrap();
    Arc::new(CredentialAuthority::new(
        location,
        credentials,
        client.clone(),
        clock,
    ))
}

/// A store at `s3:…` with the right credentials.
fn store(location: &str) -> S3Store {
    let client = client(Duration::from_secs(5));
    let authority = authority(location, credentials(), &client, SystemClock::shared());
    S3Store::new(client, authority)
}
