//! Over real sockets: against a server that verifies signatures and hashes, and
//! against one that answers whatever a test wants.

mod buckets;
mod clients;
mod multipart;

use std::{sync::Arc, time::Duration};

use strongroom_runtime::{clock::SystemClock, pki::tls::provider};
use strongroom_test_s3::service::{KEY_ID, SECRET};
use zeroize::Zeroizing;

use crate::{Credentials, HttpClient, HttpOptions, Signer, bucket::Bucket};

fn options() -> HttpOptions {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    HttpOptions {
        stall_timeout: Duration::from_secs(5),
        ..HttpOptions::new(tls)
    }
}

fn signer() -> Signer {
    let credentials = Credentials {
        access_key_id: KEY_ID.into(),
        secret_access_key: Zeroizing::new(SECRET.into()),
        session_token: None,
        region: "eu-test-1".into(),
    };
    Signer::new(credentials, Arc::new(SystemClock))
}

fn bucket(location: &str) -> Bucket {
    let client = HttpClient::new(options()).unwrap();
    Bucket::new(client, location.parse().unwrap(), signer())
}
