//! One thread's share of a run, with what it uses again for every blob.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    WriteError,
    compression_level::{Effort, Efforts, QUICK},
    halt::Halted,
    membership::Claim,
    work_queue::{Crew, Next},
    writer::Shared,
};
use crate::format::{
    FormatError,
    blob::{BlobId, BlobKind},
    blob_codec::{BlobCodec, SealedBlob, blob_id},
};

/// What a handler of items works with; see [`super::Writer::run`].
pub struct Worker<'a, T> {
    pub(super) shared: Arc<Shared>,
    pub(super) crew: &'a Crew<T>,
    codec: BlobCodec,
    efforts: Efforts,
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
            efforts: Efforts::default(),
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
        let form = self.seal(kind, plaintext).map_err(|source| {
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

    /// Makes `self.sealed` the stored form of a blob.
    fn seal(&mut self, kind: BlobKind, plaintext: &[u8]) -> Result<SealedBlob, FormatError> {
        let level = self.shared.level(kind);
        let effort = match kind {
            BlobKind::Data if level > QUICK => self.efforts.next(),
            // Few bytes, read often.
            BlobKind::Data | BlobKind::Tree => Effort::Full,
        };
        match effort {
            Effort::Quick => self.seal_at(QUICK, kind, plaintext),
            Effort::Full => self.seal_at(level, kind, plaintext),
            Effort::Trial => {
                let quick = self.seal_at(QUICK, kind, plaintext)?;
                let full = self.seal_at(level, kind, plaintext)?;
                self.efforts.learn(quick.length, full.length);
                Ok(full)
            }
        }
    }

    fn seal_at(
        &mut self,
        level: i32,
        kind: BlobKind,
        plaintext: &[u8],
    ) -> Result<SealedBlob, FormatError> {
        self.sealed.clear();
        self.sealed.shrink_to(KEEP_SEALED);
        self.codec.set_level(level)?;
        self.codec
            .seal(&self.shared.key, kind, plaintext, &mut self.sealed)
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
