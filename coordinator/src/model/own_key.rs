//! The coordinator's own keys, by what tells them from others of their kind.

use std::fmt;

use jiff::Timestamp;

/// The kinds there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnKeyKind {
    /// Signs the certificates of agents and servers.
    CertificateAuthority,
    /// Seals the passwords of repositories.
    KeyEncryption,
}

impl OwnKeyKind {
    /// The word in the catalog and the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "certificate-authority",
            Self::KeyEncryption => "key-encryption-key",
        }
    }
}

impl fmt::Display for OwnKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CertificateAuthority => "certificate authority",
            Self::KeyEncryption => "key-encryption key",
        })
    }
}

/// The key with which a catalog was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKey {
    /// SHA-256, 64 hex digits.
    pub fingerprint: String,
    /// When it was entered.
    pub entered_at: Timestamp,
}
