//! A client of the REST API that trusts the profile's CA and nothing else.

use std::{fmt, time::Duration};

use bytes::Bytes;
use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use strongroom_runtime::pki::tls::{ALPN_HTTP, client_config};
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    http::{openapi::IDEMPOTENCY_KEY, problem::Problem},
    profile::Profile,
};

/// Longer than any long poll.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a request is sent again whose answer was lost.
const MOST_RETRIES: usize = 2;
/// How long to wait for a request that is under way, and how long at a time.
const MOST_PATIENCE: Duration = Duration::from_mins(1);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// The largest page that the API gives.
pub(crate) const MAX_PAGE: u32 = 1_000;

/// A list that comes in pages.
pub(crate) trait Paged: DeserializeOwned {
    /// Where the next page begins.
    fn take_next(&mut self) -> Option<String>;

    /// Puts the next page behind this one.
    fn append(&mut self, page: Self);

    /// Orders all pages as people look for things.
    fn sort(&mut self);
}

/// How much a page may hold, of what somebody asked for.
pub(crate) fn page_limit(wanted: u32, most: u32) -> (&'static str, String) {
    ("limit", wanted.clamp(1, most).to_string())
}

/// Speaks to one coordinator as one operator.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Zeroizing<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nothing answers there, or not the coordinator that the profile names.
    #[error("cannot reach the coordinator at {url}: {cause}. {hint}")]
    Unreachable {
        url: String,
        cause: String,
        hint: &'static str,
    },
    /// The coordinator says no.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The answer is none that this version understands.
    #[error(
        "the coordinator at {url} answered {status} with something this version does not \
         understand: {cause}"
    )]
    Answer {
        url: String,
        status: StatusCode,
        cause: String,
    },
    /// The profile's CA or URL cannot be used.
    #[error("the profile cannot be used: {0}")]
    Profile(String),
}

