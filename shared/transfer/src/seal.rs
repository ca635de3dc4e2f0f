//! The writer's side.

use ring::digest::{SHA256, digest};
use strongroom_layout::ObjectId;

use crate::{
    key::{PublicKey, SecretKey},
    manifest::{MAX_PIECES, Manifest},
    piece::{MAX_PLAIN, Role, TransferKey},
};

/// An object to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// SHA-256 of the bytes: its name.
    pub id: ObjectId,
    /// At most [`MAX_OBJECT`](crate::MAX_OBJECT) of them.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.id.short(), self.bytes.len())
    }
}

/// Nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The operating system gives none.
    #[error("no randomness from the operating system: {0}")]
    Random(#[from] getrandom::Error),
    /// With such a key everybody could read along.
    #[error("the reader's public key is none that can be used: let the reader make another")]
    PublicKey,
    /// More than [`MAX_PLAIN`] at once.
    #[error("a piece of {0} bytes is too large: {MAX_PLAIN} are the most")]
    PieceTooLarge(usize),
    /// More than [`MAX_BYTES`](crate::MAX_BYTES).
    #[error("more than {MAX_PIECES} pieces: transfer less at once")]
    TooManyPieces,
}

/// Seals one transfer.
pub struct Sealer {
    key: TransferKey,
    manifest: Manifest,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("pieces", &self.manifest.pieces.len())
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// A new transfer to `reader`.
    pub fn new(reader: &PublicKey) -> Result<Self, SealError> {
        let own = SecretKey::generate()?;
        let key = TransferKey::new(&own, &own.public(), reader).ok_or(SealError::PublicKey)?;
        Ok(Self {
            key,
            manifest: Manifest {
                bytes: 0,
                pieces: Vec::new(),
            },
        })
    }

    /// Seals the next piece: up to [`MAX_PLAIN`] bytes, and that many but for
    /// the last if the transfer is not to have more pieces than it must.
    pub fn piece(&mut self, plain: &[u8]) -> Result<Sealed, SealError> {
        let number = self.pieces();
        if number >= MAX_PIECES {
            return Err(SealError::TooManyPieces);
        }
        let sealed = self.seal(Role::Data, number, plain)?;
        self.manifest.pieces.push(sealed.id);
        self.manifest.bytes += plain.len() as u64;
        Ok(sealed)
    }

    /// Plaintext so far, bytes.
    pub fn bytes(&self) -> u64 {
        self.manifest.bytes
    }

    /// Pieces so far, without the manifest.
    pub fn pieces(&self) -> u32 {
        // Never more than MAX_PIECES.
        self.manifest.pieces.len() as u32
    }

    /// The manifest, without which nothing can be opened.
    pub fn finish(self) -> Result<Sealed, SealError> {
        self.seal(Role::Manifest, self.pieces(), &self.manifest.encode())
    }

    fn seal(&self, role: Role, number: u32, plain: &[u8]) -> Result<Sealed, SealError> {
        let bytes = self
            .key
            .seal(role, number, plain)
            .ok_or(SealError::PieceTooLarge(plain.len()))?;
        let id = id_of(&bytes);
        Ok(Sealed { id, bytes })
    }
}

/// The name of an object.
pub(crate) fn id_of(bytes: &[u8]) -> ObjectId {
    let hash = digest(&SHA256, bytes);
    let mut id = [0; 32];
    id.copy_from_slice(hash.as_ref());
    ObjectId(id)
}
