//! Bytes into sealed pieces in the store.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use strongroom_layout::{ObjectId, ObjectName};
use strongroom_repository::store::{Body, SharedStore, StoreError};
use strongroom_transfer::{MAX_PLAIN, PublicKey, Sealed, Sealer};
use tokio::runtime::Handle;

use super::{Request, TransferError};
use crate::monitor::Monitor;

/// Pieces on their way at once; with the one being filled some 30 MiB.
const AHEAD: usize = 2;

/// Cuts, seals and stores what is written. Blocks: to be used on a thread that
/// is none of the runtime's. Nothing can be opened before [`finish`].
///
/// [`finish`]: PieceWriter::finish
pub struct PieceWriter {
    store: SharedStore,
    runtime: Handle,
    monitor: Arc<Monitor>,
    sealer: Sealer,
    plain: Vec<u8>,
    under_way: VecDeque<Request<Result<(), StoreError>>>,
}

impl PieceWriter {
    /// For one transfer to `reader`.
    pub fn new(
        store: SharedStore,
        runtime: Handle,
        monitor: Arc<Monitor>,
        reader: &PublicKey,
    ) -> Result<Self, TransferError> {
        Ok(Self {
            store,
            runtime,
            monitor,
            sealer: Sealer::new(reader)?,
            plain: Vec::new(),
            under_way: VecDeque::new(),
        })
    }

    /// Stores the rest and the manifest; gives the manifest's name and how
    /// many bytes were written.
    pub fn finish(mut self) -> Result<(ObjectId, u64), TransferError> {
        if !self.plain.is_empty() {
            self.piece()?;
        }
        while self.settle()? {}
        let bytes = self.sealer.bytes();
        let manifest = self.sealer.finish()?;
        let id = manifest.id;
        let put = Request::begin(&self.runtime, put(self.store, manifest));
        put.wait(&self.runtime, &self.monitor)??;
        Ok((id, bytes))
    }

    fn piece(&mut self) -> Result<(), TransferError> {
        while self.under_way.len() >= AHEAD {
            self.settle()?;
        }
        let sealed = self.sealer.piece(&self.plain)?;
        self.monitor
            .bytes_stored
            .fetch_add(sealed.bytes.len() as u64, Relaxed);
        self.plain.clear();
        let put = put(Arc::clone(&self.store), sealed);
        self.under_way.push_back(Request::begin(&self.runtime, put));
        Ok(())
    }

    /// Waits for the oldest piece; `false`: none is on its way.
    fn settle(&mut self) -> Result<bool, TransferError> {
        let Some(oldest) = self.under_way.pop_front() else {
            return Ok(false);
        };
        oldest.wait(&self.runtime, &self.monitor)??;
        Ok(true)
    }
}

fn put(
    store: SharedStore,
    sealed: Sealed,
) -> futures::future::BoxFuture<'static, Result<(), StoreError>> {
    Box::pin(async move {
        let body = Body::hashed(vec![sealed.bytes.into()], sealed.id);
        store.put(ObjectName::transfer(sealed.id), body).await
    })
}

impl io::Write for PieceWriter {
    /// An error holds a [`TransferError`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.monitor.cancel.is_cancelled() {
            return Err(io::Error::other(TransferError::Cancelled));
        }
        if self.plain.len() == MAX_PLAIN {
            self.piece().map_err(io::Error::other)?;
        }
        let taken = bytes.len().min(MAX_PLAIN - self.plain.len());
        self.plain.extend_from_slice(&bytes[..taken]);
        self.monitor.bytes.fetch_add(taken as u64, Relaxed);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
