//! rustls configurations: TLS 1.3 only, provider ring, trust in exactly one
//! certificate authority.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use super::{Fingerprint, PkiError, ServerKey, parse_chain};

/// The one cryptographic provider of both programs.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// HTTP/2 alone: gRPC.
pub const ALPN_GRPC: &[&[u8]] = &[b"h2"];
/// HTTP/2 or 1.1: browsers, curl, the command line.
pub const ALPN_HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// HTTP by a server that speaks nothing newer.
pub const ALPN_HTTP1: &[&[u8]] = &[b"http/1.1"];

/// A server's certificate that can be replaced while connections are served.
#[derive(Clone)]
pub struct ServerIdentity(Arc<RwLock<Arc<CertifiedKey>>>);

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerIdentity")
    }
}

impl ServerIdentity {
    /// Serves `key`.
    pub fn new(key: ServerKey) -> Result<Self, PkiError> {
        Ok(Self(Arc::new(RwLock::new(certified(key)?))))
    }

    /// New connections see `key`.
    pub fn replace(&self, key: ServerKey) -> Result<(), PkiError> {
        let key = certified(key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
        Ok(())
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

fn certified(key: ServerKey) -> Result<Arc<CertifiedKey>, PkiError> {
    let certified = CertifiedKey::from_der(key.chain, key.key, &provider())?;
    Ok(Arc::new(certified))
}

/// For the operators' port: no client certificates.
pub fn server_config(
    identity: &ServerIdentity,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, PkiError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(identity.clone()));
    Ok(Arc::new(with_alpn(config, alpn)))
}

/// For the agents' port. A client certificate must be the CA's if there is
/// one; that there is one, the services check: enrolment has none yet.
pub fn agent_server_config(
    identity: &ServerIdentity,
    ca: &CertificateDer<'static>,
) -> Result<Arc<ServerConfig>, PkiError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| PkiError::invalid("the certificate authority", error))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(identity.clone()));
    Ok(Arc::new(with_alpn(config, ALPN_GRPC)))
}

fn with_alpn(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// For clients of the operators' port: trusts this CA only.
pub fn client_config(ca_pem: &str, alpn: &[&[u8]]) -> Result<ClientConfig, PkiError> {
    let ca = parse_chain("the CA certificate", ca_pem)?.swap_remove(0);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(&ca)?)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// For an enrolled agent: trusts this CA only and shows its certificate.
pub fn agent_client_config(
    ca_pem: &str,
    chain_pem: &str,
    key_pem: &str,
) -> Result<ClientConfig, PkiError> {
    let ca = parse_chain("the CA certificate", ca_pem)?.swap_remove(0);
    let chain = parse_chain("the agent's certificate", chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|error| PkiError::invalid("the agent's key", error))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(&ca)?)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// For an agent that is not enrolled yet: trusts the one CA whose fingerprint
/// its join token holds, wherever in the presented chain it stands.
pub fn enrolment_client_config(pinned: Fingerprint) -> Result<ClientConfig, PkiError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedAuthority {
            pinned,
            provider: provider(),
        }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn roots(ca: &CertificateDer<'static>) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    Ok(roots)
}

/// Accepts a server whose chain holds the pinned CA and verifies against it:
/// name, validity and signatures as ever.
#[derive(Debug)]
struct PinnedAuthority {
    pinned: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.pinned)
            .ok_or_else(|| {
                rustls::Error::General(format!(
                    "the server's certificate authority is not the one of the join token \
                     (expected fingerprint {}): wrong address, or someone is in between",
                    self.pinned
                ))
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

#[cfg(test)]
mod tests;
