//! The envelope that every stored byte lies in.
//!
//! `IV (16, random, non-zero) ‖ ciphertext ‖ MAC (16)`: AES-256-CTR with the
//! IV as the initial 128-bit big-endian counter; Poly1305 over the ciphertext
//! only, with the one-time key `r ‖ AES-128_k(IV)`. No associated data.
//!
//! Source: restic `doc/design.rst`, "Keys, Encryption and MAC".

use std::fmt;

use aes::{
    Aes128, Aes256,
    cipher::{Block, BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher},
};
use ctr::{Ctr128BE, CtrCore, cipher::StreamCipherCoreWrapper, flavors};
use poly1305::Poly1305;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{FormatError, sha256::Sha256};

/// Bytes of the IV before the ciphertext.
pub const IV_LENGTH: usize = 16;
/// Bytes of the MAC behind it.
pub const MAC_LENGTH: usize = 16;
/// Bytes that an envelope adds to its plaintext.
pub const ENVELOPE_OVERHEAD: usize = IV_LENGTH + MAC_LENGTH;

/// Separates the chunker's secret from every other use of the key.
const CHUNKER_LABEL: &[u8] = b"strongroom/v1/chunker gear table";
/// And so the key of digests of log.
const WAL_DIGEST_LABEL: &[u8] = b"strongroom/v1/digests of the write-ahead log";

/// The bytes of a key, as they are stored: AES-256 key, then Poly1305's `k`
/// and `r`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct KeyBytes {
    pub(super) encrypt: [u8; 32],
    pub(super) mac_k: [u8; 16],
    pub(super) mac_r: [u8; 16],
}

/// Seals and opens everything in one repository; also the key that a password
/// gives. Holds expanded key schedules, so share it rather than rebuild it.
#[derive(Clone)]
pub struct MasterKey {
    bytes: KeyBytes,
    cipher: Aes256,
    mac: Aes128,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// A new random key.
    pub fn generate() -> Result<Self, FormatError> {
        let mut bytes = Zeroizing::new([0; 64]);
        getrandom::fill(&mut bytes[..])?;
        Ok(Self::from_bytes(&bytes))
    }

