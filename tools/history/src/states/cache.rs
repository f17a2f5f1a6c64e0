//! Decoded values that concurrent readers share, bounded by their bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coldstore::Slot;

use super::columns::Columns;
use super::root::ValidatorsRoot;

/// Maximum bytes of decoded states and committees that a [`States`](super::States) keeps by default: two states of a
/// mainnet with 2,000,000 validators.
pub const DEFAULT_CACHE_BYTES: usize = 96 << 20;

/// A decoded state on a whole one.
#[derive(Clone, Debug)]
pub(crate) struct CachedState {
    /// The slot of the whole state.
    pub(crate) whole: Slot,
    /// The slots of the diffs on it, ascending.
    pub(crate) records: Arc<[Slot]>,
    pub(crate) columns: Columns,
}

/// What the readers of an archive share.
#[derive(Debug)]
pub(crate) struct Decoded(Cache<Key, Value>);

#[derive(Debug, PartialEq, Eq)]
enum Key {
    State(Slot),
    ValidatorsRoot,
}

#[derive(Clone, Debug)]
enum Value {
    State(CachedState),
    ValidatorsRoot(Arc<Mutex<ValidatorsRoot>>),
}

impl Decoded {
    /// At most this many bytes; with 0 nothing is kept.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self(Cache::new(max_bytes))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    pub(crate) fn state(&self, slot: Slot) -> Option<CachedState> {
        match self.0.get(&Key::State(slot))? {
            Value::State(state) => Some(state),
            Value::ValidatorsRoot(_) => None,
        }
    }

    pub(crate) fn put_state(&self, state: CachedState) {
        let (slot, bytes) = (state.columns.slot(), state.columns.bytes());
        self.0.put(Key::State(slot), Value::State(state), bytes);
    }

    /// The tree of the validators that were hashed last; an empty one if none is kept.
    pub(crate) fn validators_root(&self, bytes: usize) -> Arc<Mutex<ValidatorsRoot>> {
        if let Some(Value::ValidatorsRoot(known)) = self.0.get(&Key::ValidatorsRoot) {
            return known;
        }
        let empty = Arc::new(Mutex::new(ValidatorsRoot::default()));
        self.0.put(Key::ValidatorsRoot, Value::ValidatorsRoot(Arc::clone(&empty)), bytes);
        empty
    }
}

/// The most recently used values whose bytes fit the bound. Values are handles: a clone shares what it owns.
///
/// A handful of large values are kept, so they are searched one by one.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    max_bytes: usize,
    held: Mutex<Held<K, V>>,
}

#[derive(Debug)]
struct Held<K, V> {
    /// In order of use, the latest last.
    entries: Vec<Entry<K, V>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    bytes: usize,
}

impl<K: PartialEq, V: Clone> Cache<K, V> {
    /// A cache of at most this many bytes; with 0 it keeps nothing.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, held: Mutex::new(Held { entries: Vec::new(), bytes: 0 }) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let entries = &mut self.held().entries;
        let place = entries.iter().rposition(|entry| entry.key == *key)?;
        entries[place..].rotate_left(1);
        entries.last().map(|entry| entry.value.clone())
    }

    /// Keeps a value, and evicts those that were not used for longest. A value above the bound is not kept.
    pub(crate) fn put(&self, key: K, value: V, bytes: usize) {
        let mut evicted = Vec::new();
        let mut held = self.held();
        if let Some(place) = held.entries.iter().position(|entry| entry.key == key) {
            evicted.push(held.remove(place));
        }
        if bytes <= self.max_bytes {
            while held.bytes + bytes > self.max_bytes {
                evicted.push(held.remove(0));
            }
            held.bytes += bytes;
            held.entries.push(Entry { key, value, bytes });
        }
        // Large values are freed without the lock.
        drop(held);
    }

    /// Bytes of the values kept.
    pub(crate) fn bytes(&self) -> usize {
        self.held().bytes
    }

    fn held(&self) -> MutexGuard<'_, Held<K, V>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Held<K, V> {
    fn remove(&mut self, place: usize) -> Entry<K, V> {
        let entry = self.entries.remove(place);
        self.bytes -= entry.bytes;
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_not_used_for_longest_are_evicted_by_bytes() {
        let cache = Cache::new(100);
        for (key, bytes) in [(1, 40), (2, 40), (3, 20)] {
            cache.put(key, key * 10, bytes);
        }
        assert_eq!((cache.get(&1), cache.bytes()), (Some(10), 100));
        // 2 has not been used for longest; then 3.
        cache.put(4, 40, 30);
        assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key)), [Some(10), None, Some(30), Some(40)]);
        cache.put(5, 50, 61);
        assert_eq!([1, 3, 4, 5].map(|key| cache.get(&key)), [None, None, Some(40), Some(50)]);
        assert_eq!(cache.bytes(), 91);
        // A value replaces the one of its key, and one above the bound only removes that.
        cache.put(5, 51, 70);
        assert_eq!((cache.get(&5), cache.bytes()), (Some(51), 100));
        cache.put(5, 52, 101);
        assert_eq!((cache.get(&5), cache.get(&4), cache.bytes()), (None, Some(40), 30));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let cache = Cache::new(0);
        cache.put(1, 1, 1);
        assert_eq!((cache.get(&1), cache.bytes()), (None, 0));
    }
}
