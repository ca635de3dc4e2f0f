//! A client of the REST API that trusts the profile's CA and nothing else.

use std::{fmt, time::Duration};

use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use strongroom_runtime::pki::tls::{ALPN_HTTP, client_config};
use url::Url;
use zeroize::Zeroizing;

use crate::http::problem::Problem;
use crate::profile::Profile;

/// Longer than any long poll.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

    /// `POST` with a JSON body.
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
        let mut request = self
            .http
            .request(method, url.clone())
            .header(header::AUTHORIZATION, self.authorisation()?);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| unreachable(&self.base, &error))?;
        let status = response.status();
        let bytes = response
            .bytes()
            .await
            .map_err(|error| unreachable(&self.base, &error))?;
        let understood = if status.is_success() {
            serde_json::from_slice(&bytes)
        } else {
            match serde_json::from_slice::<Problem>(&bytes) {
                Ok(problem) => return Err(problem.into()),
                Err(error) => Err(error),
            }
        };
        understood.map_err(|error| ClientError::Answer {
            url: url.into(),
            status,
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

    use super::*;

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
