//! The store, as the command line reaches it: pieces of transfers go there and
//! come from there, never through the coordinator, which signs each request.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use strongroom_runtime::{backoff::Backoff, pki};
use strongroom_s3::{
    Failure, FailureKind, HttpClient, HttpOptions, Payload, Request, SignedRequest,
};
use strongroom_transfer::MAX_OBJECT;
use url::Url;

use super::client::root_cause;
use crate::{http::dto, profile::Profile};

const TRIES: u32 = 5;
/// Without a byte, in whichever direction.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Whose clock stands in the signatures.
const SIGNER: &str = "the coordinator";

/// Speaks to stores; holds no credentials.
#[derive(Debug)]
pub(crate) struct StoreClient(HttpClient);

/// A piece could not be sent or fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(
        "cannot reach the store at {host}: {cause}. Pieces go straight to and from the store: \
         this host must reach it, and trust its certificate by the system's authorities or the \
         profile's"
    )]
    Unreachable { host: String, cause: String },
    #[error("the store at {host} refused a piece: {cause}")]
    Answer { host: String, cause: FailureKind },
    #[error("the store at {host} sends more than a piece can have")]
    TooLong { host: String },
    #[error("the coordinator's signed request is none: {0}")]
    Request(String),
    #[error("no connections to stores are possible: {0}")]
    Tls(String),
}

impl StoreError {
    fn new(host: &str, failure: Failure) -> Self {
        let host = host.to_owned();
        match failure.kind {
            FailureKind::Network(cause) | FailureKind::Untrusted(cause) => {
                Self::Unreachable { host, cause }
            }
            FailureKind::TooLong { .. } => Self::TooLong { host },
            cause => Self::Answer { host, cause },
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
        let client = HttpClient::new(HttpOptions {
            stall_timeout: STALL_TIMEOUT,
            proxies: false,
            ..HttpOptions::new(tls)
        });
        Ok(Self(client.map_err(|error| unusable(&error))?))
    }

    /// Sends it, with a body if it is a PUT; gives what came, of at most a
    /// piece's length. What may pass is tried again.
    pub(crate) async fn send(
        &self,
        request: &dto::SignedRequest,
        body: Bytes,
    ) -> Result<Vec<u8>, StoreError> {
        let signed = signed(request)?;
        let host = host(&signed)?;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut tries = 1;
        loop {
            match self.once(&signed, &body).await {
                Err(failure) if failure.kind.is_retryable() && tries < TRIES => {
                    tracing::debug!(%failure, "trying again");
                    tokio::time::sleep(backoff.next_random()).await;
                    tries += 1;
                }
                outcome => return outcome.map_err(|failure| StoreError::new(&host, failure)),
            }
        }
    }

    async fn once(&self, signed: &SignedRequest, body: &Bytes) -> Result<Vec<u8>, Failure> {
        let is_put = signed.method == Method::PUT;
        let parts = std::slice::from_ref(body);
        let request = Request {
            body: is_put.then(|| Payload::new(parts)),
            most: MAX_OBJECT as u64,
            ..Request::new(signed, SIGNER)
        };
        match self.0.send_to_vec(request).await {
            // An earlier try whose answer was lost: a piece is named by its hash, which
            // the agent verifies before it believes a byte.
            Err(failure) if is_put && matches!(failure.kind, FailureKind::Precondition) => {
                Ok(Vec::new())
            }
            answer => Ok(answer?.body),
        }
    }
}

fn signed(request: &dto::SignedRequest) -> Result<SignedRequest, StoreError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name: HeaderName = name.parse().map_err(invalid)?;
        let value: HeaderValue = value.parse().map_err(invalid)?;
        headers.insert(name, value);
    }
    Ok(SignedRequest {
        method: request.method.parse().map_err(invalid)?,
        url: request.url.clone(),
        headers,
    })
}

/// For messages.
fn host(request: &SignedRequest) -> Result<String, StoreError> {
    let url: Url = request.url.parse().map_err(invalid)?;
    Ok(url.host_str().unwrap_or_default().to_owned())
}

