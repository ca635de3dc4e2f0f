//! SHA-256, in one place because every byte passes through it twice.
//!
//! ring rather than sha2: both use the SHA extensions of newer processors, but
//! only ring has vector code for those without, where it is twice as fast.

use ring::digest::{Context, SHA256, digest};
use strongroom_layout::ObjectId;

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> ObjectId {
    id(&digest(&SHA256, bytes))
}

/// SHA-256 of what comes in pieces.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    /// Of nothing so far.
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256(…)")
    }
}

impl Sha256 {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> ObjectId {
        id(&self.0.finish())
    }
}

fn id(digest: &ring::digest::Digest) -> ObjectId {
    let mut id = [0; 32];
    // A SHA-256 has 32 bytes.
    id.copy_from_slice(digest.as_ref());
    ObjectId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn whole_and_in_pieces() {
        assert_eq!(sha256(b"abc").to_string(), ABC);
        let mut pieces = Sha256::default();
        for piece in [&b"a"[..], b"", b"bc"] {
            pieces.update(piece);
        }
        assert_eq!(pieces.finish().to_string(), ABC);
    }
}
