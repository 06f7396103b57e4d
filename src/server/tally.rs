//! How many of something each one has: of connections an address, of streams a caller.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts by key; whoever has none takes no room.
pub(super) struct Tally<K>(Arc<Mutex<HashMap<K, usize>>>);

/// One that counts until this is dropped.
pub(super) struct Counted<K: Eq + Hash> {
    tally: Tally<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Tally<K> {
    /// One more for `key`, unless it has `most` already.
    pub(super) fn take(&self, key: &K, most: usize) -> Option<Counted<K>> {
        let mut counts = self.0.lock();
        let count = counts.get(key).copied().unwrap_or_default();
        (count < most).then(|| {
            counts.insert(key.clone(), count + 1);
            Counted { tally: self.clone(), key: key.clone() }
        })
    }
}

impl<K: Eq + Hash> Counted<K> {
    /// Whose it is.
    pub(super) fn key(&self) -> &K {
        &self.key
    }
}

impl<K> Clone for Tally<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> fmt::Debug for Tally<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never of whom.
        f.debug_tuple("Tally").field(&self.0.lock().len()).finish()
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.tally.0.lock();
        match counts.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = counts.remove(&self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_as_many_as_it_may_and_none_of_another() {
        let tally = Tally::default();
        let (first, second) = (tally.take(&"a", 2).unwrap(), tally.take(&"a", 2).unwrap());
        assert!(tally.take(&"a", 2).is_none());
        assert!(tally.take(&"b", 2).is_some());
        drop(first);
        let third = tally.take(&"a", 2).unwrap();
        drop((second, third));
        assert!(tally.0.lock().is_empty(), "what nobody has is not kept");
    }
}
