//! A map that never takes long to grow: many small ones in the place of a large one, which would move all that it holds
//! at once while everybody waits for it.

use std::collections::HashMap;

use super::ReceiptKey;

/// One for each first byte of a key. Keys are hashes: they spread evenly.
const PARTS: usize = 1 << u8::BITS;

#[derive(Debug)]
pub(super) struct Entries<V>(Vec<HashMap<ReceiptKey, V>>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(std::iter::repeat_with(HashMap::new).take(PARTS).collect())
    }
}

impl<V> Entries<V> {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(HashMap::len).sum()
    }

    pub(super) fn get(&self, key: &ReceiptKey) -> Option<&V> {
        self.0[part(key)].get(key)
    }

    pub(super) fn insert(&mut self, key: ReceiptKey, value: V) -> Option<V> {
        self.0[part(&key)].insert(key, value)
    }

    pub(super) fn remove(&mut self, key: &ReceiptKey) -> Option<V> {
        let entries = &mut self.0[part(key)];
        let removed = entries.remove(key);
        if entries.len() * 8 < entries.capacity() {
            entries.shrink_to(entries.len() * 2);
        }
        removed
    }
}

fn part(key: &ReceiptKey) -> usize {
    usize::from(key.as_bytes()[0])
}
