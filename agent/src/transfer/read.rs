//! Sealed pieces in the store into bytes.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use strongroom_layout::{ObjectId, ObjectName};
use strongroom_repository::store::{SharedStore, StoreError};
use strongroom_transfer::{Opener, SecretKey};
use tokio::runtime::Handle;

use super::{Request, TransferError};
use crate::monitor::Monitor;

/// Pieces asked for ahead of what has been read.
const AHEAD: usize = 2;

/// Fetches and opens pieces, in order. Blocks: to be used on a thread that is
/// none of the runtime's.
pub struct PieceReader {
    store: SharedStore,
    runtime: Handle,
    monitor: Arc<Monitor>,
    /// `None` once everything was read and found whole.
    opener: Option<Opener>,
    waiting: VecDeque<ObjectId>,
    under_way: VecDeque<(ObjectId, Request<Result<Bytes, StoreError>>)>,
    plain: Vec<u8>,
    position: usize,
    bytes: u64,
}

impl PieceReader {
    /// Starts from the manifest.
    pub fn open(
        store: SharedStore,
        runtime: Handle,
        monitor: Arc<Monitor>,
        own: &SecretKey,
        manifest: ObjectId,
    ) -> Result<Self, TransferError> {
        let bytes = get(&store, &runtime, manifest).wait(&runtime, &monitor)??;
        let opener = Opener::new(own, manifest, bytes.into())?;
        Ok(Self {
            store,
            runtime,
            monitor,
            waiting: opener.left().collect(),
            bytes: opener.bytes(),
            opener: Some(opener),
            under_way: VecDeque::new(),
            plain: Vec::new(),
            position: 0,
        })
    }

    /// How much there is to read.
    pub fn total(&self) -> u64 {
        self.bytes
    }

    /// Opens the next piece; `false` at the end, which only comes when all
    /// was there.
    fn next_piece(&mut self) -> Result<bool, TransferError> {
        while self.under_way.len() < AHEAD {
            let Some(id) = self.waiting.pop_front() else {
                break;
            };
            let request = get(&self.store, &self.runtime, id);
            self.under_way.push_back((id, request));
        }
        let Some((id, request)) = self.under_way.pop_front() else {
            return match self.opener.take() {
                Some(opener) => Ok(opener.finish().map(|()| false)?),
                None => Ok(false),
            };
        };
        let bytes = request.wait(&self.runtime, &self.monitor)??;
        if let Some(opener) = &mut self.opener {
            self.plain = opener.piece(id, bytes.into())?;
            self.position = 0;
        }
        Ok(true)
    }
}

fn get(store: &SharedStore, runtime: &Handle, id: ObjectId) -> Request<Result<Bytes, StoreError>> {
    let store = Arc::clone(store);
    Request::begin(
        runtime,
        Box::pin(async move { store.get(ObjectName::transfer(id), None).await }),
    )
}

impl io::Read for PieceReader {
    /// An error holds a [`TransferError`].
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.plain.len() {
            self.plain.clear();
            self.position = 0;
            if !self.next_piece().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
        let left = &self.plain[self.position..];
        let length = left.len().min(out.len());
        out[..length].copy_from_slice(&left[..length]);
        self.position += length;
        Ok(length)
    }
}
