//! Sends a grant as it is, or changed as an agent could change it.

use std::{fmt, sync::OnceLock, time::Duration};

use bytes::Bytes;
use jiff::SignedDuration;
use reqwest::{
    Client, Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use strongroom_runtime::{clock::SharedClock, pki};
use strongroom_wire::grant::Grant;

use super::super::{StoreConfig, StoreError, StoreProblem, error::distance};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Of a store's answer that is looked at.
const MAX_ANSWER: usize = 16 << 10;
/// Of a store's message that is kept.
const MAX_MESSAGE: usize = 200;

/// Sends requests without credentials of its own, as an agent does.
pub(super) struct Forger {
    client: Client,
    store: StoreConfig,
    clock: SharedClock,
    skew: OnceLock<SignedDuration>,
}

impl fmt::Debug for Forger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forger").finish_non_exhaustive()
    }
}

/// What the store said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    code: Option<String>,
    message: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Said {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The service does not know what was asked, and would not do without it.
    pub(super) fn is_unknown_to_it(&self) -> bool {
        self.status == 501
    }

    /// Trouble of the moment: no answer to the question.
    fn is_trouble(&self) -> bool {
        (self.status >= 500 && !self.is_unknown_to_it()) || [408, 409, 429].contains(&self.status)
    }
}

/// For people: `403 AccessDenied: There were headers …`
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl Forger {
    pub(super) fn new(store: &StoreConfig, clock: SharedClock) -> Result<Self, StoreError> {
        let setup = |error: &dyn fmt::Display| {
            StoreError::new(store, StoreProblem::Setup(error.to_string()))
        };
        let mut roots = rustls::RootCertStore::empty();
        match &store.extra_ca_pem {
            Some(pem) => {
                let own = pki::parse_chain("the store's CA", pem).map_err(|error| setup(&error))?;
                roots.add_parsable_certificates(own);
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let tls = rustls::ClientConfig::builder_with_provider(pki::tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| setup(&error))?;
        Ok(Self {
            client,
            store: store.clone(),
            clock,
            skew: OnceLock::new(),
        })
    }

    /// By how much this host's clock is ahead of the store's, to the second; known once
    /// it has answered.
    pub(super) fn skew(&self) -> Option<SignedDuration> {
        self.skew.get().copied()
    }

    /// Sends a grant with `more` headers behind its own, and this body.
    pub(super) async fn send(
        &self,
        grant: &Grant,
        more: &[(&str, String)],
        body: Bytes,
    ) -> Result<Said, StoreError> {
        self.send_around(grant, &[], more, body).await
    }

    /// The same with headers in front of its own as well: of a header that is
    /// sent twice, some believe the first and some the last.
    pub(super) async fn send_around(
        &self,
        grant: &Grant,
        before: &[(&str, String)],
        behind: &[(&str, String)],
        body: Bytes,
    ) -> Result<Said, StoreError> {
        let granted = grant.headers.iter().map(|(name, value)| (&**name, value));
        let before = before.iter().map(|(name, value)| (*name, value));
        let behind = behind.iter().map(|(name, value)| (*name, value));
        let mut headers = HeaderMap::new();
        for (name, value) in before.chain(granted).chain(behind) {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value);
            let (Ok(name), Ok(value)) = (name, value) else {
                let problem = StoreProblem::Setup("a grant is no HTTP request".into());
                return Err(StoreError::new(&self.store, problem));
            };
            headers.append(name, value);
        }
        self.ask(&grant.method, &grant.url, headers, body).await
    }

    /// A GET by nobody.
    pub(super) async fn anonymous(&self, url: &str) -> Result<Said, StoreError> {
        self.ask("GET", url, HeaderMap::new(), Bytes::new()).await
    }

    async fn ask(
        &self,
        method: &str,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Said, StoreError> {
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            StoreError::new(
                &self.store,
                StoreProblem::Unreachable(strongroom_runtime::causes::said(&error)),
            )
        };
        let method: Method = method.parse().unwrap_or(Method::GET);
        let mut request = self.client.request(method.clone(), url).headers(headers);
        if method == Method::PUT {
            request = request.body(body);
        }
        let mut response = request.send().await.map_err(failed)?;
        let date = response.headers().get("date");
        if let Some(skew) = date.and_then(|it| distance(it.to_str().ok()?, self.clock.now())) {
            self.skew.get_or_init(|| skew);
        }
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&part);
            if body.len() > MAX_ANSWER {
                break;
            }
        }
        let text = String::from_utf8_lossy(&body);
        let said = Said {
            status,
            code: element(&text, "Code"),
            message: element(&text, "Message"),
            body,
        };
        if said.is_trouble() {
            let problem = StoreProblem::Failed {
                action: "a forged request".into(),
                detail: said.to_string(),
                retryable: true,
            };
            return Err(StoreError::new(&self.store, problem));
        }
        Ok(said)
    }
}

/// The text of the first element of this name in an S3 error.
pub(in crate::stores) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.chars().take(MAX_MESSAGE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_error_is_put_into_words() {
        let xml = "<Error><Code>AccessDenied</Code><Message>not signed</Message></Error>";
        let said = Said {
            status: 403,
            code: element(xml, "Code"),
            message: element(xml, "Message"),
            body: Vec::new(),
        };
        assert_eq!(said.to_string(), "403 AccessDenied: not signed");
        assert!(!said.is_trouble() && !said.is_success());
        assert_eq!(element("<html>", "Code"), None);
    }
}
