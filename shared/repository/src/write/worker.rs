//! One thread's share of a run, with what it uses again for every blob.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    WriteError,
    crew::{Crew, Next},
    halt::Halted,
    membership::Claim,
    writer::Shared,
};
use crate::format::{
    FormatError,
    blob::{BlobId, BlobKind},
    blob_codec::{BlobCodec, blob_id},
};

/// What a handler of items works with; see [`super::Writer::run`].
pub struct Worker<'a, T> {
    pub(super) shared: Arc<Shared>,
    pub(super) crew: &'a Crew<T>,
    codec: BlobCodec,
    sealed: Vec<u8>,
}

impl<T> std::fmt::Debug for Worker<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

/// A sealed blob longer than this is rare; its memory is given back.
const KEEP_SEALED: usize = 4 << 20;

impl<'a, T> Worker<'a, T> {
    pub(super) fn new(shared: &Arc<Shared>, crew: &'a Crew<T>) -> Result<Self, FormatError> {
        Ok(Self {
            codec: BlobCodec::new(shared.level(BlobKind::Data))?,
            shared: Arc::clone(shared),
            crew,
            sealed: Vec::new(),
        })
    }

    /// Adds an item, to be done before those that wait.
    pub fn push(&self, item: T) {
        self.crew.push(item);
    }

    /// An error when the run has ended: look often, return at once.
    pub fn check(&self) -> Result<(), Halted> {
        self.shared.halt.check()
    }

    /// Ends the run with nothing to show for it.
    pub fn fail(&self, error: WriteError) -> Halted {
        self.shared.halt.fail(error)
    }

    /// Whether a blob is stored, or being stored in this run.
    pub fn knows(&self, kind: BlobKind, id: BlobId) -> bool {
        self.shared.membership.contains(kind, id)
    }

    /// Stores a blob unless it is known; gives its id. It is durable and
    /// listed once [`super::Writer::finish`] returns.
    pub fn save(&mut self, kind: BlobKind, plaintext: &[u8]) -> Result<BlobId, Halted> {
        let shared = Arc::clone(&self.shared);
        shared.halt.check()?;
        let id = blob_id(plaintext);
        if shared.membership.claim(kind, id) == Claim::Known {
            return Ok(id);
        }
        self.sealed.clear();
        self.sealed.shrink_to(KEEP_SEALED);
        let codec = &mut self.codec;
        let form = codec
            .set_level(shared.level(kind))
            .and_then(|()| codec.seal(&shared.key, kind, plaintext, &mut self.sealed))
            .map_err(|source| {
                shared.halt.fail(WriteError::Format {
                    what: "a blob",
                    source,
                })
            })?;
        shared.add(kind, id, &self.sealed, form)?;
        shared.blobs.fetch_add(1, Relaxed);
        shared
            .plain_bytes
            .fetch_add(plaintext.len() as u64, Relaxed);
        Ok(id)
    }

    /// Works until there is nothing left.
    pub(super) fn work<F>(&mut self, handler: &F) -> Result<(), Halted>
    where
        F: Fn(&mut Self, T) -> Result<(), Halted>,
    {
        loop {
            match self.crew.next()? {
                Next::Chunk(chunk) => self.save_chunk(chunk)?,
                Next::Item(item) => {
                    handler(self, item)?;
                    self.crew.item_done();
                }
                Next::Done => return Ok(()),
            }
        }
    }
}
