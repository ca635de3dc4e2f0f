//! Sends signed requests to a store: pieces go there and come from there,
//! never through the coordinator.

use std::{fmt, time::Duration};

use reqwest::{Method, StatusCode, header};
use strongroom_runtime::{backoff::Backoff, pki};
use strongroom_transfer::MAX_OBJECT;

use super::client::root_cause;
use crate::http::dto::SignedRequest;
use crate::profile::Profile;

const TRIES: u32 = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Speaks to stores; holds no credentials.
pub(crate) struct StoreClient(reqwest::Client);

impl fmt::Debug for StoreClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreClient").finish_non_exhaustive()
    }
}

/// A piece could not be sent or fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(
        "cannot reach the store at {host}: {cause}. Pieces go straight to and from the store: \
         this host must reach it, and trust its certificate by the system's authorities or the \
         profile's"
    )]
    Unreachable { host: String, cause: String },
    #[error("the store at {host} answered {status}: {body}")]
    Answer {
        host: String,
        status: StatusCode,
        body: String,
    },
    #[error("the store at {host} sends more than a piece can have")]
    TooLong { host: String },
    #[error("the coordinator's signed request is none: {0}")]
    Request(String),
    #[error("no connections to stores are possible: {0}")]
    Tls(String),
}

impl StoreError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answer { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

impl StoreClient {
    /// Trusts what this host trusts, and the profile's authority: the embedded
    /// store's certificate comes from there.
    pub(crate) fn new(profile: &Profile) -> Result<Self, StoreError> {
        let unusable = |error: &dyn std::error::Error| StoreError::Tls(root_cause(error));
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let own = pki::parse_chain("the CA certificate", &profile.ca_certificate)
            .map_err(|error| unusable(&error))?;
        roots.add_parsable_certificates(own);
        let tls = rustls::ClientConfig::builder_with_provider(pki::tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build()
            .map_err(|error| unusable(&error))?;
        Ok(Self(client))
    }

    /// Sends it, with a body if it is a PUT; gives what came, of at most a
    /// piece's length. What may pass is tried again.
    pub(crate) async fn send(
        &self,
        request: &SignedRequest,
        body: bytes::Bytes,
    ) -> Result<Vec<u8>, StoreError> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut tries = 1;
        loop {
            match self.once(request, body.clone()).await {
                Err(error) if error.may_pass() && tries < TRIES => {
                    tracing::debug!(%error, "trying again");
                    tokio::time::sleep(backoff.next_random()).await;
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn once(
        &self,
        request: &SignedRequest,
        body: bytes::Bytes,
    ) -> Result<Vec<u8>, StoreError> {
        let invalid = |error: &dyn fmt::Display| StoreError::Request(error.to_string());
        let url: url::Url = request.url.parse().map_err(|error| invalid(&error))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let unreachable = |error: reqwest::Error| StoreError::Unreachable {
            host: host.clone(),
            cause: root_cause(&error),
        };
        let method: Method = request.method.parse().map_err(|error| invalid(&error))?;
        let mut headers = header::HeaderMap::new();
        for (name, value) in &request.headers {
            let name: header::HeaderName = name.parse().map_err(|error| invalid(&error))?;
            let value = value.parse().map_err(|error| invalid(&error))?;
            headers.insert(name, value);
        }
        let mut sent = self.0.request(method.clone(), url).headers(headers);
        if method == Method::PUT {
            sent = sent.body(body);
        }
        let mut response = sent.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut received = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            if received.len() + part.len() > MAX_OBJECT {
                return Err(StoreError::TooLong { host });
            }
            received.extend_from_slice(&part);
        }
        // An earlier try whose answer was lost: a piece is named by its hash, which
        // the agent verifies before it believes a byte.
        let there = method == Method::PUT && status == StatusCode::PRECONDITION_FAILED;
        if !status.is_success() && !there {
            let body = String::from_utf8_lossy(&received);
            let body = body.chars().take(300).collect();
            return Err(StoreError::Answer { host, status, body });
        }
        Ok(received)
    }
}
