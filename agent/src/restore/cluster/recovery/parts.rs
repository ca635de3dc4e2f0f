//! Objects of the archive, fetched ahead and opened in order.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use strongroom_layout::{ObjectName, WalName};
use strongroom_repository::{
    Repository, RepositoryError,
    format::wal::{LONGEST_PART, WalCodec},
    read::{Damage, ReadError},
    store::StoreError,
};
use strongroom_wire::wal::UNIT;
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::RecoveryError;
use crate::restore::RestoreError;

/// Requests at once.
const AHEAD: usize = 8;
/// Bytes of a part that is opened, and of what comes of it, at most.
const OPENED: u64 = 2 * UNIT;

/// From where objects come, and until when.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) repository: Arc<Repository>,
    pub(super) runtime: Handle,
    pub(super) cancel: CancellationToken,
    /// Bytes of parts in memory at most, if a single one is not larger.
    pub(super) memory: u64,
}

/// An object of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) object: ObjectName,
    /// Bytes of it in the store.
    pub(super) length: u64,
}

/// Objects on their way, in the order in which they were asked for.
pub(super) struct Parts<'a> {
    shelf: &'a Shelf,
    codec: WalCodec,
    waiting: VecDeque<Wanted>,
    ahead: VecDeque<Request>,
}

/// A request under way; dropped, it is given up.
struct Request {
    wanted: Wanted,
    answer: JoinHandle<Result<Bytes, StoreError>>,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

/// An opened object.
pub(super) struct Opened {
    pub(super) plaintext: Vec<u8>,
    /// Bytes of it in the store.
    pub(super) stored: u64,
}

impl Shelf {
    /// Waits for `future`, but not beyond a cancel, which comes before any answer.
    pub(super) fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RestoreError> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(RestoreError::Cancelled),
                output = future => Ok(output),
            }
        })
    }
}

impl<'a> Parts<'a> {
    /// Blocks, as all methods do: for threads that are none of the runtime's.
    pub(super) fn new(
        shelf: &'a Shelf,
        wanted: impl IntoIterator<Item = Wanted>,
    ) -> Result<Self, RecoveryError> {
        Ok(Self {
            shelf,
            codec: WalCodec::new().map_err(ReadError::Codec)?,
            waiting: wanted.into_iter().collect(),
            ahead: VecDeque::new(),
        })
    }

    /// The next object, verified; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Opened>, RecoveryError> {
        self.ask();
        let Some(mut request) = self.ahead.pop_front() else {
            return Ok(None);
        };
        let object = request.wanted.object;
        let answer = self.shelf.block_on(&mut request.answer)?;
        let sealed = answer.map_err(ReadError::from)?.map_err(|error| {
            let error = ReadError::from_repository(object, RepositoryError::Store(error));
            RecoveryError::unread(object, error)
        })?;
        let stored = sealed.len() as u64;
        let plaintext = self.open(object, sealed)?;
        Ok(Some(Opened { plaintext, stored }))
    }

    fn ask(&mut self) {
        let most = self.shelf.memory.saturating_sub(OPENED);
        let mut bytes: u64 = self.ahead.iter().map(|it| it.wanted.length).sum();
        while self.ahead.len() < AHEAD {
            let fits = |next: &Wanted| bytes + next.length <= most;
            let next = self
                .waiting
                .front()
                .filter(|next| self.ahead.is_empty() || fits(next));
            let Some(wanted) = next.copied() else {
                break;
            };
            self.waiting.pop_front();
            bytes += wanted.length;
            let store = Arc::clone(self.shelf.repository.store());
            let get = async move { store.get(wanted.object, None).await };
            let answer = self.shelf.runtime.spawn(get);
            self.ahead.push_back(Request { wanted, answer });
        }
    }

    fn open(&mut self, object: ObjectName, sealed: Bytes) -> Result<Vec<u8>, RecoveryError> {
        let damaged = |damage| {
            let damage = Box::new(damage);
            RecoveryError::unread(object, ReadError::Damaged { object, damage })
        };
        let name: WalName = match object {
            ObjectName::Wal(name) => name,
            // Nothing else is asked for.
            _ => return Err(damaged(Damage::Missing)),
        };
        if sealed.len() as u64 > LONGEST_PART {
            let (got, expected) = (sealed.len() as u64, LONGEST_PART);
            return Err(damaged(Damage::Truncated { got, expected }));
        }
        let key = self.shelf.repository.key();
        let opened = self.codec.open(key, &name, sealed.into());
        opened.map_err(|error| damaged(Damage::Format(error)))
    }
}
