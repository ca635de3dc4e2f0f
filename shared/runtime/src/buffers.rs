//! The buffers: large memory, used again and again.
//!
//! Fresh memory is zeroed by the kernel, page by page, when it is first
//! touched: for the ranges of a restore that took longer than reading them.

use std::{
    mem,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller buffers come from the heap, which uses its memory again by itself.
const LARGE: usize = 512 << 10;

/// Buffers kept at most.
const KEPT: usize = 4;

/// A buffer larger than this is given back to the system.
const LARGEST: usize = 16 << 20;

/// Buffers of one kind of work. Cheap to clone; what is free goes with the last
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    free: Arc<Free>,
}

type Free = Mutex<Vec<Vec<u8>>>;

impl Buffers {
    /// An empty buffer with room for `length` bytes.
    pub fn buffer(&self, length: usize) -> Vec<u8> {
        if length < LARGE {
            return Vec::with_capacity(length);
        }
        let mut free = self.free.lock();
        // The last one returned: its memory is warm.
        let fitting = free.iter().rposition(|it| it.capacity() >= length);
        let mut buffer = fitting.map_or_else(Vec::new, |place| free.remove(place));
        drop(free);
        buffer.reserve_exact(length);
        buffer
    }

    /// Shares what lies in `buffer`, whose memory comes back here when nobody
    /// needs it any more.
    pub fn share(&self, buffer: Vec<u8>) -> Bytes {
        if (LARGE..=LARGEST).contains(&buffer.capacity()) {
            Bytes::from_owner(Lent {
                buffer,
                home: Arc::downgrade(&self.free),
            })
        } else {
            buffer.into()
        }
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Weak<Free>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(free) = self.home.upgrade() else {
            return;
        };
        let mut buffer = mem::take(&mut self.buffer);
        buffer.clear();
        let mut free = free.lock();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(bytes: &[u8]) -> usize {
        bytes.as_ptr().addr()
    }

    #[test]
    fn large_memory_is_used_again_once_nobody_reads_it() {
        let buffers = Buffers::default();
        let mut buffer = buffers.buffer(2 * LARGE);
        buffer.extend_from_slice(b"first");
        let first = buffers.share(buffer);
        let part = first.slice(1..3);
        let place = address(&first);
        drop(first);
        let meanwhile = buffers.buffer(LARGE);
        assert_ne!(address(&meanwhile), place, "a part of it is still read");
        assert_eq!(&part[..], b"ir");
        drop(part);
        let again = buffers.buffer(LARGE);
        assert_eq!(address(&again), place);
        assert!(again.is_empty());
        assert!(buffers.buffer(4 * LARGE).capacity() >= 4 * LARGE);
    }

    #[test]
    fn few_are_kept_and_none_that_is_huge() {
        let buffers = Buffers::default();
        let lent: Vec<_> = (0..2 * KEPT)
            .map(|_| buffers.share(buffers.buffer(LARGE)))
            .collect();
        drop(lent);
        assert_eq!(buffers.free.lock().len(), KEPT);
        buffers.free.lock().clear();
        drop(buffers.share(buffers.buffer(LARGEST + 1)));
        drop(buffers.share(buffers.buffer(LARGE - 1)));
        assert!(buffers.free.lock().is_empty());
    }

    #[test]
    fn what_is_shared_outlives_them() {
        let buffers = Buffers::default();
        let mut buffer = buffers.buffer(LARGE);
        buffer.push(7);
        let shared = buffers.share(buffer);
        drop(buffers);
        assert_eq!(&shared[..], [7]);
    }
}
