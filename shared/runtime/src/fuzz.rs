//! Fuzz targets: certificates come before anybody is known, and configuration
//! from people.

use std::{cell::OnceCell, path::Path};

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use crate::{
    config,
    pki::{CertificateAuthority, Fingerprint, Validity, inspect, parse_chain},
    telemetry::trace::{RootIds, set_parent},
    units::{ByteRate, ByteSize},
};

const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const END: &str = "-----END CERTIFICATE REQUEST-----";

thread_local! {
    /// Making keys is dear.
    static AUTHORITY: OnceCell<CertificateAuthority> = const { OnceCell::new() };
}

/// A certificate as it comes in a handshake: DER.
pub fn certificate(data: &[u8]) {
    let _ = inspect(&CertificateDer::from(data));
}

/// Certificates as PEM.
pub fn certificates_pem(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for certificate in parse_chain("the chain", &text).unwrap_or_default() {
        let _ = Fingerprint::of(&certificate);
        let _ = inspect(&certificate);
    }
}

/// A request for a certificate, PEM, or DER that is made PEM here: one that is
/// good is signed.
pub fn certificate_request(data: &[u8]) {
    let text = if data.starts_with(b"-----") {
        String::from_utf8_lossy(data).into_owned()
    } else {
        let base64 = data_encoding::BASE64.encode(data);
        format!("{BEGIN}\n{base64}\n{END}\n")
    };
    let validity = Validity::starting(Timestamp::UNIX_EPOCH, SignedDuration::from_hours(1));
    AUTHORITY.with(|authority| {
        let authority = authority.get_or_init(|| {
            CertificateAuthority::create(Timestamp::UNIX_EPOCH)
                .unwrap()
                .0
        });
        if let Ok(issued) = authority.issue_client(&text, "strongroom:agent:7", validity) {
            assert_eq!(
                parse_chain("the chain", &issued.chain_pem).unwrap().len(),
                2
            );
        }
    });
}

/// A file of settings, of every type that those have. What is wrong is said
/// with its place.
pub fn settings(data: &[u8]) {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        name: String,
        size: Option<ByteSize>,
        rate: Option<ByteRate>,
        #[serde(default)]
        below: Vec<Settings>,
    }

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match config::parse::<Settings>(Path::new("agent.toml"), text) {
        Ok(read) => {
            let _ = format!("{} {:?} {:?}", read.name, read.size, read.rate);
            drop(read.below);
        }
        Err(config::ConfigError::Invalid { line, column, .. }) => {
            assert!(line <= text.matches('\n').count() + 1);
            assert!(column <= text.len() + 1);
        }
        Err(other) => panic!("{other}"),
    }
}

/// Amounts and rates: what is shown of them is read as the same.
pub fn units(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    if let Ok(rate) = text.parse::<ByteRate>() {
        assert_eq!(rate.to_string().parse(), Ok(rate));
    }
}

/// A trace's context from a job or from metadata.
pub fn trace_context(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    set_parent(&tracing::Span::none(), text);
    let (trace, span) = text.split_at_checked(32).unwrap_or_default();
    if let Some(ids) = RootIds::from_hex(trace, span) {
        assert_eq!(ids.traceparent().len(), 55);
    }
}

#[cfg(test)]
mod runs {
    use crate::pki::{CertificateAuthority, Validity, new_key_and_request};

    use super::*;

    fn issued() -> String {
        let (authority, _) = CertificateAuthority::create(Timestamp::UNIX_EPOCH).unwrap();
        let validity = Validity::starting(Timestamp::UNIX_EPOCH, SignedDuration::from_hours(1));
        let (_, request) = new_key_and_request().unwrap();
        authority
            .issue_client(&request, "strongroom:agent:7", validity)
            .unwrap()
            .chain_pem
    }

    fn certificates() -> Vec<Vec<u8>> {
        let chain = parse_chain("the chain", &issued()).unwrap();
        chain.iter().map(|it| it.to_vec()).collect()
    }

    fn requests() -> Vec<Vec<u8>> {
        let pem = new_key_and_request().unwrap().1;
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
        vec![pem.into_bytes(), der]
    }

    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| (*text).into()).collect()
    }

    strongroom_fuzz::short_runs! {
        certificate: certificates(),
        certificates_pem: vec![issued().into_bytes()],
        certificate_request: requests(),
        settings: texts(&[
            "name = \"a\"\nsize = \"256MiB\"\nrate = \"50MiB/s\"\n[[below]]\nsize = 7\n",
            "[[below]]\nbelow = [{ name = 'x', below = [] }]\n# end\nnme = 1\n",
        ]),
        units: texts(&["256MiB", "50MiB/s", "18446744073709551615B", "1 GiB", "9TB/s"]),
        trace_context: texts(&[
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7",
        ]),
    }
}
