//! A fixed number of pack buffers, used again and again: the bound on memory.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::halt::{Halt, Halted};

/// Buffers for packs of one kind.
#[derive(Debug)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    returned: Condvar,
    /// What a buffer is made for, in bytes.
    capacity: usize,
    halt: Arc<Halt>,
}

impl Buffers {
    /// `count` buffers; their memory is taken on first use.
    pub(super) fn new(count: usize, capacity: usize, halt: Arc<Halt>) -> Self {
        Self {
            free: Mutex::new(std::iter::repeat_with(Vec::new).take(count).collect()),
            returned: Condvar::new(),
            capacity,
            halt,
        }
    }

    /// An empty buffer; waits for one to come back.
    pub(super) fn take(&self) -> Result<Vec<u8>, Halted> {
        let mut free = self.free.lock();
        loop {
            self.halt.check()?;
            // The last one returned: its memory is warm.
            if let Some(mut buffer) = free.pop() {
                drop(free);
                buffer.clear();
                buffer.reserve(self.capacity);
                return Ok(buffer);
            }
            self.returned.wait(&mut free);
        }
    }

    /// Whether all of them are filled or being uploaded: whoever needs one now
    /// has to wait for the store.
    pub(super) fn are_out(&self) -> bool {
        self.free.lock().is_empty()
    }

    /// Gives the buffer of a pack back. One that had to grow, or that somebody
    /// still holds, is let go and made anew.
    pub(super) fn give_back(&self, bytes: Bytes) {
        let buffer = if bytes.is_unique() {
            Vec::from(bytes)
        } else {
            Vec::new()
        };
        let buffer = if buffer.capacity() > self.capacity + self.capacity / 4 {
            Vec::new()
        } else {
            buffer
        };
        self.free.lock().push(buffer);
        self.returned.notify_one();
    }

    /// Lets everybody who waits look whether the run has ended.
    pub(super) fn wake(&self) {
        drop(self.free.lock());
        self.returned.notify_all();
    }
}
