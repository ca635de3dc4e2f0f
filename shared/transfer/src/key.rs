//! The reader's key pair.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// To whom pieces are sealed: an X25519 public key (RFC 7748). In texts 64
/// lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub [u8; 32]);

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 lowercase hex digits")]
pub struct InvalidKey;

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let mut key = [0; 32];
        if text.len() == 64 && HEXLOWER.decode_mut(text.as_bytes(), &mut key).is_ok() {
            Ok(Self(key))
        } else {
            Err(InvalidKey)
        }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// What opens pieces. Zeroized when dropped.
#[derive(Clone)]
pub struct SecretKey(StaticSecret);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

impl SecretKey {
    /// A new one, from the operating system's randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret)?;
        Ok(Self(StaticSecret::from(*secret)))
    }

    /// From [`SecretKey::to_hex`]; `None` for any other text.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        let decoded =
            text.len() == 64 && HEXLOWER.decode_mut(text.as_bytes(), &mut *secret).is_ok();
        decoded.then(|| Self(StaticSecret::from(*secret)))
    }

    /// For a file that only its owner may read.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.0.to_bytes());
        Zeroizing::new(HEXLOWER.encode(&*bytes))
    }

    /// What writers seal to.
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// What both sides know and nobody else; `None` for a public key of low
    /// order, with which everybody would know it.
    pub(crate) fn agree(&self, other: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        let shared = self
            .0
            .diffie_hellman(&x25519_dalek::PublicKey::from(other.0));
        shared
            .was_contributory()
            .then(|| Zeroizing::new(shared.to_bytes()))
    }
}
