//! Plain requests to the coordinator's API, without its command line.

use strongroom_runtime::pki::tls;
use tokio::runtime::Builder;

/// `GET`, trusting one CA (PEM), with or without a bearer token. Returns
/// status and body.
pub fn get(url: &str, ca: &str, token: Option<&str>) -> (u16, String) {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let trust = tls::client_config(ca, tls::ALPN_HTTP).expect("a configuration");
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .no_proxy()
            .build()
            .expect("a client");
        let mut request = client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.expect("the API answers");
        let status = response.status().as_u16();
        (status, response.text().await.expect("a body"))
    })
}
