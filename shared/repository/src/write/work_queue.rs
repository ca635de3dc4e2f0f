//! Who does what next: a stack of the source's items and a queue of chunks.
//!
//! One lock guards both, so that a worker with nothing to do waits in one
//! place. Chunks come first, as somebody waits for them and they hold memory;
//! then the item pushed last, which keeps a walk deep rather than wide.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::halt::{Halt, Halted};
use crate::format::blob::BlobId;

/// A chunk of a large stream on its way to a worker.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Its bytes stand at the beginning.
    pub(super) buffer: Vec<u8>,
    pub(super) length: usize,
    /// Its place in the stream.
    pub(super) index: usize,
    pub(super) stream: Arc<Stream>,
}

/// The ids of a stream's chunks, which come in any order.
#[derive(Debug, Default)]
pub(super) struct Stream {
    ids: Mutex<Vec<Option<BlobId>>>,
}

impl Stream {
    /// Notes the id of a chunk.
    pub(super) fn set(&self, index: usize, id: BlobId) {
        let mut ids = self.ids.lock();
        if ids.len() <= index {
            ids.resize(index + 1, None);
        }
        if let Some(place) = ids.get_mut(index) {
            *place = Some(id);
        }
    }

    /// All of them, in order, when all `count` are there.
    fn complete(&self, count: usize) -> Option<Vec<BlobId>> {
        let ids = self.ids.lock();
        if ids.len() < count {
            return None;
        }
        ids.iter().copied().collect()
    }
}

/// What a worker is to do.
pub(super) enum Next<T> {
    Chunk(Chunk),
    Item(T),
    /// There is nothing left.
    Done,
}

struct State<T> {
    items: Vec<T>,
    chunks: VecDeque<Chunk>,
    queued_bytes: usize,
    /// Workers that have an item, and may bring more.
    busy: usize,
    /// Chunk buffers to use again.
    spare: Vec<Vec<u8>>,
}

/// The work of one run.
pub(super) struct Crew<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// Bytes of chunks that may wait.
    queue_limit: usize,
    halt: Arc<Halt>,
}

/// Larger chunk buffers are not kept.
const SPARE_SIZE: usize = 4 << 20;
/// No more chunk buffers are kept.
const SPARE_COUNT: usize = 8;

impl<T> Crew<T> {
    pub(super) fn new(first: T, queue_limit: usize, halt: Arc<Halt>) -> Self {
        Self {
            state: Mutex::new(State {
                items: vec![first],
                chunks: VecDeque::new(),
                queued_bytes: 0,
                busy: 0,
                spare: Vec::new(),
            }),
            changed: Condvar::new(),
            queue_limit,
            halt,
        }
    }

    /// Puts an item on top of the stack.
    pub(super) fn push(&self, item: T) {
        self.state.lock().items.push(item);
        self.changed.notify_one();
    }

    /// The next thing to do; waits while others may still bring some.
    pub(super) fn next(&self) -> Result<Next<T>, Halted> {
        let mut state = self.state.lock();
        loop {
            self.halt.check()?;
            if let Some(chunk) = state.pop_chunk() {
                return Ok(Next::Chunk(chunk));
            }
            if let Some(item) = state.items.pop() {
                state.busy += 1;
                return Ok(Next::Item(item));
            }
            if state.busy == 0 {
                self.changed.notify_all();
                return Ok(Next::Done);
            }
            self.changed.wait(&mut state);
        }
    }

    /// Says that an item from [`Crew::next`] is done.
    pub(super) fn item_done(&self) {
        let mut state = self.state.lock();
        state.busy -= 1;
        if state.busy == 0 && state.items.is_empty() {
            self.changed.notify_all();
        }
    }

    /// Queues a chunk; gives it back when the queue is full.
    pub(super) fn offer(&self, chunk: Chunk) -> Result<(), Chunk> {
        let mut state = self.state.lock();
        let fits = state.queued_bytes + chunk.length <= self.queue_limit;
        if !fits && !state.chunks.is_empty() {
            return Err(chunk);
        }
        state.queued_bytes += chunk.length;
        state.chunks.push_back(chunk);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Says that a chunk is done: its stream may be complete.
    pub(super) fn chunk_done(&self, buffer: Vec<u8>) {
        self.recycle(buffer);
        self.changed.notify_all();
    }

    /// Waits until a stream's `count` chunks are done. Gives a queued chunk
    /// instead, of whatever stream, when there is one: the caller helps.
    pub(super) fn join(&self, stream: &Stream, count: usize) -> Result<Joined, Halted> {
        let mut state = self.state.lock();
        loop {
            self.halt.check()?;
            if let Some(ids) = stream.complete(count) {
                return Ok(Joined::Complete(ids));
            }
            if let Some(chunk) = state.pop_chunk() {
                return Ok(Joined::Help(chunk));
            }
            self.changed.wait(&mut state);
        }
    }

    /// A chunk buffer, perhaps used before.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.state.lock().spare.pop().unwrap_or_default()
    }

    /// Keeps a chunk buffer for later.
    pub(super) fn recycle(&self, buffer: Vec<u8>) {
        let mut state = self.state.lock();
        if buffer.capacity() <= SPARE_SIZE && state.spare.len() < SPARE_COUNT {
            state.spare.push(buffer);
        }
    }

    /// Lets everybody who waits look whether the run has ended.
    pub(super) fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock()
    }
}

/// See [`Crew::join`].
pub(super) enum Joined {
    Complete(Vec<BlobId>),
    Help(Chunk),
}

impl<T> State<T> {
    fn pop_chunk(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.queued_bytes -= chunk.length;
        Some(chunk)
    }
}
