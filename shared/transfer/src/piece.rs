//! One piece, as it lies in the store.
//!
//! ```text
//! magic "SRT1" | writer's public key (32) | ChaCha20-Poly1305 (plaintext + 16)
//! ```
//!
//! The writer makes a key pair for each transfer. The key is
//! HKDF-SHA256(salt = writer's public key ‖ reader's public key,
//! secret = X25519 of the two, info = "strongroom transfer 1"), so no key is
//! ever used for two transfers. The nonce is the piece's role and number, and
//! the header is authenticated with it: a piece opens only in its own place of
//! its own transfer.

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use zeroize::Zeroizing;

use crate::key::{PublicKey, SecretKey};

/// The longest object, bytes.
pub const MAX_OBJECT: usize = 8 << 20;
/// What a piece has beyond its plaintext, bytes.
pub const OVERHEAD: usize = HEADER + TAG;
/// The most that one piece holds, bytes.
pub const MAX_PLAIN: usize = MAX_OBJECT - OVERHEAD;

const MAGIC: [u8; 4] = *b"SRT1";
const HEADER: usize = MAGIC.len() + 32;
const TAG: usize = 16;
const INFO: &[u8] = b"strongroom transfer 1";

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Holds data.
    Data,
    /// Lists the others; its number is their count.
    Manifest,
}

/// The key of one transfer.
pub(crate) struct TransferKey {
    key: LessSafeKey,
    header: [u8; HEADER],
}

impl TransferKey {
    /// The same for both sides: `own` is one's secret key, `writer` and
    /// `reader` are the public keys. `None` for a key that cannot be trusted.
    pub(crate) fn new(own: &SecretKey, writer: &PublicKey, reader: &PublicKey) -> Option<Self> {
        let other = if own.public() == *writer {
            reader
        } else {
            writer
        };
        let shared = own.agree(other)?;
        let mut salt = [0; 64];
        salt[..32].copy_from_slice(&writer.0);
        salt[32..].copy_from_slice(&reader.0);
        let secret = Salt::new(HKDF_SHA256, &salt).extract(&*shared);
        let mut bytes = Zeroizing::new([0; 32]);
        secret
            .expand(&[INFO], HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *bytes))
            .ok()?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*bytes).ok()?;
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(&MAGIC);
        header[MAGIC.len()..].copy_from_slice(&writer.0);
        Some(Self {
            key: LessSafeKey::new(key),
            header,
        })
    }

    /// Seals `plain`, of at most [`MAX_PLAIN`] bytes; `None` for more.
    pub(crate) fn seal(&self, role: Role, number: u32, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > MAX_PLAIN {
            return None;
        }
        let mut object = Vec::with_capacity(plain.len() + OVERHEAD);
        object.extend_from_slice(&self.header);
        object.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce(role, number),
                Aad::from(self.header),
                &mut object[HEADER..],
            )
            .ok()?;
        object.extend_from_slice(tag.as_ref());
        Some(object)
    }

    /// The plaintext; `None` when anything is wrong.
    pub(crate) fn open(&self, role: Role, number: u32, mut object: Vec<u8>) -> Option<Vec<u8>> {
        if object.len() > MAX_OBJECT || !object.starts_with(&self.header) {
            return None;
        }
        let length = self
            .key
            .open_in_place(
                nonce(role, number),
                Aad::from(self.header),
                &mut object[HEADER..],
            )
            .ok()?
            .len();
        object.truncate(HEADER + length);
        object.drain(..HEADER);
        Some(object)
    }
}

/// The writer's public key in a piece's header; `None` when it is no piece.
pub(crate) fn writer_of(object: &[u8]) -> Option<PublicKey> {
    let header = object.get(..HEADER)?;
    let key = header.strip_prefix(&MAGIC)?;
    Some(PublicKey(key.try_into().ok()?))
}

fn nonce(role: Role, number: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[0] = match role {
        Role::Data => 0,
        Role::Manifest => 1,
    };
    nonce[8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
