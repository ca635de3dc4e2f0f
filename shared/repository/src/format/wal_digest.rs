//! Keyed digests of log: they tell whether the same place in a log holds the
//! same bytes, to somebody who must not learn which.
//!
//! HMAC-SHA-256 (RFC 2104) under a key of its own that comes from the master key.
//! The digest at a position is that of all bytes from where its unit begins, so
//! two parts that end at one place can be compared whatever they began with.

use std::fmt;

use strongroom_layout::ObjectId;
use zeroize::Zeroizing;

use super::{crypto::MasterKey, sha256::Sha256};

/// SHA-256's block, bytes.
const BLOCK: usize = 64;
const INNER: u8 = 0x36;
const OUTER: u8 = 0x5c;

/// A digest in the making. Cloned, it goes on in two ways.
#[derive(Clone)]
pub struct WalDigester {
    inner: Sha256,
    outer: Sha256,
}

impl fmt::Debug for WalDigester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WalDigester(…)")
    }
}

impl WalDigester {
    /// Of nothing so far, for one repository.
    pub fn new(key: &MasterKey) -> Self {
        Self::keyed(&key.wal_digest_key())
    }

    fn keyed(key: &[u8; 32]) -> Self {
        let padded = |pad: u8| {
            let mut block = Zeroizing::new([pad; BLOCK]);
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut hash = Sha256::default();
            hash.update(&block[..]);
            hash
        };
        Self {
            inner: padded(INNER),
            outer: padded(OUTER),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn digest(&self) -> ObjectId {
        let mut outer = self.outer.clone();
        outer.update(&self.inner.clone().finish().0);
        outer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4231, test case 1, whose key of 20 bytes is padded with zeros.
    #[test]
    fn it_is_hmac_sha_256() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mut digester = WalDigester::keyed(&key);
        digester.update(b"Hi ");
        digester.clone().update(b"other bytes");
        digester.update(b"There");
        assert_eq!(
            digester.digest().to_string(),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn another_repository_has_other_digests() {
        let of = |byte| WalDigester::new(&MasterKey::from_bytes(&[byte; 64])).digest();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