    /// From 64 bytes in scrypt's order: 32 AES, 16 `k`, 16 `r`.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = KeyBytes {
            encrypt: [0; 32],
            mac_k: [0; 16],
            mac_r: [0; 16],
        };
        key.encrypt.copy_from_slice(&bytes[..32]);
        key.mac_k.copy_from_slice(&bytes[32..48]);
        key.mac_r.copy_from_slice(&bytes[48..]);
        Self::from_key_bytes(key)
    }

    pub(super) fn from_key_bytes(bytes: KeyBytes) -> Self {
        Self {
            cipher: Aes256::new(&bytes.encrypt.into()),
            mac: Aes128::new(&bytes.mac_k.into()),
            bytes,
        }
    }

    pub(super) fn key_bytes(&self) -> &KeyBytes {
        &self.bytes
    }

    /// 32 secret bytes for the chunker's gear table: with a public table the
    /// sizes of chunks would tell what they hold.
    pub fn chunker_secret(&self) -> Zeroizing<[u8; 32]> {
        self.derived(CHUNKER_LABEL)
    }

    /// The secret key of [`WalDigester`](super::wal_digest::WalDigester): whoever
    /// sees its digests must not be able to try what they are of.
    pub(super) fn wal_digest_key(&self) -> Zeroizing<[u8; 32]> {
        self.derived(WAL_DIGEST_LABEL)
    }

    fn derived(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut hasher = Sha256::default();
        hasher.update(label);
        hasher.update(&self.bytes.encrypt);
        hasher.update(&self.bytes.mac_k);
        hasher.update(&self.bytes.mac_r);
        Zeroizing::new(hasher.finish().0)
    }

    /// The envelope of `plaintext`.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, FormatError> {
        let mut out = Vec::with_capacity(plaintext.len() + ENVELOPE_OVERHEAD);
        self.seal_into(&mut out, plaintext)?;
        Ok(out)
    }

    /// Appends the envelope of `plaintext` to `out`.
    pub fn seal_into(&self, out: &mut Vec<u8>, plaintext: &[u8]) -> Result<(), FormatError> {
        out.reserve(plaintext.len() + ENVELOPE_OVERHEAD);
        let start = out.len();
        out.extend_from_slice(&[0; IV_LENGTH]);
        out.extend_from_slice(plaintext);
        self.seal_tail(out, start)
    }

    /// Makes an envelope of the end of `out`: from `start` on lie
    /// [`IV_LENGTH`] bytes of any value, then the plaintext, which is
    /// encrypted where it lies.
    ///
    /// # Panics
    /// When `out` holds fewer than `start + IV_LENGTH` bytes.
    pub(super) fn seal_tail(&self, out: &mut Vec<u8>, start: usize) -> Result<(), FormatError> {
        let iv = random_iv()?;
        let (iv_place, text) = out[start..].split_at_mut(IV_LENGTH);
        iv_place.copy_from_slice(&iv);
        self.apply_keystream(&iv, text);
        let mac = self.mac(&iv, text);
        out.extend_from_slice(&mac);
        Ok(())
    }

    /// Verifies and decrypts an envelope where it lies; gives the plaintext
    /// inside it. On an error nothing was decrypted.
    pub fn open<'a>(&self, envelope: &'a mut [u8]) -> Result<&'a mut [u8], FormatError> {
        let length = envelope.len();
        let too_short = || FormatError::EnvelopeTooShort { length };
        let (iv, rest) = envelope
            .split_first_chunk_mut::<IV_LENGTH>()
            .ok_or_else(too_short)?;
        let (text, mac) = rest
            .split_last_chunk_mut::<MAC_LENGTH>()
            .ok_or_else(too_short)?;
        if !bool::from(self.mac(iv, text).ct_eq(mac)) {
            return Err(FormatError::WrongMac);
        }
        self.apply_keystream(iv, text);
        Ok(text)
    }

    /// Verifies an envelope and appends its plaintext to `out`.
    pub fn open_into(&self, envelope: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let length = envelope.len();
        let too_short = || FormatError::EnvelopeTooShort { length };
        let (iv, rest) = envelope
            .split_first_chunk::<IV_LENGTH>()
            .ok_or_else(too_short)?;
        let (text, mac) = rest
            .split_last_chunk::<MAC_LENGTH>()
            .ok_or_else(too_short)?;
        if !bool::from(self.mac(iv, text).ct_eq(mac)) {
            return Err(FormatError::WrongMac);
        }
        let start = out.len();
        out.extend_from_slice(text);
        self.apply_keystream(iv, &mut out[start..]);
        Ok(())
    }

    fn apply_keystream(&self, iv: &[u8; IV_LENGTH], text: &mut [u8]) {
        let core =
            CtrCore::<&Aes256, flavors::Ctr128BE>::inner_iv_init(&self.cipher, &(*iv).into());
        let mut stream: Ctr128BE<&Aes256> = StreamCipherCoreWrapper::from_core(core);
        stream.apply_keystream(text);
    }

    fn mac(&self, iv: &[u8; IV_LENGTH], ciphertext: &[u8]) -> [u8; MAC_LENGTH] {
        let mut nonce: Block<Aes128> = (*iv).into();
        self.mac.encrypt_block(&mut nonce);
        let mut one_time = Zeroizing::new([0; 32]);
        one_time[..16].copy_from_slice(&self.bytes.mac_r);
        one_time[16..].copy_from_slice(&nonce);
        nonce.zeroize();
        Poly1305::new(&(*one_time).into())
            .compute_unpadded(ciphertext)
            .into()
    }
}

