//! TLS as libpq's `sslmode` means it (PostgreSQL manual, 34.19), by rustls.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};

/// How a connection is encrypted. Files are read when a connection is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether, and what is verified.
    pub mode: SslMode,
    /// PEM: the authorities that may vouch for the server.
    pub ca_file: Option<PathBuf>,
    /// PEM: our own certificate chain and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// libpq's words, but for `allow`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// When the server can; nothing is verified.
    #[default]
    Prefer,
    /// Always; the server is verified only against a `ca_file`, if there is
    /// one.
    Require,
    /// The certificate must come from `ca_file`, whatever its name.
    VerifyCa,
    /// The certificate must come from `ca_file` and name the host.
    VerifyFull,
}

/// Not a word of [`SslMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no sslmode: write \"disable\", \"prefer\", \"require\", \"verify-ca\" or \
     \"verify-full\""
)]
pub struct ParseSslModeError(String);

impl SslMode {
    /// libpq's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Whether it is worth nothing without a `ca_file`.
    pub fn needs_ca(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

impl FromStr for SslMode {
    type Err = ParseSslModeError;

    fn from_str(text: &str) -> Result<Self, ParseSslModeError> {
        [
            Self::Disable,
            Self::Prefer,
            Self::Require,
            Self::VerifyCa,
            Self::VerifyFull,
        ]
        .into_iter()
        .find(|mode| mode.as_str() == text)
        .ok_or_else(|| ParseSslModeError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of use.
    #[error("cannot use {path} for TLS: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Verification without anything to verify against.
    #[error("sslmode {0} needs ca_file, the certificates that may vouch for the server")]
    NoCa(SslMode),
    /// rustls refuses the material.
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// For rustls; of no use with [`SslMode::Disable`]. Reads files.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Ok(match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, e))?;
                builder.with_client_auth_cert(chain, secret)?
            }
        })
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let ca_file = match (self.mode, &self.ca_file) {
            (SslMode::Disable | SslMode::Prefer, _) | (SslMode::Require, None) => None,
            (_, Some(ca_file)) => Some(ca_file),
            (mode, None) => return Err(TlsError::NoCa(mode)),
        };
        let Some(ca_file) = ca_file else {
            return Ok(Arc::new(Lenient {
                provider: Arc::clone(provider),
                chain: None,
            }));
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca_file)? {
            roots.add(certificate)?;
        }
        let strict =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| TlsError::Rustls(rustls::Error::General(error.to_string())))?;
        if self.mode == SslMode::VerifyFull {
            return Ok(strict);
        }
        Ok(Arc::new(Lenient {
            provider: Arc::clone(provider),
            chain: Some(strict),
        }))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn unusable(path: &Path, error: pem::Error) -> TlsError {
    TlsError::File {
        path: path.into(),
        source: match error {
            pem::Error::Io(source) => source,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        },
    }
}

/// Encrypts to whoever answers, or to whoever has a certificate of the chain
/// under whatever name: what `prefer`, `require` and `verify-ca` promise.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is checked last: all else is in order.
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_libpq_s_words() {
        for word in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
            assert_eq!(word.parse::<SslMode>().unwrap().to_string(), word);
        }
        assert!("allow".parse::<SslMode>().is_err());
    }

    #[test]
    fn verification_needs_an_authority() {
        let mut tls = Tls {
            mode: SslMode::VerifyFull,
            ..Tls::default()
        };
        assert!(matches!(tls.client_config(), Err(TlsError::NoCa(_))));
        tls.ca_file = Some("/nonexistent/ca.pem".into());
        let error = tls.client_config().unwrap_err().to_string();
        assert!(error.contains("/nonexistent/ca.pem"), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        tls.ca_file = Some(empty.path().into());
        assert!(matches!(tls.client_config(), Err(TlsError::File { .. })));
    }
}
