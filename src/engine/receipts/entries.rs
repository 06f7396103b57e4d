//! A map that never takes long to grow: many small ones in the place of a large one, which would move all that it holds
//! at once while everybody waits for it.

use std::collections::HashMap;

use super::ShortKey;

/// One for each first byte of a key. Keys are hashes: they spread evenly.
pub(super) const PARTS: usize = 1 << u8::BITS;
/// Room for so many is not given back: they come and go with each request.
const FEW: usize = 64;

#[derive(Debug)]
pub(super) struct Entries<V>(Vec<HashMap<ShortKey, V>>);

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

    pub(super) fn get(&self, key: &ShortKey) -> Option<&V> {
        self.0[part(key)].get(key)
    }

    pub(super) fn insert(&mut self, key: ShortKey, value: V) -> Option<V> {
        self.0[part(&key)].insert(key, value)
    }

    /// Shows all of one part.
    pub(super) fn each(&self, part: usize, mut show: impl FnMut(&ShortKey, &V)) {
        for (key, value) in &self.0[part] {
            show(key, value);
        }
    }

    pub(super) fn remove(&mut self, key: &ShortKey) -> Option<V> {
        let entries = &mut self.0[part(key)];
        let removed = entries.remove(key);
        give_back(entries);
        removed
    }
}

fn give_back<V>(entries: &mut HashMap<ShortKey, V>) {
    if entries.capacity() > FEW && entries.len() * 8 < entries.capacity() {
        entries.shrink_to(entries.len() * 2);
    }
}

fn part(key: &ShortKey) -> usize {
    usize::from(key.0[0])
}