/// restic refuses an IV of zeros, so never make one.
fn random_iv() -> Result<[u8; IV_LENGTH], FormatError> {
    let mut iv = [0; IV_LENGTH];
    while iv == [0; IV_LENGTH] {
        getrandom::fill(&mut iv)?;
    }
    Ok(iv)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes(&std::array::from_fn(|i| i as u8))
    }

    /// AES-CTR block by block with an explicit 128-bit counter.
    fn reference_keystream(key: &MasterKey, iv: [u8; 16], text: &mut [u8]) {
        let mut counter = u128::from_be_bytes(iv);
        for chunk in text.chunks_mut(16) {
            let mut block: Block<Aes256> = counter.to_be_bytes().into();
            key.cipher.encrypt_block(&mut block);
            for (byte, mask) in chunk.iter_mut().zip(block) {
                *byte ^= mask;
            }
            counter = counter.wrapping_add(1);
        }
    }

    #[test]
    fn the_counter_carries_through_all_128_bits() {
        let key = key();
        for iv in [u128::from(u64::MAX) - 2, u128::MAX - 2] {
            let iv = iv.to_be_bytes();
            let mut expected = vec![7; 200];
            let mut got = expected.clone();
            reference_keystream(&key, iv, &mut expected);
            key.apply_keystream(&iv, &mut got);
            assert_eq!(got, expected);
        }
    }

    // restic `internal/crypto/crypto_int_test.go`, poly1305Tests.
    #[test]
    fn the_mac_is_that_of_restic() {
        let hex = |text: &str| {
            data_encoding::HEXLOWER
                .decode(text.as_bytes())
                .expect("test vector")
        };
        let mut bytes = [0; 64];
        bytes[32..48].copy_from_slice(&hex("ec074c835580741701425b623235add6"));
        bytes[48..].copy_from_slice(&hex("851fc40c3467ac0be05cc20404f3f700"));
        let nonce: [u8; 16] = hex("fb447350c4e868c52ac3275cf9d4327e")
            .try_into()
            .expect("16 bytes");
        let mac = MasterKey::from_bytes(&bytes).mac(&nonce, &[0xf3, 0xf6]);
        assert_eq!(mac[..], hex("f4c633c3044fc145f84f335cb81953de"));
    }

    #[test]
    fn debug_does_not_tell_the_key() {
        assert_eq!(format!("{:?}", key()), "MasterKey(…)");
    }

    #[test]
    fn the_chunker_secret_depends_on_the_key_alone() {
        assert_eq!(key().chunker_secret(), key().chunker_secret());
        let other = MasterKey::generate().unwrap();
        assert_ne!(key().chunker_secret(), other.chunker_secret());
    }

    #[test]
    fn short_envelopes_are_refused() {
        for length in 0..ENVELOPE_OVERHEAD {
            let mut bytes = vec![1; length];
            assert!(matches!(
                key().open(&mut bytes),
                Err(FormatError::EnvelopeTooShort { .. })
            ));
            assert!(matches!(
                key().open_into(&bytes, &mut Vec::new()),
                Err(FormatError::EnvelopeTooShort { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn envelopes_round_trip(plaintext: Vec<u8>, before: Vec<u8>) {
            let key = key();
            let mut out = before.clone();
            key.seal_into(&mut out, &plaintext).unwrap();
            prop_assert_eq!(&out[..before.len()], &before[..]);
            prop_assert_eq!(out.len(), before.len() + plaintext.len() + ENVELOPE_OVERHEAD);
            let mut copied = before.clone();
            key.open_into(&out[before.len()..], &mut copied).unwrap();
            prop_assert_eq!(&copied[before.len()..], &plaintext[..]);
            prop_assert_eq!(key.open(&mut out[before.len()..]).unwrap(), &plaintext[..]);
        }

        #[test]
        fn any_flipped_bit_is_noticed(plaintext: Vec<u8>, place: prop::sample::Index, bit in 0..8u8) {
            let key = key();
            let mut sealed = key.seal(&plaintext).unwrap();
            let place = place.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert!(matches!(key.open_into(&sealed, &mut Vec::new()), Err(FormatError::WrongMac)));
            let damaged = sealed.clone();
            prop_assert!(matches!(key.open(&mut sealed), Err(FormatError::WrongMac)));
            prop_assert_eq!(damaged, sealed);
        }

        #[test]
        fn another_key_opens_nothing(plaintext: Vec<u8>) {
            let sealed = MasterKey::generate().unwrap().seal(&plaintext).unwrap();
            prop_assert!(matches!(key().open_into(&sealed, &mut Vec::new()), Err(FormatError::WrongMac)));
        }
    }
}