fn invalid(error: impl fmt::Display) -> StoreError {
    StoreError::Request(error.to_string())
}

#[cfg(test)]
mod tests {
    use strongroom_test_s3::scripted::{Scripted, Step, answer, error, head};

    use super::*;

    fn client(stall_timeout: Duration) -> StoreClient {
        let tls = rustls::ClientConfig::builder_with_provider(pki::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let options = HttpOptions {
            stall_timeout,
            proxies: false,
            ..HttpOptions::new(tls)
        };
        StoreClient(HttpClient::new(options).unwrap())
    }

    fn request(method: &str, server: &Scripted) -> dto::SignedRequest {
        dto::SignedRequest {
            method: method.into(),
            url: server.location.replace("s3:", "") + "/piece",
            headers: vec![("x-amz-date".into(), "20261121T030000Z".into())],
            valid_seconds: 600,
        }
    }

    /// What comes of one request, and how often it was sent.
    async fn send(method: &str, script: Vec<Step>) -> (Result<Vec<u8>, StoreError>, usize) {
        let server = Scripted::start(script).await;
        let client = client(STALL_TIMEOUT);
        let body = Bytes::from_static(b"sealed");
        let outcome = client.send(&request(method, &server), body).await;
        let sent = server.heads.lock().len();
        (outcome, sent)
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again() {
        let busy = error("503 Slow Down", "SlowDown", "");
        let piece = answer("200 OK", "", "piece");
        let (outcome, sent) = send("GET", vec![busy, Step::Reset, piece]).await;
        assert_eq!((outcome.unwrap(), sent), (b"piece".to_vec(), 3));
        let busy = || error("503 Slow Down", "SlowDown", "");
        let (outcome, sent) = send("GET", vec![busy(); TRIES as usize]).await;
        assert!(matches!(outcome, Err(StoreError::Answer { .. })));
        assert_eq!(sent, TRIES as usize);
    }

    #[tokio::test]
    async fn what_will_not_pass_says_what_to_do() {
        let wrong = error("403 Forbidden", "SignatureDoesNotMatch", "");
        let (outcome, sent) = send("PUT", vec![wrong]).await;
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains("127.0.0.1"), "{text}");
        assert!(text.contains("secret access key"), "{text}");
        let skewed = error("403 Forbidden", "RequestTimeTooSkewed", "");
        let (outcome, _) = send("PUT", vec![skewed]).await;
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains("clock of the coordinator"), "{text}");
        assert_eq!(sent, 1);
        let long = Step::Answer(head("200 OK", "", MAX_OBJECT + 1));
        let (outcome, _) = send("GET", vec![long]).await;
        assert!(matches!(outcome, Err(StoreError::TooLong { .. })));
    }

    #[tokio::test]
    async fn a_piece_that_is_there_was_sent_by_an_earlier_try() {
        let there = || error("412 Precondition Failed", "PreconditionFailed", "");
        let (outcome, _) = send("PUT", vec![there()]).await;
        assert_eq!(outcome.unwrap(), b"");
        send("GET", vec![there()]).await.0.unwrap_err();
    }

    #[tokio::test]
    async fn an_upload_on_which_nothing_moves_is_given_up() {
        let server = Scripted::start([Step::Stall]).await;
        let signed = signed(&request("PUT", &server)).unwrap();
        let body = Bytes::from(vec![7; MAX_OBJECT]);
        let sent = client(Duration::from_secs(1)).once(&signed, &body).await;
        let failure = sent.unwrap_err();
        assert!(failure.to_string().contains("nothing moved"), "{failure}");
        let error = StoreError::new("store", failure);
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_the_coordinator_signed_may_be_no_request() {
        let server = Scripted::start([]).await;
        let mut wrong = request("P T", &server);
        let client = client(STALL_TIMEOUT);
        for _ in 0..2 {
            let outcome = client.send(&wrong, Bytes::new()).await;
            assert!(matches!(outcome, Err(StoreError::Request(_))));
            wrong = request("PUT", &server);
            wrong.url = "/no/host".into();
        }
    }
}
