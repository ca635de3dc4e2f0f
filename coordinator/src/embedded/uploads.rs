//! The ledger of unfinished uploads: one for each key, and so many bytes of
//! them together. A grant can be sent as often as its time allows; what lies on
//! the disk without a name must not grow with that.
//!
//! Of the room that is left nobody takes more than half: whoever writes to a
//! repository may have as much under way as then stays free (the "dynamic threshold"
//! of shared buffers, Choudhury and Hahne 1998). One that declares much and sends
//! little keeps half of the room busy, and nobody out.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

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
    /// By repository.
    shares: HashMap<Repository, u64>,
}

/// Bucket and path.
type Repository = (String, Vec<String>);

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
    /// Those under way in the same repository are as large as what is left.
    Share,
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
        let repository = repository(key);
        let before = unfinished.shares.get(&repository).copied().unwrap_or(0);
        let share = before.saturating_add(bytes);
        if !unfinished.keys.is_empty() {
            if together > self.most {
                return Err(Busy::Bytes);
            }
            if share > self.most - together {
                return Err(Busy::Share);
            }
        }
        unfinished.bytes = together;
        unfinished.keys.insert(key.clone());
        unfinished.shares.insert(repository, share);
        Ok(Entry {
            uploads: Arc::clone(self),
            key: key.clone(),
            bytes,
        })
    }
}

fn repository(key: &Key) -> Repository {
    let (bucket, path) = key.repository();
    (bucket.to_owned(), path.to_vec())
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut unfinished = self.uploads.unfinished.lock();
        unfinished.keys.remove(&self.key);
        unfinished.bytes = unfinished.bytes.saturating_sub(self.bytes);
        let repository = repository(&self.key);
        if let Some(share) = unfinished.shares.get_mut(&repository) {
            *share = share.saturating_sub(self.bytes);
            if *share == 0 {
                unfinished.shares.remove(&repository);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::parse("bucket", name).unwrap()
    }

    #[test]
    fn a_key_is_uploaded_once_at_a_time_and_all_have_a_bound_together() {
        let uploads = Uploads::new(100);
        let first = uploads.enter(&key("a/config"), 60).unwrap();
        assert_eq!(uploads.enter(&key("a/config"), 1).unwrap_err(), Busy::Key);
        assert_eq!(
            uploads.enter(&key("b/config"), 41).unwrap_err(),
            Busy::Bytes
        );
        let second = uploads.enter(&key("b/config"), 20).unwrap();
        drop(first);
        let third = uploads.enter(&key("a/config"), 40).unwrap();
        drop((second, third));
        let large = uploads.enter(&key("c"), 101).unwrap();
        assert_eq!(uploads.enter(&key("d"), 0).unwrap_err(), Busy::Bytes);
        drop(large);
        drop(uploads.enter(&key("d"), u64::MAX).unwrap());
        assert!(uploads.unfinished.lock().shares.is_empty());
    }

    #[test]
    fn whoever_declares_much_leaves_room_for_others() {
        let uploads = Uploads::new(1_000);
        let mut held = Vec::new();
        let mut fill = |repository: &str| {
            for n in 0.. {
                let key = key(&format!("{repository}/data/ab/{n}"));
                match uploads.enter(&key, 10) {
                    Ok(entry) => held.push(entry),
                    Err(busy) => {
                        assert_eq!(busy, Busy::Share);
                        return n * 10;
                    }
                }
            }
            unreachable!("it has a bound")
        };
        // Half of all, half of the rest, and so on.
        let taken = ["thief", "web-1", "web-2"].map(&mut fill);
        assert_eq!(taken, [500, 250, 120]);
        assert!(uploads.enter(&key("web-3/config"), 60).is_ok());
        held.clear();
        assert!(uploads.enter(&key("web-3/config"), 400).is_ok());
    }
}
