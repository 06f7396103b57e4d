//! Maps by owner. An owner is the id of a worker, most of whose bits were drawn when the worker was made, and by this
//! program: to fold them is hash enough.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::types::Owner;

/// A map by owner.
pub(super) type ByOwner<V> = HashMap<Owner, V, BuildHasherDefault<Fold>>;
/// A set of owners.
pub(super) type Owners = HashSet<Owner, BuildHasherDefault<Fold>>;

/// Folds the bytes of an owner.
#[derive(Debug, Default)]
pub(super) struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            // The multiplier of Knuth's multiplicative hashing, for 64 bits.
            self.0 = (self.0.rotate_left(32) ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    /// Of the length, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        // A product's upper bits depend on all of its factors' bits, its lower ones on few; a map takes both.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, BuildHasherDefault};

    use super::*;
    use crate::model::WorkerId;

    #[test]
    fn the_ids_of_workers_spread_over_a_map() {
        let build = BuildHasherDefault::<Fold>::default();
        let ids = std::iter::repeat_with(|| Owner(WorkerId::generate().uuid().unwrap()));
        let hashes: Vec<_> = ids.take(1 << 14).map(|owner| build.hash_one(owner)).collect();
        // The lower bits choose the bucket, the upper seven tell those in it apart: of 16,384 drawn evenly, 10,357 places
        // of as many are taken, and each of the 128 has 128.
        let distinct = |of: &dyn Fn(u64) -> u64| hashes.iter().map(|hash| of(*hash)).collect::<HashSet<_>>().len();
        assert!(distinct(&|hash| hash % (1 << 14)) > 10_000);
        let mut upper = [0; 128];
        for hash in &hashes {
            upper[(hash >> 57) as usize] += 1;
        }
        assert!(upper.iter().all(|count| (64..256).contains(count)), "{upper:?}");
    }
}
