//! The certificate authority, certificates and TLS configurations.
//!
//! One CA per coordinator, made on first start. Server and agent certificates
//! are short-lived; revocation is checked by the coordinator per request, not
//! by lists. TLS 1.3 only.

mod authority;
mod fingerprint;
mod inspect;
pub mod tls;

pub use authority::{CertificateAuthority, Issued, ServerKey, Validity, new_key_and_request};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use inspect::{CertificateInfo, inspect, parse_chain};

use std::path::PathBuf;

use crate::files::FileError;

/// Something about a key or certificate did not work.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Key files.
    #[error(transparent)]
    File(#[from] FileError),
    /// Half of the CA is missing: making a new one would lock out every agent.
    #[error(
        "{present} is there but {missing} is not: restore it from a backup; \
         a new certificate authority would lock out every agent"
    )]
    HalfAuthority {
        /// What is there.
        present: PathBuf,
        /// What is not.
        missing: PathBuf,
    },
    /// Making or signing.
    #[error("cannot make {what}: {source}")]
    Generate {
        /// Which.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// Not a certificate, key or request, or a damaged one.
    #[error("{what} is not valid: {problem}")]
    Invalid {
        /// Which.
        what: String,
        /// Why.
        problem: String,
    },
    /// rustls does not take it.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl PkiError {
    fn generate(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Generate { what, source }
    }

    fn invalid(what: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Invalid {
            what: what.into(),
            problem: problem.to_string(),
        }
    }
}
