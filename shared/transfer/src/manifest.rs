//! What the manifest says: `bytes (u64, big endian) | ids (32 bytes each)`.

use strongroom_layout::ObjectId;

use crate::piece::MAX_PLAIN;

/// The most pieces of one transfer: as many as one manifest names.
pub const MAX_PIECES: u32 = ((MAX_PLAIN - BYTES) / ID) as u32;

const BYTES: usize = 8;
const ID: usize = 32;

/// The pieces of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Plaintext of all pieces.
    pub(crate) bytes: u64,
    /// In order.
    pub(crate) pieces: Vec<ObjectId>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(BYTES + ID * self.pieces.len());
        encoded.extend_from_slice(&self.bytes.to_be_bytes());
        for piece in &self.pieces {
            encoded.extend_from_slice(&piece.0);
        }
        encoded
    }

    pub(crate) fn decode(encoded: &[u8]) -> Option<Self> {
        let (bytes, ids) = encoded.split_at_checked(BYTES)?;
        let (ids, rest) = ids.as_chunks::<ID>();
        rest.is_empty().then_some(())?;
        Some(Self {
            bytes: u64::from_be_bytes(bytes.try_into().ok()?),
            pieces: ids.iter().copied().map(ObjectId).collect(),
        })
    }
}

/// How many pieces a sealed manifest of `length` bytes lists; the reader needs
/// it before it can open the manifest.
pub(crate) fn pieces_in(length: usize) -> Option<u32> {
    let ids = length.checked_sub(crate::piece::OVERHEAD + BYTES)?;
    (ids % ID == 0)
        .then(|| u32::try_from(ids / ID).ok())
        .flatten()
}
