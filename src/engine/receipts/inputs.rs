//! The receipts of inputs, of which there are as many as inputs were ever given to workers that are there. So of each is
//! kept only whose it is: what was answered stands in the store, where the few that are asked for again are read.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use super::entries::{Entries, PARTS};
use super::{Outcome, Receipt, ShortKey};
use crate::engine::store::Forgotten;
use crate::model::WorkerId;

/// A worker, as its UUID: a quarter of what its id takes.
type Owner = [u8; 16];

/// Whose inputs are known.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    owners: Entries<Owner>,
    /// Per worker, when the last of its inputs was answered.
    newest: HashMap<Owner, SystemTime>,
    /// Workers that are gone and whose inputs are old enough, while these are looked for; and where the search has come to.
    gone: HashSet<Owner>,
    searched: usize,
    /// Found, and still to be forgotten.
    ripe: Vec<(ShortKey, Owner)>,
}

impl Inputs {
    /// An answer was given and is stored; whether it is one of these.
    pub(super) fn add(&mut self, receipt: &Receipt) -> bool {
        let Outcome::Input { worker_id, .. } = &receipt.outcome else { return false };
        let Some(owner) = worker_id.uuid() else { return false };
        self.owners.insert(receipt.key.short(), owner);
        let newest = self.newest.entry(owner).or_insert(receipt.at);
        *newest = receipt.at.max(*newest);
        true
    }

    /// The worker that took this input.
    pub(super) fn get(&self, key: &ShortKey) -> Option<WorkerId> {
        self.owners.get(key).copied().map(WorkerId::from_uuid)
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    /// Forgets an input that this worker took; whether it was there.
    pub(super) fn remove(&mut self, key: &ShortKey, worker_id: &WorkerId) -> bool {
        // Since then another worker may have been given one of the same id.
        let is_its = self.owners.get(key).copied().is_some_and(|owner| worker_id.uuid() == Some(owner));
        if is_its {
            self.owners.remove(key);
        }
        is_its
    }

    /// Those of workers that are gone ripen together, once the last of them was given before this.
    pub(super) fn ripen(&mut self, before: SystemTime, is_gone: impl Fn(&WorkerId) -> bool) {
        // Those before come first.
        if self.gone.is_empty() {
            let old = |owner: &Owner, newest: &SystemTime| *newest <= before && is_gone(&WorkerId::from_uuid(*owner));
            self.gone = self.newest.extract_if(|owner, newest| old(owner, newest)).map(|(it, _)| it).collect();
            self.searched = 0;
        }
    }

    /// Some that are to be forgotten, `most` at the most; `None` once there is none left. They are known until they are.
    pub(super) fn some(&mut self, most: usize) -> Option<Vec<Forgotten>> {
        if self.ripe.is_empty() {
            if self.gone.is_empty() {
                self.ripe = Vec::new();
                return None;
            }
            let Self { owners, gone, ripe, .. } = self;
            owners.each(self.searched, |key, owner| ripe.extend(gone.contains(owner).then_some((*key, *owner))));
            self.searched += 1;
            if self.searched == PARTS {
                self.gone = HashSet::new();
            }
        }
        let some = self.ripe.drain(self.ripe.len().saturating_sub(most)..);
        Some(some.map(|(key, owner)| Forgotten { key, worker_id: Some(WorkerId::from_uuid(owner)) }).collect())
    }

    /// This one could not be forgotten, and is looked at again.
    pub(super) fn again(&mut self, forgotten: &Forgotten) {
        let owner = forgotten.worker_id.as_ref().and_then(WorkerId::uuid);
        self.ripe.extend(owner.map(|owner| (forgotten.key, owner)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::receipts::ReceiptKey;
    use crate::model::Fingerprint;

    /// The input `n` of a worker, answered `n` seconds after 1970.
    fn receipt(worker_id: &WorkerId, n: u8) -> Receipt {
        Receipt {
            key: ReceiptKey::from_bytes([n; 32]),
            fingerprint: Fingerprint([n; 32]),
            outcome: Outcome::Input { worker_id: worker_id.clone(), transcript_sequence: 1, event_id: 1 },
            at: at(n),
        }
    }

    fn at(seconds: u8) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
    }

    #[test]
    fn the_inputs_of_a_worker_that_is_gone_are_forgotten_together_once_the_last_of_them_is_old() {
        let (mut inputs, [gone, there]) = (Inputs::default(), [WorkerId::generate(), WorkerId::generate()]);
        for n in [1, 2, 9] {
            assert!(inputs.add(&receipt(&gone, n)));
        }
        assert!(inputs.add(&receipt(&there, 3)));
        let is_gone = |id: &WorkerId| *id == gone;
        let all = |inputs: &mut Inputs| std::iter::from_fn(|| inputs.some(2)).flatten().collect::<Vec<_>>();
        inputs.ripen(at(8), is_gone);
        assert_eq!(all(&mut inputs), [], "one of them is not old yet");
        inputs.ripen(at(9), is_gone);
        let forgotten = all(&mut inputs);
        let mut keys: Vec<_> = forgotten.iter().map(|it| it.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, [1, 2, 9].map(|n| receipt(&gone, n).key.short()));
        assert!(forgotten.iter().all(|it| it.worker_id.as_ref() == Some(&gone)));
        assert_eq!(inputs.len(), 4, "they are known until the store has forgotten them");
        for it in &forgotten {
            assert!(!inputs.remove(&it.key, &there), "it is another's");
            assert!(inputs.remove(&it.key, &gone));
        }
        assert_eq!((inputs.len(), inputs.get(&receipt(&there, 3).key.short())), (1, Some(there)));
        inputs.again(&forgotten[0]);
        assert_eq!(all(&mut inputs), forgotten[..1], "what the store could not forget is told again");
    }

    #[test]
    fn what_is_no_input_is_none_of_these() {
        let worker_id = WorkerId::generate();
        let stopping = Receipt { outcome: Outcome::Stopping(worker_id.clone()), ..receipt(&worker_id, 1) };
        assert!(!Inputs::default().add(&stopping));
    }
}
