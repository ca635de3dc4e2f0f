//! The verbatim client: for keys with `.` or `..` between slashes. They are keys
//! like any other to S3, but the URL type of the usual client takes them for a
//! walk through directories and asks for another object.
//!
//! It heeds no proxy of the environment.

use http::{HeaderMap, HeaderValue, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use crate::{
    HttpOptions, SignedRequest,
    client::{USER_AGENT, network},
    error::FailureKind,
};

/// Sends a URL as it stands.
#[derive(Clone)]
pub(crate) struct VerbatimClient(Client<HttpsConnector<HttpConnector>, reqwest::Body>);

/// Whether a URL's path has a segment that the usual client would resolve.
pub(crate) fn is_needed(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split('/').skip(3).any(is_dots)
}

fn is_dots(segment: &str) -> bool {
    if !segment.starts_with(['.', '%']) || segment.len() > 6 {
        return false;
    }
    let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
    matches!(&*decoded, "." | "..")
}

impl VerbatimClient {
    /// Opens no connection yet.
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.connect_timeout));
        let mut tls = options.tls.clone();
        // The connector says what it speaks.
        tls.alpn_protocols.clear();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(options.idle_connections)
            .build(connector);
        Self(client)
    }

    /// Sends with these headers instead of the signed request's own.
    pub(crate) async fn send(
        &self,
        signed: &SignedRequest,
        mut headers: HeaderMap,
        body: Option<reqwest::Body>,
    ) -> Result<reqwest::Response, FailureKind> {
        let mut request = http::Request::new(body.unwrap_or_default());
        *request.method_mut() = signed.method.clone();
        *request.uri_mut() = signed.url.parse::<Uri>().map_err(|error| {
            FailureKind::Denied(format!("the URL of the request is none: {error}"))
        })?;
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        *request.headers_mut() = headers;
        let response = self.0.request(request).await;
        let response = response.map_err(|error| network(&error))?;
        Ok(response.map(reqwest::Body::wrap).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_dots_are_told_from_names_with_dots() {
        for url in [
            "http://host/b/..",
            "http://host/b/../c",
            "http://host/b/./c?x",
            "http://host/.",
            "http://host/b/%2E%2e/c",
            "http://host/b/.%2e",
        ] {
            assert!(is_needed(url), "{url}");
        }
        for url in [
            "http://host/b/...",
            "http://../b",
            "http://host/b/.c/c./a..b",
            "http://host/b//c/",
            "http://host/b?prefix=/../",
            "http://host/b/%2E%2E%2E/%20",
            "http://host",
        ] {
            assert!(!is_needed(url), "{url}");
        }
    }
}