impl Client {
    /// Ready to send; opens no connection yet.
    pub(crate) fn new(profile: &Profile) -> Result<Self, ClientError> {
        let unusable = |error: &dyn std::error::Error| ClientError::Profile(root_cause(error));
        let tls =
            client_config(&profile.ca_certificate, ALPN_HTTP).map_err(|error| unusable(&error))?;
        let http = reqwest::Client::builder()
            .https_only(true)
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|error| unusable(&error))?;
        let base = Url::parse(&profile.url).map_err(|error| unusable(&error))?;
        Ok(Self {
            http,
            base,
            token: profile.token.clone(),
        })
    }

    /// `GET`, with an optional query.
    pub(crate) async fn get<A: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<A, ClientError> {
        self.send(Method::GET, path, query, None::<&()>).await
    }

    /// All pages of a list.
    pub(crate) async fn all<A: Paged>(&self, path: &[&str]) -> Result<A, ClientError> {
        let limit = page_limit(MAX_PAGE, MAX_PAGE);
        let mut all: A = self.get(path, std::slice::from_ref(&limit)).await?;
        while let Some(next) = all.take_next() {
            let page = self.get(path, &[limit.clone(), ("before", next)]).await?;
            all.append(page);
        }
        all.sort();
        Ok(all)
    }

    /// `POST` with a JSON body, to an operation that takes an idempotency key: when
    /// the answer is lost, it is sent again.
    pub(crate) async fn post_keyed<A: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        let url = self.url(path, &[])?;
        let request = self.request(Method::POST, url.clone())?.json(body);
        let key = Uuid::new_v4().to_string();
        let request = request.header(IDEMPOTENCY_KEY, key);
        Self::understand(url, &self.insist(request).await?)
    }

    /// `POST` with a JSON body, to an operation that takes no key: it is sent once.
    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// `DELETE`
    pub(crate) async fn delete<A: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<A, ClientError> {
        self.send(Method::DELETE, path, &[], None::<&()>).await
    }

    async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
    ) -> Result<A, ClientError> {
        let url = self.url(path, query)?;
        let mut request = self.request(method, url.clone())?;
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = Answer::to(request).await;
        let answer = answer.map_err(|error| unreachable(&self.base, &error))?;
        Self::understand(url, &answer)
    }

    fn request(&self, method: Method, url: Url) -> Result<reqwest::RequestBuilder, ClientError> {
        let request = self.http.request(method, url);
        Ok(request.header(header::AUTHORIZATION, self.authorisation()?))
    }

    /// Sends a request that has a key, and again when its answer was lost. While the
    /// one whose answer was lost is under way, it waits.
    async fn insist(&self, mut request: reqwest::RequestBuilder) -> Result<Answer, ClientError> {
        let mut sent_again = 0;
        let mut patience = MOST_PATIENCE;
        loop {
            // Every body is in memory.
            let again = request.try_clone();
            match (Answer::to(request).await, again) {
                (Ok(answer), Some(again)) if sent_again > 0 && !patience.is_zero() => {
                    let Some(wait) = answer.under_way() else {
                        return Ok(answer);
                    };
                    let wait = wait.min(patience);
                    patience -= wait;
                    tokio::time::sleep(wait).await;
                    request = again;
                }
                (Ok(answer), _) => return Ok(answer),
                (Err(error), Some(again))
                    if sent_again < MOST_RETRIES && !error.is_connect() && !error.is_timeout() =>
                {
                    sent_again += 1;
                    request = again;
                }
                (Err(error), _) => return Err(unreachable(&self.base, &error)),
            }
        }
    }

    fn understand<A: DeserializeOwned>(url: Url, answer: &Answer) -> Result<A, ClientError> {
        let understood = if answer.status.is_success() {
            serde_json::from_slice(&answer.body)
        } else {
            match serde_json::from_slice::<Problem>(&answer.body) {
                Ok(problem) => return Err(problem.into()),
                Err(error) => Err(error),
            }
        };
        understood.map_err(|error| ClientError::Answer {
            url: url.into(),
            status: answer.status,
            cause: error.to_string(),
        })
    }

    /// Below `/api/v1`; every segment is escaped.
    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::Profile(format!("{} is no https:// URL", self.base)))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn authorisation(&self) -> Result<header::HeaderValue, ClientError> {
        let mut value =
            header::HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", *self.token)))
                .map_err(|_| ClientError::Profile("its token is no token".into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// An answer that has come whole.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    async fn to(request: reqwest::RequestBuilder) -> Result<Self, reqwest::Error> {
        let response = request.send().await?;
        Ok(Self {
            status: response.status(),
            body: response.bytes().await?,
        })
    }

    /// Says that the same request is under way: for how long to wait.
    fn under_way(&self) -> Option<Duration> {
        if self.status != StatusCode::CONFLICT {
            return None;
        }
        let problem: Problem = serde_json::from_slice(&self.body).ok()?;
        let wait = Duration::from_secs(problem.retry_after_seconds?);
        Some(wait.max(SHORTEST_WAIT))
    }
}

fn unreachable(base: &Url, error: &reqwest::Error) -> ClientError {
    let cause = root_cause(error);
    let hint = if cause.contains("certificate") {
        "The certificate there is not from the CA in the profile: check the URL, or get a \
         profile of this coordinator"
    } else if error.is_timeout() {
        "It accepts connections but does not answer: look at its log"
    } else {
        "Check that it runs, and that the profile's URL is right"
    };
    ClientError::Unreachable {
        url: base.to_string(),
        cause,
        hint,
    }
}

/// The innermost cause: the outer ones only say that a request failed.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use strongroom_runtime::pki::tls::provider;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::http::problem::Code;

    fn client(base: &str) -> Client {
        Client {
            http: reqwest::Client::builder()
                .tls_backend_preconfigured(
                    rustls::ClientConfig::builder_with_provider(provider())
                        .with_safe_default_protocol_versions()
                        .unwrap()
                        .with_root_certificates(rustls::RootCertStore::empty())
                        .with_no_client_auth(),
                )
                .build()
                .unwrap(),
            base: Url::parse(base).unwrap(),
            token: Zeroizing::new("t".into()),
        }
    }

    /// Reads a request's head and body, and gives the value of its key.
    async fn key_of(stream: &mut TcpStream) -> Option<String> {
        let mut read = Vec::new();
        while !read.ends_with(b"{}") {
            let mut some = [0; 1024];
            let count = stream.read(&mut some).await.unwrap();
            assert!(count > 0, "the request has ended early");
            read.extend_from_slice(&some[..count]);
        }
        let text = String::from_utf8(read).unwrap();
        let line = text
            .lines()
            .find_map(|it| it.strip_prefix("idempotency-key: "));
        line.map(str::to_owned)
    }

    /// Takes the next request, answers it with these bytes and hangs up; gives the
    /// request's key.
    async fn serve(listener: &TcpListener, answer: &str) -> Option<String> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let key = key_of(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        key
    }

    async fn listening() -> (TcpListener, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&format!("http://{}", listener.local_addr().unwrap()));
        (listener, client)
    }

    const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    /// The head has come, and nothing after it.
    const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";

    fn under_way() -> String {
        let problem = Problem::new(Code::Conflict, "under way").retry_after(1);
        let body = serde_json::to_string(&problem).unwrap();
        let length = body.len();
        format!(
            "HTTP/1.1 409 Conflict\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn a_request_whose_answer_is_lost_is_sent_again_under_its_key() {
        let (listener, client) = listening().await;
        let body = serde_json::json!({});
        let server = async {
            let mut keys = Vec::new();
            for answer in ["", CUT, DONE] {
                keys.push(serve(&listener, answer).await.unwrap());
            }
            keys
        };
        let post = client.post_keyed::<serde_json::Value>(&["restores"], &body);
        let (answer, keys) = tokio::join!(post, server);
        assert_eq!(answer.unwrap(), body);
        assert!(!keys[0].is_empty());
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }

    #[tokio::test]
    async fn who_has_lost_an_answer_waits_for_what_is_under_way() {
        let (listener, client) = listening().await;
        let body = serde_json::json!({});
        let server = async {
            for answer in ["", &under_way(), DONE] {
                serve(&listener, answer).await.unwrap();
            }
        };
        let post = client.post_keyed::<serde_json::Value>(&["restores"], &body);
        let (answer, ()) = tokio::join!(post, server);
        assert_eq!(answer.unwrap(), body);

        // Nobody waits whose own request it is not.
        let said = under_way();
        let post = client.post_keyed::<serde_json::Value>(&["restores"], &body);
        let (answer, _) = tokio::join!(post, serve(&listener, &said));
        assert!(matches!(answer, Err(ClientError::Problem(_))));
    }

    #[tokio::test]
    async fn without_a_key_a_request_is_sent_once() {
        let (listener, client) = listening().await;
        let body = serde_json::json!({});
        let post = client.post::<serde_json::Value>(&["jobs", "1", "cancel"], &body);
        let (answer, key) = tokio::join!(post, serve(&listener, ""));
        assert!(matches!(answer, Err(ClientError::Unreachable { .. })));
        assert_eq!(key, None);
    }

    #[test]
    fn escapes_every_segment() {
        let url = client("https://host:1/behind/")
            .url(&["policies", "a/../b?c"], &[("q", "x y".into())])
            .unwrap();
        assert_eq!(
            url.as_str(),
            "https://host:1/behind/api/v1/policies/a%2F..%2Fb%3Fc?q=x+y"
        );
    }
}
