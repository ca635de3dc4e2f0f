//! A small map that forgets what was used least recently.

use std::{collections::HashMap, hash::Hash};

/// Keeps at most `capacity` values. Forgetting looks at all of them: meant for
/// up to some hundred expensive ones (descriptors, megabytes).
#[derive(Debug)]
pub struct Recent<K, V> {
    capacity: usize,
    clock: u64,
    values: HashMap<K, (u64, V)>,
}

impl<K: Eq + Hash + Copy, V: Clone> Recent<K, V> {
    /// Empty; `capacity` is at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            clock: 0,
            values: HashMap::new(),
        }
    }

    /// The value, which becomes the most recent.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (used, value) = self.values.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    /// Adds a value and forgets the least recent when there are too many.
    pub fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        self.values.insert(key, (self.clock, value));
        if self.values.len() > self.capacity {
            let oldest = self.values.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.values.remove(&key);
            }
        }
    }

    /// Forgets a value.
    pub fn remove(&mut self, key: &K) {
        self.values.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recent_is_forgotten() {
        let mut recent = Recent::new(2);
        recent.insert(1, "a");
        recent.insert(2, "b");
        assert_eq!(recent.get(&1), Some("a"));
        recent.insert(3, "c");
        assert_eq!(recent.get(&2), None);
        assert_eq!(recent.get(&1), Some("a"));
        recent.remove(&1);
        assert_eq!((recent.get(&1), recent.get(&3)), (None, Some("c")));
    }
}
