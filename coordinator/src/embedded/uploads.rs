//! The ledger of unfinished uploads: one for each key, and so many bytes of
//! them together. A grant can be sent as often as its time allows; what lies on
//! the disk without a name must not grow with that.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;

use super::key::Key;

/// What is being uploaded.
#[derive(Debug)]
pub(super) struct Uploads {
    most: u64,
    unfinished: Mutex<Unfinished>,
}

#[derive(Debug, Default)]
struct Unfinished {
    keys: HashSet<Key>,
    bytes: u64,
}

/// An upload's entry in the ledger, until it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    uploads: Arc<Uploads>,
    key: Key,
    bytes: u64,
}

/// Why an upload cannot begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    /// Another one of the same key is under way.
    Key,
    /// Those under way are as large as they may be together.
    Bytes,
}

impl Uploads {
    /// `most`: bytes of all unfinished uploads together. One alone may be
    /// larger.
    pub(super) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self {
            most,
            unfinished: Mutex::default(),
        })
    }

    /// Enters an upload of so many bytes.
    pub(super) fn enter(self: &Arc<Self>, key: &Key, bytes: u64) -> Result<Entry, Busy> {
        let mut unfinished = self.unfinished.lock();
        if unfinished.keys.contains(key) {
            return Err(Busy::Key);
        }
        let together = unfinished.bytes.saturating_add(bytes);
        if together > self.most && !unfinished.keys.is_empty() {
            return Err(Busy::Bytes);
        }
        unfinished.bytes = together;
        unfinished.keys.insert(key.clone());
        Ok(Entry {
            uploads: Arc::clone(self),
            key: key.clone(),
            bytes,
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut unfinished = self.uploads.unfinished.lock();
        unfinished.keys.remove(&self.key);
        unfinished.bytes = unfinished.bytes.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_uploaded_once_at_a_time_and_all_have_a_bound_together() {
        let uploads = Uploads::new(100);
        let key = |name: &str| Key::parse("bucket", name).unwrap();
        let first = uploads.enter(&key("a"), 60).unwrap();
        assert_eq!(uploads.enter(&key("a"), 1).unwrap_err(), Busy::Key);
        assert_eq!(uploads.enter(&key("b"), 41).unwrap_err(), Busy::Bytes);
        let second = uploads.enter(&key("b"), 40).unwrap();
        drop(first);
        let third = uploads.enter(&key("a"), 60).unwrap();
        drop((second, third));
        let large = uploads.enter(&key("c"), 101).unwrap();
        assert_eq!(uploads.enter(&key("d"), 0).unwrap_err(), Busy::Bytes);
        drop(large);
        uploads.enter(&key("d"), u64::MAX).unwrap();
    }
}
