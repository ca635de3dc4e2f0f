//! The reader's side.

use std::{collections::VecDeque, fmt};

use strongroom_layout::ObjectId;

use crate::{
    key::SecretKey,
    manifest::{Manifest, pieces_in},
    piece::{MAX_OBJECT, Role, TransferKey, writer_of},
    seal::id_of,
};

/// What was fetched is not what was sealed for this reader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The store holds something else under this name.
    #[error("object transfers/{0} is damaged: its bytes are not those that its name stands for")]
    Damaged(ObjectId),
    /// Not sealed for this reader, or not in this place.
    #[error(
        "object transfers/{0} was not sealed for this transfer and this place in it: start the \
         transfer anew"
    )]
    Foreign(ObjectId),
    /// Opened before its turn.
    #[error("object transfers/{0} is not the next one of its transfer")]
    Order(ObjectId),
    /// The pieces hold more or less than the manifest says.
    #[error("the transfer holds {got} bytes, but {expected} were announced: start it anew")]
    Size {
        /// As the manifest says.
        expected: u64,
        /// In the pieces.
        got: u64,
    },
}

/// Opens the pieces of one transfer, in order.
pub struct Opener {
    key: TransferKey,
    bytes: u64,
    opened: u64,
    next: u32,
    left: VecDeque<ObjectId>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("bytes", &self.bytes)
            .field("left", &self.left.len())
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// From the manifest's bytes, which were fetched as `id`.
    pub fn new(own: &SecretKey, id: ObjectId, manifest: Vec<u8>) -> Result<Self, OpenError> {
        check(id, &manifest)?;
        let opened = || {
            let count = pieces_in(manifest.len())?;
            let key = TransferKey::new(own, &writer_of(&manifest)?, &own.public())?;
            let plain = key.open(Role::Manifest, count, manifest)?;
            Some((key, Manifest::decode(&plain)?))
        };
        let (key, manifest) = opened().ok_or(OpenError::Foreign(id))?;
        Ok(Self {
            key,
            bytes: manifest.bytes,
            opened: 0,
            next: 0,
            left: manifest.pieces.into(),
        })
    }

    /// Plaintext of the whole transfer, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The pieces that are still to be opened, in order.
    pub fn left(&self) -> impl ExactSizeIterator<Item = ObjectId> + '_ {
        self.left.iter().copied()
    }

    /// Opens the next piece, which was fetched as `id`.
    pub fn piece(&mut self, id: ObjectId, bytes: Vec<u8>) -> Result<Vec<u8>, OpenError> {
        if self.left.front() != Some(&id) {
            return Err(OpenError::Order(id));
        }
        check(id, &bytes)?;
        let plain = self
            .key
            .open(Role::Data, self.next, bytes)
            .ok_or(OpenError::Foreign(id))?;
        self.left.pop_front();
        self.next += 1;
        self.opened += plain.len() as u64;
        if self.opened > self.bytes {
            return Err(self.wrong_size());
        }
        Ok(plain)
    }

    /// Says whether everything was there: to be asked before anything is made
    /// of it.
    pub fn finish(self) -> Result<(), OpenError> {
        match self.left.front() {
            Some(missing) => Err(OpenError::Order(*missing)),
            None if self.opened != self.bytes => Err(self.wrong_size()),
            None => Ok(()),
        }
    }

    fn wrong_size(&self) -> OpenError {
        OpenError::Size {
            expected: self.bytes,
            got: self.opened,
        }
    }
}

fn check(id: ObjectId, bytes: &[u8]) -> Result<(), OpenError> {
    if bytes.len() > MAX_OBJECT || id_of(bytes) != id {
        return Err(OpenError::Damaged(id));
    }
    Ok(())
}

#[cfg(test)]
impl Opener {
    /// As if the manifest named `id` at `place`, and all before it were open.
    pub(crate) fn forged(mut self, place: usize, id: ObjectId) -> Self {
        self.left.drain(..place);
        self.left[0] = id;
        self.next = u32::try_from(place).unwrap();
        self
    }
}
